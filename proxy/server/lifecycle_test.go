package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// A client that has connected but not sent its request yet, or keeps its connection, may have one on its way, and a drain must not lose it.
func TestDrainServesTheNextRequest(t *testing.T) {
	t.Parallel()
	p := start(t, func(http.ResponseWriter, *http.Request) {})
	fresh, kept := p.Dial(t), p.Dial(t)
	if r, _ := kept.Get("/"); r.Close {
		t.Fatal(r)
	}
	proxytest.Eventually(t, "the connections to be accepted", func() bool { return p.Server.Connections() == 2 })
	done := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		done <- p.Server.Shutdown(ctx)
	}()
	proxytest.Eventually(t, "the drain to begin", p.Server.Draining)
	for _, c := range []*proxytest.Client{fresh, kept} {
		c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
		if r, _ := c.Answer("GET"); r.StatusCode != 200 || !r.Close {
			t.Error(r)
		}
		c.WantClosed()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	release, arrived := make(chan struct{}), make(chan struct{})
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			close(arrived)
			<-release
		}
	})
	idle, busy := p.Dial(t), p.Dial(t)
	idle.Get("/")
	busy.Send(proxytest.Head("GET /wait HTTP/1.1", "Host: t"))
	<-arrived
	done := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		done <- p.Server.Shutdown(ctx)
	}()
	idle.WantClosed()
	if c, err := net.Dial("tcp", p.Addr); err == nil {
		c.Close()
		t.Error("new connections are accepted")
	}
	close(release)
	if r, _ := busy.Answer("GET"); r.StatusCode != 200 || !r.Close {
		t.Error(r)
	}
	busy.WantClosed()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// An answer that began before a drain did not say that the connection ends with it. A request that follows at once, here one that was sent along, is
// answered as well, and that answer says so.
func TestDrainServesWhatWasPipelined(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "a")
		if r.URL.Path == "/long" {
			w.(http.Flusher).Flush()
			<-release
		}
		io.WriteString(w, "b")
	})
	c := p.Dial(t)
	c.Send(proxytest.Head("GET /long HTTP/1.1", "Host: t") + proxytest.Head("GET /next HTTP/1.1", "Host: t"))
	long, err := http.ReadResponse(c.R, nil)
	if err != nil || long.Close {
		t.Fatal(long, err)
	}
	done := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
		defer cancel()
		done <- p.Server.Shutdown(ctx)
	}()
	proxytest.Eventually(t, "the drain to begin", p.Server.Draining)
	close(release)
	if body, err := io.ReadAll(long.Body); string(body) != "ab" || err != nil {
		t.Fatalf("%q, %v", body, err)
	}
	if r, body := c.Answer("GET"); r.StatusCode != 200 || !r.Close || body != "ab" {
		t.Error(r, body)
	}
	c.WantClosed()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownDeadline(t *testing.T) {
	t.Parallel()
	arrived, ended := make(chan struct{}), make(chan struct{})
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(ended)
	})
	c := p.Dial(t)
	c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
	<-arrived
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := p.Server.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("Shutdown: %v", err)
	}
	<-ended
}

// Requests under way finish on their generation, later ones use the new one, none is lost, and the old one is retired when it has no user.
func TestSwap(t *testing.T) {
	t.Parallel()
	named := func(name string) string {
		return proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) }))
	}
	release, arrived := make(chan struct{}), make(chan struct{})
	slow := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, "old")
	}))
	cfg := proxytest.ToBackends(named("a"))
	cfg.Upstreams = append(cfg.Upstreams, proxytest.ToBackends(slow).Upstreams[0])
	cfg.Upstreams[1].ID = "slow"
	cfg.Routes = append(cfg.Routes, config.Route{ID: "slow", Upstream: "slow", Match: config.Match{Paths: []string{"/slow"}}})
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	old := p.Server.Generation()
	var retired atomic.Bool
	old.Retire = func() { retired.Store(true) }
	busy := p.Dial(t)
	busy.Send(proxytest.Head("GET /slow HTTP/1.1", "Host: t"))
	<-arrived

	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		c := p.Dial(t)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r, body := c.Get("/"); r.StatusCode != 200 || body != "a" && body != "b" {
					t.Error(r, body)
					return
				}
			}
		})
	}
	next := proxytest.ToBackends(named("b"))
	p.Swap(t, next)
	if _, body := p.Dial(t).Get("/"); body != "b" {
		t.Errorf("after the swap: %q", body)
	}
	close(stop)
	wg.Wait()
	if retired.Load() {
		t.Error("retired with a request under way")
	}
	close(release)
	if _, body := busy.Answer("GET"); body != "old" {
		t.Errorf("the old request got %q", body)
	}
	proxytest.Eventually(t, "old generation retired", retired.Load)
	if r, _ := busy.Get("/slow"); r.StatusCode != 200 {
		t.Error(r)
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	log := &proxytest.Log{}
	p := proxytest.Proxy(t, proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(echo))), proxytest.Options{AccessLog: log})
	c := p.Dial(t)
	c.Send(proxytest.Head("GET /page?q=1 HTTP/1.1", "Host: site", "User-Agent: ua", "Referer: ref"))
	r, _ := c.Answer("GET")
	c.Send("BAD\r\n\r\n")
	c.Answer("GET")
	proxytest.Eventually(t, "two lines", func() bool { return strings.Count(log.String(), "\n") == 2 })
	for _, want := range []string{`"/page"`, `"q=1"`, `"ua"`, `"ref"`, `"site"`, `"all"`, `"backend"`, r.Header.Get("X-Request-Id"), `bad_request_line`, "400"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is missing in %s", want, log)
		}
	}
}

func TestKeepaliveMaxRequests(t *testing.T) {
	t.Parallel()
	cfg := proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(echo)))
	cfg.Listeners[0].KeepaliveMaxRequests = 2
	c := proxytest.Proxy(t, cfg, proxytest.Options{}).Dial(t)
	if r, _ := c.Get("/"); r.Close {
		t.Fatal(r)
	}
	if r, _ := c.Get("/"); !r.Close {
		t.Fatal(r)
	}
	c.WantClosed()
}
