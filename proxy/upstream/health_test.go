package upstream

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// web is an HTTP server whose answer to checks can be changed.
type web struct {
	addr   string
	status atomic.Int64
	seen   chan *http.Request // the latest checks
}

func newWeb(t *testing.T) *web {
	t.Helper()
	w := &web{seen: make(chan *http.Request, 1)}
	w.status.Store(200)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case w.seen <- r:
		default:
		}
		if s := int(w.status.Load()); s == 302 {
			http.Redirect(rw, r, "/elsewhere", s)
		} else {
			rw.WriteHeader(s)
		}
	}))
	t.Cleanup(srv.Close)
	w.addr = srv.Listener.Addr().String()
	return w
}

func checked(addrs ...string) config.Upstream {
	u := upstreamConfig(addrs...)
	u.HealthCheck = &config.HealthCheck{
		Type: "http", Path: "/health?deep=1", ExpectedStatus: []int{200, 204}, Interval: 5 * time.Millisecond, Timeout: 5 * time.Second,
		HealthyThreshold: 2, UnhealthyThreshold: 3,
	}
	return u
}

// watched starts a pool and returns the changes of health it tells.
func watched(t *testing.T, cfg config.Upstream) (*Pool, <-chan HealthChange) {
	t.Helper()
	deps := testDeps()
	changes := make(chan HealthChange, 100)
	deps.OnHealth = func(c HealthChange) { changes <- c }
	p := newTestPool(t, cfg, deps)
	p.Start()
	return p, changes
}

func wantChange(t *testing.T, changes <-chan HealthChange, address string, healthy bool) HealthChange {
	t.Helper()
	select {
	case c := <-changes:
		if c.Address != address || c.Healthy != healthy || c.Upstream != "web" || c.At.IsZero() {
			t.Fatalf("got %+v, want %s healthy %v", c, address, healthy)
		}
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("no change of health")
		return HealthChange{}
	}
}

func TestHTTPCheckEjectsAndRestores(t *testing.T) {
	t.Parallel()
	good, bad := newWeb(t), newWeb(t)
	p, changes := watched(t, checked(good.addr, bad.addr))
	eventually(t, "both are healthy", func() bool {
		s := p.Snapshot()
		return s.Targets[0].Status == "healthy" && s.Targets[1].Status == "healthy"
	})
	idle := p.Targets()[1]
	mustAcquire(t, idle, false).Release(true)

	bad.status.Store(503)
	if c := wantChange(t, changes, bad.addr, false); c.Reason != "status 503" {
		t.Errorf("reason %q", c.Reason)
	}
	for range 20 {
		tg := mustPick(t, p)
		if tg.Address == bad.addr {
			t.Fatal("an ejected target was picked")
		}
		tg.Done(observe.FailureNone, nil)
	}
	if n := idle.Metrics().Idle.Load(); n != 0 {
		t.Errorf("%d idle connections to an ejected target", n)
	}
	s := p.Snapshot().Targets[1]
	if s.Status != "unhealthy" || s.LastError != "health check: status 503" || s.LastCheck.IsZero() || idle.Healthy() {
		t.Errorf("snapshot %+v", s)
	}

	good.status.Store(404)
	wantChange(t, changes, good.addr, false)
	if _, err := p.Pick(nil); !errors.Is(err, ErrNoHealthyTarget) {
		t.Errorf("with all ejected: %v", err)
	}

	bad.status.Store(204)
	wantChange(t, changes, bad.addr, true)
	if tg := mustPick(t, p); tg.Address != bad.addr {
		t.Errorf("picked %s", tg.Address)
	}
	m := p.Targets()[1].Metrics()
	if m.Ejections.Load() != 1 || m.Restores.Load() != 1 || m.CheckFails.Load() < 3 {
		t.Errorf("ejections %d restores %d failed checks %d", m.Ejections.Load(), m.Restores.Load(), m.CheckFails.Load())
	}
}

func TestHTTPCheckAsksAsConfigured(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ host, want string }{{"", ""}, {"app.example", "app.example"}} {
		srv := newWeb(t)
		cfg := checked(srv.addr)
		cfg.HealthCheck.Host = tt.host
		watched(t, cfg)
		want := tt.want
		if want == "" {
			want = srv.addr
		}
		r := <-srv.seen
		if r.Host != want || r.RequestURI != "/health?deep=1" || r.Method != "GET" || r.Header.Get("Connection") != "close" || r.UserAgent() != "sentinel-health-check" {
			t.Errorf("host %q, target %q, header %v", r.Host, r.RequestURI, r.Header)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	srv := newWeb(t)
	srv.status.Store(302)
	_, changes := watched(t, checked(srv.addr))
	if c := wantChange(t, changes, srv.addr, false); c.Reason != "status 302" {
		t.Errorf("reason %q", c.Reason)
	}
}

func TestCheckTimesOut(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // never accepts: the kernel completes the handshake, nobody answers
	cfg := checked(ln.Addr().String())
	cfg.HealthCheck.Timeout, cfg.HealthCheck.UnhealthyThreshold = 20*time.Millisecond, 1
	_, changes := watched(t, cfg)
	if c := wantChange(t, changes, ln.Addr().String(), false); !strings.Contains(c.Reason, "deadline") {
		t.Errorf("reason %q", c.Reason)
	}
}

func TestCheckRefusesGarbage(t *testing.T) {
	t.Parallel()
	b := newBackend(t) // echoes the request, which is no answer
	cfg := checked(b.addr)
	cfg.HealthCheck.UnhealthyThreshold = 1
	_, changes := watched(t, cfg)
	wantChange(t, changes, b.addr, false)
}

func TestTCPCheck(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	cfg := checked(addr)
	cfg.HealthCheck.Type = "tcp"
	p, changes := watched(t, cfg)
	eventually(t, "healthy", func() bool { return p.Snapshot().Targets[0].Status == "healthy" })
	ln.Close()
	wantChange(t, changes, addr, false)
	if ln, err = net.Listen("tcp", addr); err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	defer ln.Close()
	wantChange(t, changes, addr, true)
}

func TestThresholds(t *testing.T) {
	t.Parallel()
	p := newTestPool(t, checked("127.0.0.1:1"), testDeps()) // not started: the test reports by itself
	tg, failure, at := p.Targets()[0], errors.New("no"), time.Now()
	status := func() string { return p.Snapshot().Targets[0].Status }
	steps := []struct {
		err  error
		want string
	}{
		{failure, "unknown"}, {failure, "unknown"}, {nil, "healthy"}, // the row is broken, one pass settles the unknown
		{failure, "healthy"}, {failure, "healthy"}, {nil, "healthy"},
		{failure, "healthy"}, {failure, "healthy"}, {failure, "unhealthy"}, {failure, "unhealthy"},
		{nil, "unhealthy"}, {failure, "unhealthy"}, {nil, "unhealthy"}, {nil, "healthy"},
	}
	for i, s := range steps {
		p.report(tg, s.err, at)
		if got := status(); got != s.want {
			t.Fatalf("after step %d: %s, want %s", i, got, s.want)
		}
	}
}

func TestHealthIsCarriedOverAndForgottenWithoutChecks(t *testing.T) {
	t.Parallel()
	deps := testDeps()
	cfg := checked("127.0.0.1:1")
	one := mustSet(t, nil, deps, cfg)
	tg := one.Pool("web").Targets()[0]
	for range 3 {
		one.Pool("web").report(tg, errors.New("no"), time.Now())
	}
	changed := checked("127.0.0.1:1")
	changed.HealthCheck.Path = "/other"
	two := mustSet(t, one, deps, changed)
	one.Close()
	if _, err := two.Pool("web").Pick(nil); !errors.Is(err, ErrNoHealthyTarget) {
		t.Errorf("the ejection was forgotten: %v", err)
	}
	three := mustSet(t, two, deps, upstreamConfig("127.0.0.1:1"))
	defer three.Close()
	two.Close()
	three.Start()
	if _, err := three.Pool("web").Pick(nil); err != nil {
		t.Errorf("nobody checks any more, and yet: %v", err)
	}
	if h := observe.Health(three.Pool("web").Targets()[0].Metrics().Health.Load()); h != observe.HealthUnknown {
		t.Errorf("health is %v", h)
	}
}

func TestHealthChangesAreLogged(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var out bytes.Buffer
	deps := testDeps()
	deps.Logger = slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p := newTestPool(t, checked("127.0.0.1:1"), deps)
	tg := p.Targets()[0]
	for range 3 {
		p.report(tg, errors.New("no"), time.Now())
	}
	for range 2 {
		p.report(tg, nil, time.Now())
	}
	if _, _, err := tg.Acquire(time.Now()); err == nil {
		t.Error("a connection to nobody")
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{`level=WARN msg="target ejected" upstream=web target=127.0.0.1:1`, `level=INFO msg="target restored" upstream=web`,
		`level=DEBUG msg="health check failed" upstream=web target=127.0.0.1:1 failed_checks=1 error=no`, `level=DEBUG msg="health check passed" upstream=web target=127.0.0.1:1 passed_checks=2`,
		`level=DEBUG msg="no connection to target" upstream=web target=127.0.0.1:1`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}

type lockedWriter struct {
	mu  *sync.Mutex
	out *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func TestJitterStaysNearTheInterval(t *testing.T) {
	t.Parallel()
	if d := jittered(time.Second, 0); d != time.Second {
		t.Errorf("without jitter the interval is %v", d)
	}
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		d := jittered(time.Second, 50)
		least, most = min(least, d), max(most, d)
	}
	if least < 500*time.Millisecond || most > 1500*time.Millisecond || most-least < 500*time.Millisecond {
		t.Errorf("with 50 percent the interval is between %v and %v", least, most)
	}
	for range 1000 {
		if d := jittered(time.Second, 10); d < 900*time.Millisecond || d > 1100*time.Millisecond {
			t.Fatalf("interval %v", d)
		}
	}
}
