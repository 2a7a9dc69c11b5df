package upstream

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

func TestReuseIsLastInFirstOut(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	tg := newTestPool(t, upstreamConfig(b.addr), testDeps()).Targets()[0]
	one, two := mustAcquire(t, tg, false), mustAcquire(t, tg, false)
	one.Release(true)
	two.Release(true)
	if c := mustAcquire(t, tg, true); c != two {
		t.Error("the connection used last was not taken first")
	}
	if c := mustAcquire(t, tg, true); c != one {
		t.Error("the other idle connection was not taken")
	}
	m := tg.Metrics()
	if m.Open.Load() != 2 || m.Idle.Load() != 0 || m.Reused.Load() != 2 || m.Connects.Snapshot().Count != 2 {
		t.Errorf("open %d idle %d reused %d connects %d", m.Open.Load(), m.Idle.Load(), m.Reused.Load(), m.Connects.Snapshot().Count)
	}
	if one.Remote().String() != b.addr {
		t.Errorf("remote %v, want %v", one.Remote(), b.addr)
	}
	one.Release(false)
	two.Release(false)
	if m.Open.Load() != 0 {
		t.Errorf("open %d after closing", m.Open.Load())
	}
}

func TestUnreusableIsClosed(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	tg := newTestPool(t, upstreamConfig(b.addr), testDeps()).Targets()[0]
	mustAcquire(t, tg, false).Release(false)
	b.waitClosed(t)
	mustAcquire(t, tg, false).Release(true)
}

// stale makes the backend do something to an idle connection and tells whether the pool notices.
func TestStaleConnectionsAreNotUsed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(c net.Conn) error
	}{
		{"closed", func(c net.Conn) error { return c.Close() }},
		{"reset", func(c net.Conn) error { c.(*net.TCPConn).SetLinger(0); return c.Close() }},
		{"half-closed", func(c net.Conn) error { return c.(*net.TCPConn).CloseWrite() }},
		{"unasked bytes", func(c net.Conn) error { _, err := c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBackend(t)
			tg := newTestPool(t, upstreamConfig(b.addr), testDeps()).Targets()[0]
			c := mustAcquire(t, tg, false)
			server := b.conn(t)
			c.Release(true)
			mustAcquire(t, tg, true).Release(true) // the twin: an untouched one is used
			if err := tt.do(server); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the event has reached our side", func() bool { return !c.alive() })
			fresh := mustAcquire(t, tg, false)
			if fresh == c {
				t.Error("the stale connection was handed out")
			}
			if n := tg.Metrics().Stale.Load(); n != 1 {
				t.Errorf("%d stale connections counted", n)
			}
			fresh.Release(true)
			if open := tg.Metrics().Open.Load(); open != 1 {
				t.Errorf("%d open, want 1", open)
			}
		})
	}
}

func TestMaxIdle(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	cfg := upstreamConfig(b.addr)
	cfg.Pool.MaxIdle = 1
	tg := newTestPool(t, cfg, testDeps()).Targets()[0]
	one, two := mustAcquire(t, tg, false), mustAcquire(t, tg, false)
	one.Release(true)
	two.Release(true)
	b.waitClosed(t)
	if m := tg.Metrics(); m.Idle.Load() != 1 || m.Open.Load() != 1 {
		t.Errorf("idle %d open %d, want 1 and 1", m.Idle.Load(), m.Open.Load())
	}
}

func TestFullPoolHandsOver(t *testing.T) {
	t.Parallel()
	for _, reusable := range []bool{true, false} {
		b := newBackend(t)
		cfg := upstreamConfig(b.addr)
		cfg.Pool.MaxConnections = 1
		tg := newTestPool(t, cfg, testDeps()).Targets()[0]
		c := mustAcquire(t, tg, false)
		type got struct {
			c      *Conn
			reused bool
			err    error
		}
		result := make(chan got, 1)
		go func() {
			c, reused, err := tg.Acquire(time.Now().Add(10 * time.Second))
			result <- got{c, reused, err}
		}()
		eventually(t, "the request waits", func() bool { return tg.Metrics().Waiting.Load() == 1 })
		c.Release(reusable)
		r := <-result
		if r.err != nil || r.reused != reusable || (r.c == c) != reusable {
			t.Errorf("released %v: got reused %v, same %v, error %v", reusable, r.reused, r.c == c, r.err)
		}
		if m := tg.Metrics(); m.Open.Load() != 1 || m.Waiting.Load() != 0 {
			t.Errorf("open %d waiting %d", m.Open.Load(), m.Waiting.Load())
		}
		r.c.Release(true)
	}
}

func TestWaitIsBoundedInTimeAndNumber(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	cfg := upstreamConfig(b.addr)
	cfg.Pool.MaxConnections = 1
	tg := newTestPool(t, cfg, testDeps()).Targets()[0]
	c := mustAcquire(t, tg, false)
	start := time.Now()
	_, _, err := tg.Acquire(start.Add(20 * time.Millisecond))
	wantFailure(t, err, observe.FailurePoolFull)
	if took := time.Since(start); took < 20*time.Millisecond || took > 4*time.Second {
		t.Errorf("gave up after %v", took)
	}
	var wg sync.WaitGroup
	for range tg.limits.maxWait {
		wg.Go(func() {
			if c, _, err := tg.Acquire(time.Time{}); err == nil {
				c.Release(true)
			} else {
				t.Errorf("a request in the queue failed: %v", err)
			}
		})
	}
	eventually(t, "the queue is full", func() bool { return int(tg.Metrics().Waiting.Load()) == tg.limits.maxWait })
	_, _, err = tg.Acquire(time.Time{})
	wantFailure(t, err, observe.FailurePoolFull)
	if !errors.Is(err, errQueueFull) {
		t.Errorf("got %v", err)
	}
	hits := &tg.endpoint.deps.Metrics.Process.Limits
	if n := hits[observe.LimitUpstreamQueue].Load(); n != 1 {
		t.Errorf("the queue's limit was counted %d times", n)
	}
	if n := int(hits[observe.LimitUpstreamConnections].Load()); n != tg.limits.maxWait+2 {
		t.Errorf("the pool's limit was counted %d times", n)
	}
	c.Release(true)
	wg.Wait()
	if n := b.accepted.Load(); n != 1 {
		t.Errorf("%d connections were made, want 1", n)
	}
}

func TestDialIgnoresIdleConnections(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	cfg := upstreamConfig(b.addr)
	cfg.Pool.MaxConnections = 1
	tg := newTestPool(t, cfg, testDeps()).Targets()[0]
	old := mustAcquire(t, tg, false)
	old.Release(true)
	fresh, err := tg.Dial(time.Time{})
	if err != nil || fresh == old {
		t.Fatalf("got the pooled one: %v, error %v", fresh == old, err)
	}
	b.waitClosed(t) // the idle one made room
	if m := tg.Metrics(); m.Open.Load() != 1 || m.Idle.Load() != 0 {
		t.Errorf("open %d idle %d", m.Open.Load(), m.Idle.Load())
	}
	fresh.Release(true)
}

func TestDialWaitsInAFullPool(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	cfg := upstreamConfig(b.addr)
	cfg.Pool.MaxConnections = 1
	tg := newTestPool(t, cfg, testDeps()).Targets()[0]
	busy := mustAcquire(t, tg, false)
	result := make(chan error, 1)
	go func() {
		c, err := tg.Dial(time.Now().Add(10 * time.Second))
		if err == nil {
			if c == busy {
				err = errors.New("got the used connection")
			}
			c.Release(true)
		}
		result <- err
	}()
	eventually(t, "the request waits", func() bool { return tg.Metrics().Waiting.Load() == 1 })
	busy.Release(true)
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestIdleTimeoutAndLifetime(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	cfg := upstreamConfig(b.addr)
	cfg.Pool.IdleTimeout = 50 * time.Millisecond
	p := newTestPool(t, cfg, testDeps())
	p.Start()
	tg := p.Targets()[0]
	mustAcquire(t, tg, false).Release(true)
	b.waitClosed(t)
	eventually(t, "nothing is open", func() bool { return tg.Metrics().Open.Load() == 0 })

	cfg = upstreamConfig(b.addr)
	cfg.ID, cfg.Pool.MaxLifetime = "short-lived", time.Hour
	tg = newTestPool(t, cfg, testDeps()).Targets()[0]
	c := mustAcquire(t, tg, false)
	c.Release(true)
	c = mustAcquire(t, tg, true)
	c.created -= int64(2 * time.Hour)
	c.Release(true)
	b.waitClosed(t)
	if n := tg.Metrics().Open.Load(); n != 0 {
		t.Errorf("%d open after the lifetime", n)
	}
	c = mustAcquire(t, tg, false)
	c.created -= int64(2 * time.Hour)
	tg.endpoint.mu.Lock() // idle already when its time comes
	c.next, tg.endpoint.idle = nil, c
	tg.endpoint.idleN++
	tg.endpoint.mu.Unlock()
	tg.sweep(time.Now())
	b.waitClosed(t)
}

func TestConnectFailures(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	ln.Close()
	deps := testDeps()
	tg := newTestPool(t, upstreamConfig(closed), deps).Targets()[0]
	_, _, err = tg.Acquire(time.Time{})
	wantFailure(t, err, observe.FailureConnect)
	if m := tg.Metrics(); m.Open.Load() != 0 {
		t.Errorf("a failed dial keeps its place: %d open", m.Open.Load())
	}
	_, _, err = tg.Acquire(time.Now().Add(-time.Second))
	wantFailure(t, err, observe.FailureConnectTimeout)

	resolver := &names{}
	resolver.set(errors.New("no such host"))
	deps.Resolver = resolver
	tg = newTestPool(t, upstreamConfig("nowhere.example:80"), deps).Targets()[0]
	_, _, err = tg.Acquire(time.Time{})
	wantFailure(t, err, observe.FailureResolve)
	resolver.set(nil)
	expire(tg)
	_, _, err = tg.Acquire(time.Time{})
	wantFailure(t, err, observe.FailureResolve)
}

func TestDoneCounts(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := newTestPool(t, upstreamConfig(b.addr), testDeps())
	tg := mustPick(t, p)
	if n := tg.Metrics().Active.Load(); n != 1 {
		t.Errorf("active %d after Pick", n)
	}
	tg.Done(observe.FailureNone, nil)
	mustPick(t, p).Done(observe.FailureTimeout, nil)
	mustPick(t, p).Done(observe.FailureCanceled, nil)
	s := p.Snapshot()
	got := s.Targets[0]
	if got.Active != 0 || got.Requests != 3 || got.Failures != 1 || got.LastError != "no answer in time" || got.Status != "unknown" {
		t.Errorf("got %+v", got)
	}
	if got.FailureRate < 0.33 || got.FailureRate > 0.34 {
		t.Errorf("failure rate %v", got.FailureRate)
	}
	now := time.Now()
	for i := range 3 { // the failure leaves the window
		tg.endpoint.window.move(now.Add(time.Duration(i)*2*rateSpan), tg.Metrics())
	}
	if rate := p.Snapshot().Targets[0].FailureRate; rate != 0 {
		t.Errorf("failure rate %v long after", rate)
	}
}

// Many requests share a small pool whose backend closes connections at will; whatever happens, nothing is lost or counted twice.
func TestPoolUnderStress(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	cfg := upstreamConfig(b.addr)
	cfg.Pool.MaxConnections, cfg.Pool.MaxIdle, cfg.Pool.IdleTimeout = 4, 3, 30*time.Millisecond
	p := newTestPool(t, cfg, testDeps())
	p.Start()
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case c := <-b.conns:
				if rand.IntN(2) == 0 {
					c.Close()
				} else {
					defer c.Close()
				}
			}
		}
	})
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			for range 100 {
				tg, err := p.Pick(nil)
				if err != nil {
					t.Error(err)
					return
				}
				tg.Done(exchange(t, tg), nil)
			}
		})
	}
	wg.Wait()
	close(stop)
	killer.Wait()
	tg := p.Targets()[0]
	m := tg.Metrics()
	if m.Active.Load() != 0 || m.Waiting.Load() != 0 || m.Open.Load() != m.Idle.Load() || m.Open.Load() > 4 || m.Requests.Load() != 1200 {
		t.Errorf("active %d waiting %d open %d idle %d requests %d", m.Active.Load(), m.Waiting.Load(), m.Open.Load(), m.Idle.Load(), m.Requests.Load())
	}
	if m.Reused.Load() == 0 {
		t.Error("no connection was reused")
	}
}

// exchange echoes one message over a connection that may break at any time.
func exchange(t *testing.T, tg *Target) observe.Failure {
	c, _, err := tg.Acquire(time.Time{})
	if err != nil {
		t.Errorf("cannot acquire: %v", err)
		return observe.FailureConnect
	}
	var buf [4]byte
	if _, err := c.TCP.Write([]byte("ping")); err != nil {
		c.Release(false)
		return observe.FailureWrite
	}
	if _, err := io.ReadFull(c.TCP, buf[:]); err != nil {
		c.Release(false)
		return observe.FailureRead
	}
	if string(buf[:]) != "ping" {
		t.Errorf("got %q: an answer of another exchange", buf)
	}
	c.Release(rand.IntN(10) > 0)
	return observe.FailureNone
}

func TestAcquireReleaseDoesNotAllocate(t *testing.T) {
	b := newBackend(t)
	p := newTestPool(t, upstreamConfig(b.addr), testDeps())
	mustAcquire(t, p.Targets()[0], false).Release(true)
	if n := testing.AllocsPerRun(1000, func() {
		tg, err := p.Pick(nil)
		if err != nil {
			t.Error(err)
			return
		}
		c, _, err := tg.Acquire(time.Time{})
		if err != nil {
			t.Error(err)
			return
		}
		c.Release(true)
		tg.Done(observe.FailureNone, nil)
	}); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
}

func BenchmarkPickAcquireRelease(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	p, err := NewPool(upstreamConfig(ln.Addr().String()), testDeps())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			tg, err := p.Pick(nil)
			if err != nil {
				b.Error(err)
				return
			}
			c, _, err := tg.Acquire(time.Time{})
			if err != nil {
				b.Error(err)
				return
			}
			c.Release(true)
			tg.Done(observe.FailureNone, nil)
		}
	})
}

func TestSweepFollowsTheShorterBound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ idle, lifetime, want time.Duration }{
		{0, 0, maxSweep}, {time.Minute, 0, maxSweep}, {time.Minute, 800 * time.Millisecond, 100 * time.Millisecond},
		{400 * time.Millisecond, time.Hour, 50 * time.Millisecond}, {0, time.Millisecond, minSweep},
	} {
		if got := sweepEvery(c.idle, c.lifetime); got != c.want {
			t.Errorf("idle %v, lifetime %v: every %v, want %v", c.idle, c.lifetime, got, c.want)
		}
	}
}
