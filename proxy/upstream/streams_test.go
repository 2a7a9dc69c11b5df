package upstream

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// http2Backend is a server that speaks HTTP/2 only, and counts its connections.
func http2Backend(t *testing.T) (addr string, closed <-chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{}, 1000)
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.NotFoundHandler(), ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			gone <- struct{}{}
		}
	}}
	srv.Protocols.SetUnencryptedHTTP2(true)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() { srv.Close(); wg.Wait() })
	return ln.Addr().String(), gone
}

func http2Config(addr string) config.Upstream {
	cfg := upstreamConfig(addr)
	cfg.HTTP = config.HTTPVersion{Min: 2, Max: 2, MaxStreams: 2}
	return cfg
}

func acquire(t *testing.T, tg *Target, wantReused bool) *Conn {
	t.Helper()
	c, reused, err := tg.Acquire(time.Time{})
	if err != nil || reused != wantReused || !c.Multiplexed() {
		t.Fatalf("reused %v, %v", reused, err)
	}
	return c
}

func awaitClosed(t *testing.T, closed <-chan struct{}) {
	t.Helper()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("the connection stays open")
	}
}

// Streams fill a connection, then another one, then requests wait for their turn; who waits too long, or finds too many waiting, is refused.
func TestStreamsFillThePool(t *testing.T) {
	addr, _ := http2Backend(t)
	cfg := http2Config(addr)
	cfg.Pool.MaxConnections, cfg.Pool.QueueLength, cfg.Pool.QueueTimeout = 2, 1, 50*time.Millisecond
	p := newTestPool(t, cfg, testDeps())
	tg := mustPick(t, p)
	defer tg.Done(observe.FailureNone, nil)
	conns := []*Conn{acquire(t, tg, false), acquire(t, tg, true), acquire(t, tg, false), acquire(t, tg, true)}
	if n := tg.Metrics().Sessions.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
	_, _, err := tg.Acquire(time.Time{})
	var e *Error
	if !errors.As(err, &e) || e.Kind != observe.FailurePoolFull {
		t.Fatalf("a fifth stream: %v", err)
	}
	m := &p.deps.Metrics.Process
	if m.Limits[observe.LimitUpstreamQueueTime].Load() != 1 {
		t.Error("the limit was not counted")
	}
	conns[0].Release(false)
	conns[0] = acquire(t, tg, true)
	for _, c := range conns {
		c.Release(true)
	}
}

// A request that waits gets the place of one that ends.
func TestWaitingForStream(t *testing.T) {
	addr, _ := http2Backend(t)
	cfg := http2Config(addr)
	cfg.Pool.MaxConnections, cfg.HTTP.MaxStreams = 1, 1
	p := newTestPool(t, cfg, testDeps())
	tg := mustPick(t, p)
	defer tg.Done(observe.FailureNone, nil)
	first := acquire(t, tg, false)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			c, reused, err := tg.Acquire(time.Time{})
			if err != nil || !reused {
				t.Error(reused, err)
				return
			}
			c.Release(true)
		})
	}
	for tg.endpoint.streams.waiting.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	first.Release(true)
	wg.Wait()
}

// Everybody who waits for a dial learns at once that it failed.
func TestStreamsOfDeadTarget(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	p := newTestPool(t, http2Config(addr), testDeps())
	tg := mustPick(t, p)
	defer tg.Done(observe.FailureNone, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			var e *Error
			if _, _, err := tg.Acquire(time.Time{}); !errors.As(err, &e) || e.Kind != observe.FailureConnect {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := tg.Metrics().Open.Load(); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}

// Idle and old connections go; a pool that is closed leaves busy ones until their last stream ends.
func TestStreamsEnd(t *testing.T) {
	addr, closed := http2Backend(t)
	cfg := http2Config(addr)
	cfg.Pool.IdleTimeout = 100 * time.Millisecond
	p := newTestPool(t, cfg, testDeps())
	p.Start()
	tg := mustPick(t, p)
	defer tg.Done(observe.FailureNone, nil)
	acquire(t, tg, false).Release(true)
	awaitClosed(t, closed)

	cfg.Pool.IdleTimeout, cfg.Pool.MaxLifetime = time.Minute, time.Millisecond
	old := newTestPool(t, cfg, testDeps())
	ot := mustPick(t, old)
	defer ot.Done(observe.FailureNone, nil)
	c := acquire(t, ot, false)
	time.Sleep(2 * time.Millisecond)
	acquire(t, ot, false).Release(true) // not on the one that is too old
	c.Release(true)
	awaitClosed(t, closed)

	cfg.Pool.MaxLifetime = 0
	q, err := NewPool(cfg, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	qt := mustPick(t, q)
	c = acquire(t, qt, false)
	q.Close()
	if _, err := c.TCP.Write([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")); err != nil {
		t.Error("the exchange under way:", err)
	}
	if n, err := c.TCP.Read(make([]byte, 100)); n == 0 {
		t.Error("the exchange under way:", err)
	}
	late := acquire(t, qt, false) // an exchange that tries again
	qt.Done(observe.FailureNone, nil)
	c.Release(true)
	late.Release(true)
	awaitClosed(t, closed)
	awaitClosed(t, closed)
}
