package server_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// plainHTTP2Backend serves HTTP/2 only, without TLS.
func plainHTTP2Backend(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := &http.Server{Protocols: new(http.Protocols), Handler: h}
	srv.Protocols.SetUnencryptedHTTP2(true)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() { srv.Close(); wg.Wait() })
	return ln.Addr().String()
}

// A target with TLS chooses its version; one that must speak HTTP/2 and does not is no target.
func TestUpstreamChoosesVersion(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	var handshakes atomic.Int64
	backend := func(protocols ...string) string {
		conf := certConfig(ca.Issue(pki.Options{Names: []string{"127.0.0.1"}}))
		conf.NextProtos = protocols
		inner := conf.Clone()
		conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { handshakes.Add(1); return inner, nil }
		return secureBackend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Proto", r.Proto)
			echo(w, r)
		}), conf)
	}
	for _, tt := range []struct {
		offered []string
		min     int
		max     int
		want    string // "" = no answer
	}{
		{[]string{"h2", "http/1.1"}, 1, 2, "HTTP/2.0"},
		{[]string{"h2", "http/1.1"}, 1, 1, "HTTP/1.1"},
		{[]string{"h2", "http/1.1"}, 2, 2, "HTTP/2.0"},
		{[]string{"http/1.1"}, 1, 2, "HTTP/1.1"},
		{[]string{"http/1.1"}, 2, 2, ""},
	} {
		handshakes.Store(0)
		cfg, _ := trusting(t, ca, proxytest.ToBackends(backend(tt.offered...)))
		cfg.Upstreams[0].HTTP = config.HTTPVersion{Min: tt.min, Max: tt.max, MaxStreams: 10}
		p := proxytest.Proxy(t, cfg, proxytest.Options{})
		c := p.Dial(t)
		for range 3 {
			r, body := c.Get("/x")
			if tt.want == "" {
				if r.StatusCode != 502 {
					t.Errorf("%+v: %s", tt, r.Status)
				}
				break
			}
			if r.StatusCode != 200 || body != "GET " || r.Header.Get("X-Proto") != tt.want {
				t.Errorf("%+v: %s %q by %s", tt, r.Status, body, r.Header.Get("X-Proto"))
			}
		}
		if n := handshakes.Load(); tt.want != "" && n > 2 {
			t.Errorf("%+v: %d handshakes", tt, n)
		}
	}
}

// framesBackend is a target that answers the n-th connection with what serve sends after the first request has come. It begins with empty settings, or with other frames.
func framesBackend(t *testing.T, serve func(n int64, c net.Conn), first ...byte) string {
	if first == nil {
		first = http2.AppendSettings(nil)
	}
	var n atomic.Int64
	return proxytest.RawBackend(t, func(c net.Conn) {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write(first); err != nil {
			return
		}
		if _, err := io.ReadFull(c, make([]byte, len(http2.Preface))); err != nil {
			return
		}
		k := n.Add(1)
		var buf []byte
		for {
			var f http2.Frame
			size, bad := http2.ParseFrame(buf, &f)
			if bad != nil {
				return
			}
			if size == 0 {
				b := make([]byte, 4096)
				m, err := c.Read(b)
				if err != nil {
					return
				}
				buf = append(buf, b[:m]...)
				continue
			}
			buf = buf[size:]
			if f.Type == http2.Headers {
				serve(k, c)
			}
		}
	})
}

// fine is an answer on stream 1.
func fine() []byte {
	return http2.AppendData(http2.AppendHeaders(nil, 1, http2.AppendStatus(nil, 200), false), 1, []byte("fine"), true)
}

// What a target says it did not look at is sent again, even a POST; what it may have looked at is not, unless that does no harm.
func TestUnprocessedRequests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		sent   []byte
		post   int
		get    int
		closed bool
	}{
		{"refused", http2.AppendRST(nil, 1, http2.RefusedStream), 200, 200, true},
		{"said goodbye before it", http2.AppendGoAway(nil, 0, http2.NoError), 200, 200, false},
		{"reset", http2.AppendRST(nil, 1, http2.InternalError), 502, 200, true},
		{"broke the protocol", http2.AppendWindowUpdate(nil, 0, 0), 502, 200, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, method := range []string{"POST", "GET"} {
				cfg := overHTTP2(framesBackend(t, func(n int64, c net.Conn) {
					if n > 1 {
						_, _ = c.Write(fine())
						return
					}
					_, _ = c.Write(tt.sent)
					if tt.closed { // so that the next attempt gets another connection
						_, _ = c.Write(http2.AppendGoAway(nil, 1, http2.NoError))
					}
				}))
				cfg.Routes[0].Retry.MaxAttempts = 2
				p := proxytest.Proxy(t, cfg, proxytest.Options{})
				c := p.Dial(t)
				c.Send(proxytest.Head(method+" / HTTP/1.1", "Host: t", "Content-Length: 1"), "x")
				want := tt.post
				if method == "GET" {
					want = tt.get
				}
				if r, body := c.Answer(method); r.StatusCode != want || want == 200 && body != "fine" {
					t.Errorf("%s: %s %q, want %d", method, r.Status, body, want)
				}
			}
		})
	}
}

// An answer that breaks HTTP/2 is no answer, and its neighbour on the connection is served.
func TestBrokenStreamAnswer(t *testing.T) {
	t.Parallel()
	addr := framesBackend(t, func(_ int64, c net.Conn) {
		_, _ = c.Write(http2.AppendHeaders(nil, 1, http2.AppendField(http2.AppendStatus(nil, 200), []byte("a"), []byte("b\r\nset-cookie: c")), true))
	})
	cfg := overHTTP2(addr)
	cfg.Routes[0].Retry.MaxAttempts = 1
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	if r, _ := p.Dial(t).Get("/"); r.StatusCode != 502 || len(r.Cookies()) > 0 {
		t.Error(r)
	}
	if n := p.Metrics.Target("backend", addr).Failures[observe.FailureProtocol].Load(); n != 1 {
		t.Errorf("%d failures of the protocol", n)
	}
}

// A connection is shared up to max-streams, then another one is opened, up to max-connections; the rest waits.
func TestStreamsShareConnections(t *testing.T) {
	t.Parallel()
	var conns sync.Map
	var now, most atomic.Int64
	addr := plainHTTP2Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		conns.Store(r.RemoteAddr, true)
		time.Sleep(20 * time.Millisecond)
		fmt.Fprint(w, "ok")
	}))
	cfg := overHTTP2(addr)
	cfg.Upstreams[0].HTTP.MaxStreams = 3
	cfg.Upstreams[0].Pool.MaxConnections = 2
	cfg.Upstreams[0].Timeouts.Connect = 10 * time.Second
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	var wg sync.WaitGroup
	for range 16 {
		c := p.Dial(t)
		wg.Go(func() {
			for range 5 {
				if r, body := c.Get("/"); r.StatusCode != 200 || body != "ok" {
					t.Error(r.Status, body)
					return
				}
			}
		})
	}
	wg.Wait()
	n := 0
	conns.Range(func(any, any) bool { n++; return true })
	if n != 2 || most.Load() > 6 {
		t.Errorf("%d connections and %d requests at once, want 2 and at most 6", n, most.Load())
	}
}

// Bodies of all sizes and framings, aborted exchanges and broken connections, with HTTP/2 behind the proxy.
func TestStressHTTP2Upstream(t *testing.T) {
	t.Parallel()
	cfg := overHTTP2(plainHTTP2Backend(t, stressHandler()))
	cfg.Listeners[0].HTTP2 = config.HTTP2{}
	stress(t, cfg, func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) })
}

// A reload lets what runs go on and uses the connections further.
func TestReloadKeepsStreams(t *testing.T) {
	t.Parallel()
	going, goOn := make(chan struct{}, 1), make(chan struct{})
	addr := plainHTTP2Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			going <- struct{}{}
			<-goOn
		}
		fmt.Fprint(w, r.RemoteAddr)
	}))
	cfg := overHTTP2(addr)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	slow := p.Dial(t)
	slow.Send(proxytest.Head("GET /slow HTTP/1.1", "Host: t"))
	<-going
	changed := overHTTP2(addr)
	changed.Upstreams[0].Timeouts.Read = 6 * time.Second
	p.Swap(t, changed)
	_, after := p.Dial(t).Get("/")
	close(goOn)
	if r, before := slow.Answer("GET"); r.StatusCode != 200 || before != after {
		t.Errorf("%s: %q before and %q after", r.Status, before, after)
	}
}

// A client that waits for 100 (Continue) gets it from a target behind HTTP/2, and no sooner than that asks for the body.
func TestContinueOverHTTP2(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	addr := plainHTTP2Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(403)
			return
		}
		close(asked)
		echo(w, r) // the first read asks
	}))
	p := proxytest.Proxy(t, overHTTP2(addr), proxytest.Options{})
	c := p.Dial(t)
	c.Send(proxytest.Head("POST /yes HTTP/1.1", "Host: t", "Content-Length: 3", "Expect: 100-continue"))
	<-asked
	if r, _ := c.Answer("POST"); r.StatusCode != 100 {
		t.Fatal(r.Status)
	}
	c.Send("abc")
	if r, body := c.Answer("POST"); r.StatusCode != 200 || body != "POST abc" {
		t.Error(r.Status, body)
	}
	c = p.Dial(t)
	c.Send(proxytest.Head("POST /no HTTP/1.1", "Host: t", "Content-Length: 3", "Expect: 100-continue"))
	if r, _ := c.Answer("POST"); r.StatusCode != 403 {
		t.Error("the twin that is refused:", r.Status)
	}
}

// A body that was streamed to a target of one version is sent again to a target of the other one.
func TestReplayAcrossVersions(t *testing.T) {
	t.Parallel()
	failing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(503)
	})
	good := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		echo(w, r)
	})
	versions := map[string]func(http.Handler) string{
		"HTTP/1.1": func(h http.Handler) string { return proxytest.Backend(t, h) },
		"HTTP/2.0": func(h http.Handler) string { return plainHTTP2Backend(t, h) },
	}
	for from, first := range versions {
		for to, second := range versions {
			cfg := overHTTP2(first(failing))
			other := overHTTP2(second(good)).Upstreams[0]
			other.ID = "other"
			if from == "HTTP/1.1" {
				cfg.Upstreams[0].HTTP = config.HTTPVersion{}
			}
			if to == "HTTP/1.1" {
				other.HTTP = config.HTTPVersion{}
			}
			cfg.Upstreams = append(cfg.Upstreams, other)
			cfg.Routes[0].Retry = config.Retry{MaxAttempts: 1, On: []string{"connect"}, ReplayBuffer: 64 << 10}
			cfg.Routes[0].Fallback = &config.Fallback{Upstream: "other", OnStatus: []int{503}}
			c := proxytest.Proxy(t, cfg, proxytest.Options{}).Dial(t)
			c.Send(proxytest.Head("PUT / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked"), "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
			if r, body := c.Answer("PUT"); r.StatusCode != 200 || body != "PUT abcde" || r.Header.Get("X-Proto") != to {
				t.Errorf("%s to %s: %s %q by %s", from, to, r.Status, body, r.Header.Get("X-Proto"))
			}
		}
	}
}
