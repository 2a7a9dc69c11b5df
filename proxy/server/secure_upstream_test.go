package server_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// secureBackend serves handler over TLS.
func secureBackend(t testing.TB, handler http.Handler, conf *tls.Config) string {
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = conf
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// rawSecureBackend gives each TLS connection to serve.
func rawSecureBackend(t testing.TB, conf *tls.Config, serve func(*tls.Conn)) string {
	return proxytest.RawBackend(t, func(c net.Conn) { serve(tls.Server(c, conf)) })
}

func certConfig(p *pki.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.TLS()}}
}

// trusting makes the upstream of a configuration speak TLS and trust an authority.
func trusting(t testing.TB, ca *pki.Authority, cfg config.Config) (config.Config, *config.UpstreamTLS) {
	u := &config.UpstreamTLS{CACert: pki.WriteFile(t.TempDir(), "ca.pem", ca.PEM()), MinVersion: "1.2", MaxVersion: "1.3", SessionResumption: true}
	cfg.Upstreams[0].TLS = u
	return cfg, u
}

func TestSecureUpstream(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	seen := make(chan string, 100)
	addr := secureBackend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.RemoteAddr
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		echo(w, r)
	}), certConfig(ca.Issue(pki.Options{Names: []string{"127.0.0.1"}})))
	cfg, _ := trusting(t, ca, proxytest.ToBackends(addr))
	cfg.Limits.MaxBodySize = 32 << 20
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	c := p.Dial(t)
	for _, size := range []int{0, 5, 10_000, 3 << 20} {
		body := strings.Repeat("x", size)
		go c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: "+strconv.Itoa(size)), body)
		if r, got := c.Answer("POST"); r.StatusCode != 200 || got != "POST "+body {
			t.Fatal(r, len(got))
		}
	}
	first := <-seen
	for range 3 {
		if again := <-seen; again != first {
			t.Errorf("%s and %s: the connection was not kept", first, again)
		}
	}
	c.Get("/close")
	c.Get("/")
	m := p.Server.Generation().Routes[0].Pool.Targets()[0].Metrics()
	if full, resumed := m.Shakes[0].Load(), m.Shakes[1].Load(); full != 1 || resumed != 1 {
		t.Errorf("%d full handshakes and %d resumed", full, resumed)
	}
}

func TestStressSecureUpstream(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	addr := secureBackend(t, stressHandler(), certConfig(ca.Issue(pki.Options{Names: []string{"127.0.0.1"}})))
	clientCA, cfg := secureConfig(t, addr)
	cfg, _ = trusting(t, ca, cfg)
	stress(t, cfg, func(addr string) (net.Conn, error) {
		return tls.Dial("tcp", addr, &tls.Config{RootCAs: clientCA.Pool(), ServerName: "t"})
	})
}

// Each target that is not who it should be gets nothing; its twin is served.
func TestSecureUpstreamVerification(t *testing.T) {
	t.Parallel()
	ca, other := pki.New("ca"), pki.New("ca") // the same name, another key
	good := ca.Issue(pki.Options{Names: []string{"127.0.0.1", "app.example"}})
	asks := certConfig(good)
	asks.ClientAuth, asks.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	client := func(t *testing.T, from *pki.Authority) func(*config.UpstreamTLS) {
		cert, key := from.Issue(pki.Options{Client: true, Subject: "proxy"}).Write(t.TempDir(), "client")
		return func(u *config.UpstreamTLS) { u.ClientCert, u.ClientKey = cert, key }
	}
	old := certConfig(good)
	old.MaxVersion = tls.VersionTLS12
	for name, c := range map[string]struct {
		server *tls.Config
		change func(*config.UpstreamTLS)
		ok     bool
	}{
		"good":                      {certConfig(good), func(*config.UpstreamTLS) {}, true},
		"another authority":         {certConfig(other.Issue(pki.Options{Names: []string{"127.0.0.1"}})), func(*config.UpstreamTLS) {}, false},
		"another authority, unsafe": {certConfig(other.Issue(pki.Options{Names: []string{"127.0.0.1"}})), func(u *config.UpstreamTLS) { u.CACert, u.InsecureSkipVerify = "", true }, true},
		"the system's authorities":  {certConfig(good), func(u *config.UpstreamTLS) { u.CACert = "" }, false},
		"expired":                   {certConfig(ca.Issue(pki.Options{Names: []string{"127.0.0.1"}, Before: 2 * time.Hour, After: -time.Hour})), func(*config.UpstreamTLS) {}, false},
		"another name":              {certConfig(ca.Issue(pki.Options{Names: []string{"other.example"}})), func(*config.UpstreamTLS) {}, false},
		"the name that is asked":    {certConfig(ca.Issue(pki.Options{Names: []string{"app.example"}})), func(u *config.UpstreamTLS) { u.SNI = "app.example" }, true},
		"a client's certificate":    {certConfig(ca.Issue(pki.Options{Names: []string{"127.0.0.1"}, Client: true})), func(*config.UpstreamTLS) {}, false},
		"we show no certificate":    {asks, func(*config.UpstreamTLS) {}, false},
		"we show a certificate":     {asks, client(t, ca), true},
		"we show a wrong one":       {asks, client(t, pki.New("x")), false},
		"too old":                   {old, func(u *config.UpstreamTLS) { u.MinVersion = "1.3" }, false},
		"old enough":                {old, func(*config.UpstreamTLS) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := secureBackend(t, http.HandlerFunc(echo), c.server)
			cfg, u := trusting(t, ca, proxytest.ToBackends(addr))
			c.change(u)
			access := &proxytest.Log{}
			p := proxytest.Proxy(t, cfg, proxytest.Options{AccessLog: access})
			r, _ := p.Dial(t).Get("/")
			if want := map[bool]int{true: 200, false: 502}[c.ok]; r.StatusCode != want {
				t.Errorf("status %d, not %d\n%s", r.StatusCode, want, p.Logs)
			}
		})
	}
}

// A target with a bad certificate costs a retry, not the request.
func TestSecureUpstreamRetry(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	good := secureBackend(t, http.HandlerFunc(echo), certConfig(ca.Issue(pki.Options{Names: []string{"127.0.0.1"}})))
	bad := secureBackend(t, http.HandlerFunc(echo), certConfig(pki.New("x").Issue(pki.Options{Names: []string{"127.0.0.1"}})))
	cfg, _ := trusting(t, ca, proxytest.ToBackends(bad, good))
	cfg.Routes[0].Retry.MaxAttempts = 2
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	c := p.Dial(t)
	for range 4 {
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 4"), "body")
		if r, body := c.Answer("POST"); r.StatusCode != 200 || body != "POST body" {
			t.Error(r, body)
		}
	}
}

// gathering sends several records in one segment.
type gathering struct {
	net.Conn
	hold bool
	held []byte
}

func (g *gathering) Write(p []byte) (int, error) {
	if !g.hold {
		return g.Conn.Write(p)
	}
	g.held = append(g.held, p...)
	return len(p), nil
}

func (g *gathering) release() {
	g.hold = false
	_, _ = g.Conn.Write(g.held)
	g.held = nil
}

// What a target sends behind an answer, unasked, is given to nobody, also when it came in the same segment and is in no socket any more.
func TestSecureUpstreamExtraAnswer(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
	conf := certConfig(ca.Issue(pki.Options{Names: []string{"127.0.0.1"}}))
	addr := proxytest.RawBackend(t, func(nc net.Conn) {
		both := &gathering{Conn: nc}
		c := tls.Server(both, conf)
		r := bufio.NewReader(c)
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			both.hold = true
			io.WriteString(c, answer+"good")
			io.WriteString(c, answer+"evil")
			both.release()
		}
	})
	cfg, _ := trusting(t, ca, proxytest.ToBackends(addr))
	c := proxytest.Proxy(t, cfg, proxytest.Options{}).Dial(t)
	for range 20 {
		if r, body := c.Get("/"); r.StatusCode != 200 || body != "good" {
			t.Fatal(r, body)
		}
	}
}

// An answer that ends with the connection is whole only when the target says goodbye.
func TestSecureUpstreamTruncation(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	addr := rawSecureBackend(t, certConfig(ca.Issue(pki.Options{Names: []string{"127.0.0.1"}})), func(c *tls.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\npart")
		if req.URL.Path == "/whole" {
			c.CloseWrite()
		}
	})
	cfg, _ := trusting(t, ca, proxytest.ToBackends(addr))
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	if r, body := p.Dial(t).Get("/whole"); r.StatusCode != 200 || body != "part" {
		t.Error(r, body)
	}
	c := p.Dial(t)
	c.Send(proxytest.Head("GET /cut HTTP/1.1", "Host: t"))
	r, err := http.ReadResponse(c.R, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r.Body); err == nil {
		t.Errorf("%q was taken for a whole answer", b)
	}
}

// Another certificate of the same upstream means other connections, not those of before.
func TestSecureUpstreamSwap(t *testing.T) {
	t.Parallel()
	ca, other := pki.New("ca"), pki.New("other")
	addr := secureBackend(t, http.HandlerFunc(echo), certConfig(ca.Issue(pki.Options{Names: []string{"127.0.0.1"}})))
	cfg, u := trusting(t, ca, proxytest.ToBackends(addr))
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	c := p.Dial(t)
	if r, _ := c.Get("/"); r.StatusCode != 200 {
		t.Fatal(r)
	}
	pool := p.Server.Generation().Routes[0].Pool
	p.Swap(t, cfg)
	if p.Server.Generation().Routes[0].Pool != pool {
		t.Error("the pool was not carried over")
	}
	if err := os.WriteFile(u.CACert, other.PEM(), 0o600); err != nil { // the same text, another content
		t.Fatal(err)
	}
	p.Swap(t, cfg)
	if r, _ := c.Get("/"); r.StatusCode != 502 {
		t.Error("a connection of the former trust was used", r)
	}
}

func TestSecureHealthCheck(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	for name, c := range map[string]struct {
		issuer *pki.Authority
		kind   string
		health int32
	}{"http": {ca, "http", 1}, "http, another authority": {pki.New("x"), "http", 2}, "tcp": {ca, "tcp", 1}, "tcp, another authority": {pki.New("x"), "tcp", 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := secureBackend(t, http.HandlerFunc(echo), certConfig(c.issuer.Issue(pki.Options{Names: []string{"127.0.0.1"}})))
			cfg, _ := trusting(t, ca, proxytest.ToBackends(addr))
			cfg.Upstreams[0].HealthCheck = &config.HealthCheck{Type: c.kind, Path: "/", Interval: 10 * time.Millisecond, Timeout: proxytest.Patience, UnhealthyThreshold: 1, HealthyThreshold: 1}
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			m := p.Server.Generation().Routes[0].Pool.Targets()[0].Metrics()
			proxytest.Eventually(t, "the verdict", func() bool { return m.Health.Load() == c.health })
		})
	}
}
