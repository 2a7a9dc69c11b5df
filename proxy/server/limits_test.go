package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// Messages that two readers could read differently, or that are too large, are refused; the connection ends and nothing of them reaches the backend.
func TestRefusals(t *testing.T) {
	t.Parallel()
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "evil") {
			t.Errorf("%s reached the backend", r.URL)
		}
	})
	host := "Host: t"
	for name, c := range map[string]struct {
		status int
		bytes  string
	}{
		"good":               {200, proxytest.Head("GET /good HTTP/1.1", host)},
		"length and chunked": {400, proxytest.Head("POST /evil HTTP/1.1", host, "Content-Length: 3", "Transfer-Encoding: chunked")},
		"two lengths":        {400, proxytest.Head("POST /evil HTTP/1.1", host, "Content-Length: 3", "Content-Length: 3")},
		"signed length":      {400, proxytest.Head("POST /evil HTTP/1.1", host, "Content-Length: +3")},
		"bare LF":            {400, "GET /evil HTTP/1.1\nHost: t\n\n"},
		"folded":             {400, proxytest.Head("GET /evil HTTP/1.1", host, "X: a", " b")},
		"space before colon": {400, proxytest.Head("GET /evil HTTP/1.1", host, "X : a")},
		"no host":            {400, proxytest.Head("GET /evil HTTP/1.1")},
		"two hosts":          {400, proxytest.Head("GET /evil HTTP/1.1", host, host)},
		"NUL":                {400, proxytest.Head("GET /evil HTTP/1.1", host, "X: a\x00b")},
		"version":            {505, proxytest.Head("GET /evil HTTP/2.0", host)},
		"long target":        {414, proxytest.Head("GET /evil"+strings.Repeat("x", 20000)+" HTTP/1.1", host)},
		"large head":         {431, proxytest.Head("GET /evil HTTP/1.1", host, "X: "+strings.Repeat("x", 20000))},
		"many fields":        {431, proxytest.Head("GET /evil HTTP/1.1", host, strings.TrimSuffix(strings.Repeat("X: y\r\n", 200), "\r\n"))},
		"above root":         {400, proxytest.Head("GET /../evil HTTP/1.1", host)},
		"unknown coding":     {501, proxytest.Head("POST /evil HTTP/1.1", host, "Transfer-Encoding: gzip, chunked")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := p.Dial(t)
			cl.Send(c.bytes)
			r, body := cl.Answer("GET")
			if r.StatusCode != c.status {
				t.Fatal(r, body)
			}
			if c.status != 200 {
				if !strings.Contains(body, fmt.Sprintf(`"error":"%d `, c.status)) || r.Header.Get("Content-Type") != "application/json" {
					t.Error(body)
				}
				cl.WantClosed()
			}
		})
	}
}

func TestBodyTooLarge(t *testing.T) {
	t.Parallel()
	cfg := proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(echo)))
	cfg.Limits.MaxBodySize = 1000
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	t.Run("length", func(t *testing.T) {
		c := p.Dial(t)
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 1001"))
		c.Send(strings.Repeat("x", 1001))
		if r, _ := c.Answer("POST"); r.StatusCode != 413 {
			t.Fatal(r)
		}
		if r, _ := c.Get("/"); r.StatusCode != 200 { // it was small enough to discard
			t.Fatal(r)
		}
	})
	t.Run("large length", func(t *testing.T) {
		c := p.Dial(t)
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 1000000"))
		if r, _ := c.Answer("POST"); r.StatusCode != 413 || !r.Close {
			t.Fatal(r)
		}
	})
	t.Run("sent before the answer is read", func(t *testing.T) { // as simple clients do: a reset would lose them the answer
		c := p.Dial(t)
		const size = 32 << 20 // more than the sockets hold
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", fmt.Sprint("Content-Length: ", size)), strings.Repeat("x", size))
		if r, _ := c.Answer("POST"); r.StatusCode != 413 || !r.Close {
			t.Fatal(r)
		}
	})
	t.Run("chunked", func(t *testing.T) {
		c := p.Dial(t)
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked"))
		for range 3 {
			c.Send("190\r\n", strings.Repeat("x", 400), "\r\n")
		}
		if r, _ := c.Answer("POST"); r.StatusCode != 413 || !r.Close {
			t.Fatal(r)
		}
	})
	t.Run("exactly", func(t *testing.T) {
		c := p.Dial(t)
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 1000"), strings.Repeat("x", 1000))
		if r, _ := c.Answer("POST"); r.StatusCode != 200 {
			t.Fatal(r)
		}
	})
	if n := p.Metrics.Process.Limits[observe.LimitBodySize].Load(); n != 4 {
		t.Errorf("limit hit %d times", n)
	}
}

func TestClientTimeouts(t *testing.T) {
	t.Parallel()
	cfg := proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(echo)))
	cfg.Listeners = []config.Listener{{ID: proxytest.ListenerID, HeaderTimeout: 300 * time.Millisecond, KeepaliveTimeout: 400 * time.Millisecond, RequestTimeout: 600 * time.Millisecond}}
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	for name, bytes := range map[string]string{
		"head":       "GET / HTTP/1.1\r\nHo",
		"body":       proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 10") + "12345",
		"large body": proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 100000") + "12345",
		"chunked":    proxytest.Head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + "5\r\n123",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := p.Dial(t)
			begin := time.Now()
			c.Send(bytes)
			if r, _ := c.Answer("POST"); r.StatusCode != 408 || !r.Close {
				t.Fatal(r)
			}
			if d := time.Since(begin); d < 300*time.Millisecond || d > 4*time.Second {
				t.Errorf("after %v", d)
			}
			c.WantClosed()
		})
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		c := p.Dial(t)
		if r, _ := c.Get("/"); r.StatusCode != 200 {
			t.Fatal(r)
		}
		c.WantClosed()
	})
	t.Run("never a byte", func(t *testing.T) {
		t.Parallel()
		p.Dial(t).WantClosed()
	})
}

// A client that trickles its body, or does not read its answer, does not hold the connection.
func TestMinimumRate(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the grace period of 5 s")
	}
	t.Parallel()
	cfg := proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Write(make([]byte, 30<<20))
	})))
	cfg.Upstreams[0].Timeouts.Read, cfg.Upstreams[0].Timeouts.Write = 30*time.Second, 30*time.Second
	cfg.Upstreams[0].Timeouts.Request = time.Minute
	cfg.Limits.MaxBodySize = 1 << 30
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	t.Run("body", func(t *testing.T) {
		t.Parallel()
		c := p.Dial(t)
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 100000"))
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Millisecond):
					if _, err := c.Write([]byte("x")); err != nil {
						return
					}
				}
			}
		}()
		r, _ := c.Answer("POST")
		close(stop)
		<-done
		if r.StatusCode != 408 {
			t.Fatal(r)
		}
	})
	t.Run("answer", func(t *testing.T) {
		t.Parallel()
		c := p.Dial(t)
		c.SetReadBuffer(4096)
		c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
		proxytest.Eventually(t, "slow reader closed", func() bool { return p.Metrics.Process.Limits[observe.LimitBodyRate].Load() == 2 })
	})
}

func TestConnectionCaps(t *testing.T) {
	t.Parallel()
	cfg := proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(echo)))
	cfg.Limits.MaxConnectionsPerClient = 3
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	var open []*proxytest.Client
	for range 3 {
		c := p.Dial(t)
		if r, _ := c.Get("/"); r.StatusCode != 200 {
			t.Fatal(r)
		}
		open = append(open, c)
	}
	c := p.Dial(t)
	if r, body := c.Answer("GET"); r.StatusCode != 503 || !strings.Contains(body, "Too many connections") {
		t.Fatal(r, body)
	}
	c.WantClosed()
	if n := p.Metrics.Process.Limits[observe.LimitClientConnections].Load(); n != 1 {
		t.Errorf("limit hit %d times", n)
	}
	open[0].Close()
	proxytest.Eventually(t, "place free again", func() bool { return p.Server.Connections() == 2 })
	if r, _ := p.Dial(t).Get("/"); r.StatusCode != 200 {
		t.Fatal(r)
	}
}

func TestInFlightCap(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	arrived := make(chan struct{}, 10)
	cfg := proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
	})))
	cfg.Limits.MaxInFlightRequests = 1
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	a, b := p.Dial(t), p.Dial(t)
	a.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
	<-arrived
	if r, _ := b.Get("/"); r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" {
		t.Fatal(r)
	}
	p.Swap(t, cfg) // a reload makes no room
	if r, _ := b.Get("/"); r.StatusCode != 503 {
		t.Fatal(r)
	}
	close(release)
	if r, _ := a.Answer("GET"); r.StatusCode != 200 {
		t.Fatal(r)
	}
	proxytest.Eventually(t, "place free again", func() bool { r, _ := b.Get("/"); return r.StatusCode == 200 })
}

// A client whose end comes together with an unfinished request does not keep its connection until the timeout.
func TestEndInsideRequest(t *testing.T) {
	t.Parallel()
	p := start(t, echo)
	for name, bytes := range map[string]string{
		"head":    "GET / HTTP/1.1\r\nHo",
		"body":    proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 10") + "12345",
		"large":   proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 100000") + "12345",
		"chunked": proxytest.Head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + "5\r\n123",
		"answer":  proxytest.Head("GET / HTTP/1.1", "Host: t"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 20 {
				c := p.Dial(t)
				c.Send(bytes)
				c.CloseWrite()
				_, _ = io.Copy(io.Discard, c.TCPConn) // ends well before the 10 s of the header timeout, or the connection's deadline breaks it
				c.Close()
			}
		})
	}
	t.Cleanup(func() {
		proxytest.Eventually(t, "no connection left", func() bool { return p.Server.Connections() == 0 })
	})
}

// What follows a request to upgrade is the new protocol; with a body in between, the upgrade is not asked for upstream.
func TestUpgradeWithBody(t *testing.T) {
	t.Parallel()
	cfg := proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header["Upgrade"], r.Header["Connection"])
	})))
	cfg.Routes[0].WebSocket = &config.WebSocket{Enabled: true}
	c := proxytest.Proxy(t, cfg, proxytest.Options{}).Dial(t)
	c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t", "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 5") + "hello")
	if r, body := c.Answer("GET"); r.StatusCode != 200 || body != "[] []" {
		t.Fatal(r, body)
	}
}
