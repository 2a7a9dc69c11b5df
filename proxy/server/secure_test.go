package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
)

// secureConfig is a configuration with a listener that speaks TLS for the name t, and who issued its certificate.
func secureConfig(t testing.TB, backends ...string) (*pki.Authority, config.Config) {
	ca := pki.New("ca")
	cfg := proxytest.ToBackends(backends...)
	l := &config.ListenerTLS{
		UnknownSNI: "default", HostMismatch: "refuse", MinVersion: "1.2", MaxVersion: "1.3", SessionResumption: true, TicketRotation: time.Hour,
		HandshakeTimeout: proxytest.Patience, MaxHandshakes: 1000, ClientAuth: "none",
	}
	l.CertFile, l.KeyFile = ca.Issue(pki.Options{Names: []string{"t", "127.0.0.1"}}).Write(t.TempDir(), "t")
	cfg.Listeners[0].Protocol, cfg.Listeners[0].TLS = "https", l
	return ca, cfg
}

// secureClient is a raw connection under TLS.
type secureClient struct {
	*tls.Conn
	R *bufio.Reader
	t testing.TB
}

func dialSecure(t testing.TB, p *proxytest.Instance, conf *tls.Config) *secureClient {
	t.Helper()
	c, err := tls.Dial("tcp", p.Addr, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(proxytest.Patience))
	return &secureClient{c, bufio.NewReader(c), t}
}

func secureOver(t testing.TB, c *tls.Conn) *secureClient {
	return &secureClient{c, bufio.NewReader(c), t}
}

// slowly sends 2000 bytes a second.
type slowly struct {
	net.Conn
	on bool
}

func (s *slowly) Write(p []byte) (int, error) {
	if !s.on {
		return s.Conn.Write(p)
	}
	for rest := p; len(rest) > 0; {
		n := min(400, len(rest))
		if _, err := s.Conn.Write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
		time.Sleep(200 * time.Millisecond)
	}
	return len(p), nil
}

func (c *secureClient) send(parts ...string) {
	c.t.Helper()
	for _, p := range parts {
		if _, err := io.WriteString(c.Conn, p); err != nil {
			c.t.Fatalf("cannot send: %v", err)
		}
	}
}

func (c *secureClient) answer(method string) (*http.Response, string) {
	c.t.Helper()
	return proxytest.ReadAnswer(c.t, c.R, method)
}

func (c *secureClient) get(path string) (*http.Response, string) {
	c.t.Helper()
	c.send(proxytest.Head("GET "+path+" HTTP/1.1", "Host: t"))
	return c.answer("GET")
}

func TestSecureExchanges(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Forwarded", r.Header.Get("X-Forwarded-Proto")+" "+r.Header.Get("Forwarded"))
		echo(w, r)
	})))
	cfg.Limits.MaxBodySize = 32 << 20
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			c := dialSecure(t, p, &tls.Config{RootCAs: ca.Pool(), ServerName: "t", MinVersion: version, MaxVersion: version, NextProtos: []string{"h2", "http/1.1"}})
			if got := c.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
				t.Errorf("protocol %q", got)
			}
			for _, size := range []int{0, 5, 10_000, 100_000, 8 << 20} {
				_ = c.SetDeadline(time.Now().Add(3 * proxytest.Patience))
				body := strings.Repeat("x", size)
				sent := make(chan error, 1)
				go func() {
					_, err := fmt.Fprintf(c.Conn, "POST /x?y=1 HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s", size, body)
					sent <- err
				}()
				r, got := c.answer("POST")
				if err := <-sent; err != nil || r.StatusCode != 200 || got != "POST "+body || !strings.HasPrefix(r.Header.Get("X-Forwarded"), "https for=127.0.0.1;") ||
					!strings.HasSuffix(r.Header.Get("X-Forwarded"), ";proto=https") {
					t.Fatalf("%d bytes: %v %v %d", size, r, err, len(got))
				}
			}
			c.send(strings.Repeat(proxytest.Head("GET /a HTTP/1.1", "Host: t"), 3)) // in one record
			for range 3 {
				if r, body := c.answer("GET"); r.StatusCode != 200 || body != "GET " {
					t.Fatal(r, body)
				}
			}
		})
	}
}

// pieces cuts what is written into pieces of one byte, each a segment of its own.
type pieces struct{ net.Conn }

func (p pieces) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := p.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// A record may come byte by byte.
func TestSecurePieces(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(echo)))
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	nc, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(proxytest.Patience))
	c := tls.Client(pieces{nc}, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	client := secureOver(t, c)
	for range 2 {
		client.send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 300"), strings.Repeat("y", 300))
		if r, body := client.answer("POST"); r.StatusCode != 200 || len(body) != 305 {
			t.Fatal(r, body)
		}
	}
}

// wantFailure fails unless the reason is counted; each attack on the handshake has one.
func wantFailure(t *testing.T, p *proxytest.Instance, reason string) {
	t.Helper()
	m := p.Metrics.Listener(proxytest.ListenerID)
	defer m.Release()
	proxytest.Eventually(t, "a failure because of "+reason, func() bool { return m.TLS.Failures.Get(reason) == 1 })
	proxytest.Eventually(t, "no connection left", func() bool { return p.Server.Connections() == 0 })
}

func TestSecureRefusals(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(echo))
	begin := func(t *testing.T, change func(*config.ListenerTLS)) (*pki.Authority, *proxytest.Instance) {
		ca, cfg := secureConfig(t, backend)
		change(cfg.Listeners[0].TLS)
		return ca, proxytest.Proxy(t, cfg, proxytest.Options{})
	}
	t.Run("plain HTTP", func(t *testing.T) {
		t.Parallel()
		_, p := begin(t, func(*config.ListenerTLS) {})
		c := p.Dial(t)
		c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
		if r, body := c.Answer("GET"); r.StatusCode != 400 || !r.Close || !strings.Contains(body, "HTTPS") {
			t.Error(r, body)
		}
		c.WantClosed()
		wantFailure(t, p, "plain-http")
	})
	t.Run("garbage", func(t *testing.T) {
		t.Parallel()
		_, p := begin(t, func(*config.ListenerTLS) {})
		c := p.Dial(t)
		c.Send("\x16\x03\x01\x00\x05hello")
		_, _ = io.Copy(io.Discard, c.R)
		wantFailure(t, p, "protocol")
	})
	t.Run("stall", func(t *testing.T) {
		t.Parallel()
		for name, bytes := range map[string]string{"nothing": "", "half a hello": "\x16\x03\x01\x02\x00\x01"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				_, p := begin(t, func(l *config.ListenerTLS) { l.HandshakeTimeout = 100 * time.Millisecond })
				c := p.Dial(t)
				c.Send(bytes)
				c.WantClosed()
				wantFailure(t, p, "timeout")
			})
		}
	})
	t.Run("old versions", func(t *testing.T) {
		t.Parallel()
		ca, p := begin(t, func(*config.ListenerTLS) {})
		if _, err := tls.Dial("tcp", p.Addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "t", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Error(err)
		}
		wantFailure(t, p, "version")
	})
	t.Run("TLS 1.2 where 1.3 is the least", func(t *testing.T) {
		t.Parallel()
		ca, p := begin(t, func(l *config.ListenerTLS) { l.MinVersion = "1.3" })
		if _, err := tls.Dial("tcp", p.Addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "t", MaxVersion: tls.VersionTLS12}); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Error(err)
		}
		wantFailure(t, p, "version")
		dialSecure(t, p, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}).get("/")
	})
	t.Run("another protocol", func(t *testing.T) {
		t.Parallel()
		ca, p := begin(t, func(*config.ListenerTLS) {})
		if _, err := tls.Dial("tcp", p.Addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "t", NextProtos: []string{"imap"}}); err == nil || !strings.Contains(err.Error(), "application protocol") {
			t.Error(err)
		}
		wantFailure(t, p, "protocol")
	})
}

// More handshakes than are allowed wait for their turn.
func TestHandshakeCap(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(echo)))
	cfg.Listeners[0].TLS.MaxHandshakes = 1
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	m := p.Metrics.Listener(proxytest.ListenerID)
	defer m.Release()
	stalled := p.Dial(t)
	stalled.Send("\x16") // takes the one place
	proxytest.Eventually(t, "the place is taken", func() bool { return m.TLS.Active.Load() == 1 })
	waits := make(chan error, 1)
	go func() {
		c, err := tls.Dial("tcp", p.Addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
		if err == nil {
			c.Close()
		}
		waits <- err
	}()
	proxytest.Eventually(t, "the second is accepted", func() bool { return p.Server.Connections() == 2 })
	select {
	case err := <-waits:
		t.Fatal("it did not wait", err)
	default:
	}
	stalled.Close()
	if err := <-waits; err != nil {
		t.Error(err)
	}

	// Who stalls while others wait makes way; nobody has to wait for a whole handshake's time.
	stalled = p.Dial(t)
	stalled.Send("\x16")
	proxytest.Eventually(t, "the place is taken again", func() bool { return m.TLS.Active.Load() == 1 })
	c, err := tls.Dial("tcp", p.Addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	stalled.WantClosed()
	if n := m.TLS.Failures.Get("crowded"); n != 1 {
		t.Errorf("%d had to make way", n)
	}
}

// An answer that ends with the connection is complete only if a farewell follows; one that was cut off has none.
func TestFarewell(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, proxytest.RawBackend(t, func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		if req.URL.Path == "/cut" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nall of it")
	}))
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	for path, want := range map[string]error{"/whole": io.EOF, "/cut": io.ErrUnexpectedEOF} {
		nc := p.Dial(t)
		s := tlsconf.Connect(nc.TCPConn, conf) // crypto/tls alone does not tell the two apart
		if err := s.Handshake(); err != nil {
			t.Fatal(err)
		}
		request, err := s.Seal(nil, []byte("GET "+path+" HTTP/1.0\r\nHost: t\r\n\r\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		nc.Send(string(request))
		s.From(nc.TCPConn)
		var got []byte
		for b := make([]byte, 100); err == nil; {
			var n int
			n, err = s.Open(b)
			got = append(got, b[:n]...)
		}
		if err != want || !bytes.HasPrefix(got, []byte("HTTP/1.1 200")) {
			t.Errorf("%s: %q %v", path, got, err)
		}
	}
}

// A client that closes in an orderly way takes its request with it, as one without TLS does.
func TestSecureClientAbort(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*secureClient){
		"close": func(c *secureClient) { c.Close() },
		"reset": func(c *secureClient) { c.NetConn().(*net.TCPConn).SetLinger(0); c.NetConn().Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived, cancelled := make(chan struct{}), make(chan struct{})
			ca, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/wait" {
					return
				}
				close(arrived)
				<-r.Context().Done()
				close(cancelled)
			})))
			cfg.Upstreams[0].Timeouts = config.UpstreamTimeouts{Read: time.Minute, Request: time.Minute} // what ends it is not a timeout
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			c := dialSecure(t, p, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
			c.get("/") // reads the tickets too: closing with something unread would be a reset
			c.send(proxytest.Head("GET /wait HTTP/1.1", "Host: t"))
			<-arrived
			leave(c)
			select {
			case <-cancelled:
			case <-time.After(proxytest.Patience):
				t.Fatal("the upstream request goes on")
			}
			proxytest.Eventually(t, "connection forgotten", func() bool { return p.Server.Connections() == 0 })
		})
	}
}

func TestSecureWebSocket(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, proxytest.RawBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst")
		io.Copy(c, r)
		io.WriteString(c, "bye")
	}))
	cfg.Routes[0].WebSocket = &config.WebSocket{Enabled: true}
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	c := dialSecure(t, p, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	c.send(proxytest.Head("GET /ws HTTP/1.1", "Host: t", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")+"early", "more")
	if r, err := http.ReadResponse(c.R, nil); err != nil || r.StatusCode != 101 {
		t.Fatal(r, err)
	}
	want := func(s string) {
		t.Helper()
		b := make([]byte, len(s))
		if _, err := io.ReadFull(c.R, b); err != nil || string(b) != s {
			t.Fatalf("%.40q %v, want %.40q", b, err, s)
		}
	}
	want("firstearlymore")
	for _, n := range []int{1, 100, 100_000} { // several records at once
		go c.send(strings.Repeat("z", n))
		want(strings.Repeat("z", n))
	}
	c.CloseWrite()
	want("bye")
	if _, err := c.R.ReadByte(); err != io.EOF {
		t.Error(err)
	}
}

func TestSecureDrain(t *testing.T) {
	t.Parallel()
	waiting, arrived := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(waiting) })
	ca, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			close(arrived)
			<-waiting
		}
	})))
	t.Cleanup(release)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	idle, fresh, busy := dialSecure(t, p, conf), dialSecure(t, p, conf), dialSecure(t, p, conf)
	idle.get("/")
	busy.send(proxytest.Head("GET /wait HTTP/1.1", "Host: t"))
	<-arrived
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		done <- p.Server.Shutdown(ctx)
	}()
	proxytest.Eventually(t, "the drain to begin", p.Server.Draining)
	if r, _ := fresh.get("/"); r.StatusCode != 200 || !r.Close {
		t.Error(r)
	}
	if _, err := idle.R.ReadByte(); err != io.EOF {
		t.Error("the idle connection did not end in an orderly way:", err)
	}
	release()
	if r, _ := busy.answer("GET"); r.StatusCode != 200 || !r.Close {
		t.Error(r)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A connection goes on with the certificate it began with; new ones get the new one.
func TestSecureSwap(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(echo)))
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	cache := tls.NewLRUClientSessionCache(10)
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t", ClientSessionCache: cache}
	old := dialSecure(t, p, conf)
	old.get("/")
	next := *cfg.Listeners[0].TLS
	pair := ca.Issue(pki.Options{Names: []string{"t"}})
	next.CertFile, next.KeyFile = pair.Write(t.TempDir(), "t")
	cfg.Listeners[0].TLS = &next
	p.Swap(t, cfg)
	if r, _ := old.get("/"); r.StatusCode != 200 {
		t.Error(r)
	}
	c := dialSecure(t, p, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	if got := c.ConnectionState().PeerCertificates[0]; !got.Equal(pair.Cert) {
		t.Error("the former certificate")
	}
	resumed := dialSecure(t, p, conf) // tickets outlive the generation
	resumed.get("/")
	if !resumed.ConnectionState().DidResume {
		t.Error("the session was not resumed")
	}
}

// Certificates are replaced many times under load: no request fails, on old connections or new ones, resumed or not.
func TestSecureRotation(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(echo)))
	var clients []*http.Client
	for i := range 4 {
		conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
		if i%2 == 0 {
			conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		}
		clients = append(clients, &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: i < 2}, Timeout: proxytest.Patience})
	}
	rotate(t, ca, cfg, 50, clients)
}
