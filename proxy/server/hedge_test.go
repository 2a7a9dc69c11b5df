package server_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// stuck is a target that answers /stuck only when let go, and tells of each such request that comes and of each that is given up.
type stuck struct {
	came, left, release chan struct{}
	others              atomic.Int64
}

func newStuck() *stuck {
	return &stuck{came: make(chan struct{}, 100), left: make(chan struct{}, 100), release: make(chan struct{})}
}

func (s *stuck) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path != "/stuck" {
		s.others.Add(1)
		fmt.Fprintf(w, "slow %s", body)
		return
	}
	s.came <- struct{}{}
	select {
	case <-s.release:
		fmt.Fprintf(w, "slow %s", body)
	case <-r.Context().Done():
		s.left <- struct{}{}
	}
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("waited in vain: " + what)
	}
}

func quick(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "quick %s", body)
}

// hedged is a configuration whose first request goes to slow: the first target of round robin.
func hedged(delay time.Duration, addresses ...string) config.Config {
	cfg := proxytest.ToBackends(addresses...)
	cfg.Routes[0].Retry = patient()
	cfg.Routes[0].Hedging = &config.Hedging{Delay: delay, MaxAttempts: 2}
	return cfg
}

// hedges checks the counters, and that nothing is at work any more.
func hedges(t *testing.T, p *proxytest.Instance, asked, won uint64) {
	t.Helper()
	m := p.Metrics.Upstream("backend")
	if a, w := m.Hedges.Load(), m.HedgeWins.Load(); a != asked || w != won {
		t.Errorf("%d hedges of which %d won, want %d and %d", a, w, asked, won)
	}
}

// quiet waits until nothing is at work at any target: what was abandoned is gone, its connection too.
func quiet(t *testing.T, p *proxytest.Instance, addresses ...string) {
	t.Helper()
	for _, a := range addresses {
		m := p.Metrics.Target("backend", a)
		proxytest.Eventually(t, "nothing is at work at "+a, func() bool { return m.Active.Load() == 0 && m.Open.Load() == m.Idle.Load()+m.Sessions.Load() })
	}
}

// A target that does not answer is joined by another; its answer counts, and the first one learns that nobody waits any more. By every version and with TLS.
func TestHedgeWins(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	for name, make := range map[string]func(http.Handler, *config.Config) string{
		"HTTP/1.1": func(h http.Handler, c *config.Config) string { return proxytest.Backend(t, h) },
		"HTTP/2": func(h http.Handler, c *config.Config) string {
			c.Upstreams[0].HTTP = config.HTTPVersion{Min: 2, Max: 2, MaxStreams: 100, StreamWindow: 64 << 10}
			return plainHTTP2Backend(t, h)
		},
		"TLS": func(h http.Handler, c *config.Config) string {
			*c, _ = trusting(t, ca, *c)
			return secureBackend(t, h, certConfig(ca.Issue(pki.Options{Names: []string{"127.0.0.1"}})))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := newStuck()
			cfg := hedged(5 * time.Millisecond)
			second := func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/stuck" {
					<-slow.came // connecting to the first may take as long as the delay
				}
				quick(w, r)
			}
			addresses := []string{make(slow, &cfg), make(http.HandlerFunc(second), &cfg)}
			for _, a := range addresses {
				cfg.Upstreams[0].Targets = append(cfg.Upstreams[0].Targets, config.Target{Address: a, Weight: 1})
			}
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			c := p.Dial(t)
			c.Send(proxytest.Head("PUT /stuck HTTP/1.1", "Host: t", "Content-Length: 4"), "body")
			if r, body := c.Answer("PUT"); r.StatusCode != 200 || body != "quick body" {
				t.Fatal(r.Status, body)
			}
			await(t, "the end of the request at the slow target", slow.left)
			hedges(t, p, 1, 1)
			c.Send(proxytest.Head("GET /x HTTP/1.1", "Host: t")) // the client's connection is as it was
			if r, body := c.Answer("GET"); r.StatusCode != 200 || !strings.HasSuffix(body, " ") {
				t.Fatal(r.Status, body)
			}
			quiet(t, p, addresses...)
		})
	}
}

// An answer that begins in time asks nobody else; nor does a request that may not be done twice, whose body is still coming, that has no budget or no second target.
func TestNotHedged(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change  func(*config.Config)
		request string
		more    string // sent when the first target has the request
	}{
		"POST":          {nil, proxytest.Head("POST /stuck HTTP/1.1", "Host: t", "Content-Length: 1") + "x", ""},
		"body to come":  {nil, proxytest.Head("PUT /stuck HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\n\r\n", ""},
		"no budget":     {func(c *config.Config) { c.Routes[0].Retry.BudgetMin, c.Routes[0].Retry.BudgetPercent = 0, 0 }, proxytest.Head("GET /stuck HTTP/1.1", "Host: t"), ""},
		"single target": {func(c *config.Config) { c.Upstreams[0].Targets = c.Upstreams[0].Targets[:1] }, proxytest.Head("GET /stuck HTTP/1.1", "Host: t"), ""},
		"not asked for": {func(c *config.Config) { c.Routes[0].Hedging = nil }, proxytest.Head("GET /stuck HTTP/1.1", "Host: t"), ""},
		"long delay":    {func(c *config.Config) { c.Routes[0].Hedging.Delay = time.Minute }, proxytest.Head("GET /stuck HTTP/1.1", "Host: t"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := newStuck()
			cfg := hedged(time.Millisecond, proxytest.Backend(t, slow), proxytest.Backend(t, http.HandlerFunc(quick)))
			if tt.change != nil {
				tt.change(&cfg)
			}
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			c := p.Dial(t)
			c.Send(tt.request)
			await(t, "the request", slow.came)
			time.Sleep(30 * time.Millisecond) // long enough for a hedge to be sent, were there one; a slow machine makes the test weaker, never red
			close(slow.release)
			if r, body := c.Answer("GET"); r.StatusCode != 200 || !strings.HasPrefix(body, "slow") {
				t.Fatal(r.Status, body)
			}
			hedges(t, p, 0, 0)
		})
	}
}

// The first target may still be the faster one; then its connection is kept, and the other request is given up.
func TestHedgeLoses(t *testing.T) {
	t.Parallel()
	first, second := newStuck(), newStuck()
	addresses := []string{proxytest.Backend(t, first), proxytest.Backend(t, second)}
	p := proxytest.Proxy(t, hedged(time.Millisecond, addresses...), proxytest.Options{})
	c := p.Dial(t)
	c.Send(proxytest.Head("GET /stuck HTTP/1.1", "Host: t"))
	await(t, "the request at the first target", first.came)
	await(t, "the request at the second target", second.came)
	close(first.release)
	if r, body := c.Answer("GET"); r.StatusCode != 200 || body != "slow " {
		t.Fatal(r.Status, body)
	}
	await(t, "the end of the request at the second target", second.left)
	hedges(t, p, 1, 0)
	quiet(t, p, addresses...)
	if n := p.Metrics.Target("backend", addresses[0]).Idle.Load(); n != 1 {
		t.Errorf("%d idle connections to the target that won, want 1", n)
	}
}

// What one target does wrong does not matter while another is at it: a reset, garbage, an answer that would be repeated. When all fail the client hears of it.
func TestHedgeAndFailures(t *testing.T) {
	t.Parallel()
	failing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) })
	reset := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	garbage := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, "ICY 200 OK\r\n\r\n")
			_ = conn.Close()
		}
	})
	for name, h := range map[string]http.Handler{"status": failing, "reset": reset, "garbage": garbage} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := newStuck()
			served := make(chan struct{}, 10)
			bad := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { served <- struct{}{} }()
				h.ServeHTTP(w, r)
			}))
			addresses := []string{proxytest.Backend(t, slow), bad}
			cfg := hedged(time.Millisecond, addresses...)
			cfg.Routes[0].Retry.MaxAttempts = 1
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			c := p.Dial(t)
			c.Send(proxytest.Head("GET /stuck HTTP/1.1", "Host: t"))
			await(t, "the request at the slow target", slow.came)
			await(t, "the request at the bad target", served)
			m := p.Metrics.Target("backend", bad)
			proxytest.Eventually(t, "the failure is counted", func() bool {
				return m.Failures[observe.FailureStatus].Load()+m.Failures[observe.FailureRead].Load() == 1
			})
			close(slow.release)
			if r, body := c.Answer("GET"); r.StatusCode != 200 || body != "slow " {
				t.Fatal(r.Status, body)
			}
			quiet(t, p, addresses...)
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		late := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(20 * time.Millisecond)
			failing(w, r)
		})
		addresses := []string{proxytest.Backend(t, late), proxytest.Backend(t, late)}
		cfg := hedged(time.Millisecond, addresses...)
		cfg.Routes[0].Retry.MaxAttempts = 1
		p := proxytest.Proxy(t, cfg, proxytest.Options{})
		if r, _ := p.Dial(t).Get("/"); r.StatusCode != 503 {
			t.Error(r.Status)
		}
		quiet(t, p, addresses...)
	})
}

// The time of an attempt bounds all of it, and a client that leaves ends all of it.
func TestHedgeEnds(t *testing.T) {
	t.Parallel()
	for name, patience := range map[string]time.Duration{"timeout": 50 * time.Millisecond, "client leaves": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := newStuck(), newStuck()
			addresses := []string{proxytest.Backend(t, first), proxytest.Backend(t, second)}
			cfg := hedged(time.Millisecond, addresses...)
			cfg.Routes[0].Retry.MaxAttempts, cfg.Routes[0].Retry.Timeout = 1, patience
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			c := p.Dial(t)
			c.Send(proxytest.Head("GET /stuck HTTP/1.1", "Host: t"))
			await(t, "the request at the first target", first.came)
			await(t, "the request at the second target", second.came)
			if patience > 0 {
				if r, _ := c.Answer("GET"); r.StatusCode != 504 {
					t.Error(r.Status)
				}
			} else {
				c.Close()
			}
			await(t, "the end of the request at the first target", first.left)
			await(t, "the end of the request at the second target", second.left)
			quiet(t, p, addresses...)
		})
	}
}

// Whatever wins, the client gets the answer to its own request, and nothing is left behind.
func TestStressHedging(t *testing.T) {
	t.Parallel()
	moody := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch rand.N(8) {
		case 0:
			time.Sleep(rand.N(20 * time.Millisecond))
		case 1:
			w.WriteHeader(503)
			return
		case 2:
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(append(body, strings.Repeat("x", rand.N(100_000))...))
	}
	addresses := []string{proxytest.Backend(t, http.HandlerFunc(moody)), proxytest.Backend(t, http.HandlerFunc(moody)), proxytest.Backend(t, http.HandlerFunc(moody))}
	cfg := hedged(2*time.Millisecond, addresses...)
	cfg.Routes[0].Retry.MaxAttempts, cfg.Routes[0].Hedging.MaxAttempts = 10, 3
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	var wg sync.WaitGroup
	for n := range 8 {
		c := p.Dial(t)
		wg.Go(func() {
			for i := range 150 {
				id := fmt.Sprintf("%d-%d.", n, i)
				c.Send(proxytest.Head("PUT / HTTP/1.1", "Host: t", fmt.Sprintf("Content-Length: %d", len(id))), id)
				r, body := c.Answer("PUT")
				if r.StatusCode == 200 && !strings.HasPrefix(body, id) || r.StatusCode != 200 && r.StatusCode < 502 {
					t.Errorf("request %s: %s %.20q", id, r.Status, body)
					return
				}
			}
		})
	}
	wg.Wait()
	if p.Metrics.Upstream("backend").HedgeWins.Load() == 0 {
		t.Error("no hedge ever won")
	}
	quiet(t, p, addresses...)
}
