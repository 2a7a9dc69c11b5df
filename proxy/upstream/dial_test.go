package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// expire makes the next dial look the name up again.
func expire(tg *Target) {
	r := &tg.endpoint.resolver
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expires = time.Now().Add(-time.Second)
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestNamesAreCachedAndLookedUpAgain(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	dns, deps := &names{}, testDeps()
	dns.set(nil, "127.0.0.1")
	deps.Resolver = dns
	tg := newTestPool(t, upstreamConfig("backend.example:"+portOf(t, b.addr)), deps).Targets()[0]
	one, two := mustAcquire(t, tg, false), mustAcquire(t, tg, false)
	if dns.count() != 1 {
		t.Errorf("asked %d times for two dials", dns.count())
	}
	expire(tg)
	dns.set(errors.New("name server is down"))
	three := mustAcquire(t, tg, false) // the former address stays in use
	if dns.count() != 2 {
		t.Errorf("asked %d times, want 2", dns.count())
	}
	one.Release(true)
	three.Release(true)
	expire(tg)
	dns.set(nil, "127.0.0.2") // the name moved; 127.0.0.1 is no longer it
	if _, err := tg.Dial(time.Time{}); err == nil {
		t.Fatal("nothing listens there, and yet it connected")
	}
	b.waitClosed(t)
	b.waitClosed(t)
	if idle := tg.Metrics().Idle.Load(); idle != 0 {
		t.Errorf("%d idle connections to the former address", idle)
	}
	two.Release(false)
}

func TestFailingAddressIsPassedOver(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	dns, deps := &names{}, testDeps()
	dns.set(nil, "127.0.0.3", "127.0.0.1") // only the second one listens
	deps.Resolver = dns
	tg := newTestPool(t, upstreamConfig("backend.example:"+portOf(t, b.addr)), deps).Targets()[0]
	for range 4 { // wherever the turn begins
		c := mustAcquire(t, tg, false)
		if c.Remote().Addr() != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("connected to %v", c.Remote())
		}
		c.Release(false)
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dns, deps := &names{}, testDeps()
	dns.set(nil, "127.0.0.1", "127.0.0.2", "::1")
	deps.Resolver = dns
	tg := newTestPool(t, upstreamConfig("backend.example:"+portOf(t, ln.Addr().String())), deps).Targets()[0]
	seen := map[netip.Addr]int{}
	for range 8 {
		c := mustAcquire(t, tg, false)
		seen[c.Remote().Addr()]++
		c.Release(false)
	}
	if seen[netip.MustParseAddr("127.0.0.1")] != 4 || seen[netip.MustParseAddr("127.0.0.2")] != 4 {
		t.Errorf("connected to %v", seen)
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	defer ln.Close()
	tg := newTestPool(t, upstreamConfig(ln.Addr().String()), testDeps()).Targets()[0]
	mustAcquire(t, tg, false).Release(true)
	if tg.Metrics().Idle.Load() != 1 {
		t.Error("the connection is not pooled")
	}
}

func TestConnectTimeoutBoundsTheLookup(t *testing.T) {
	t.Parallel()
	deps := testDeps()
	deps.Resolver = hanging{}
	cfg := upstreamConfig("slow.example:80")
	cfg.Timeouts.Connect = 30 * time.Millisecond
	tg := newTestPool(t, cfg, deps).Targets()[0]
	start := time.Now()
	_, _, err := tg.Acquire(time.Time{})
	wantFailure(t, err, observe.FailureResolve)
	if took := time.Since(start); took < 30*time.Millisecond || took > 4*time.Second {
		t.Errorf("gave up after %v", took)
	}
}

func TestWaitingForAnotherLookupIsBounded(t *testing.T) {
	t.Parallel()
	deps := testDeps()
	deps.Resolver = hanging{}
	tg := newTestPool(t, upstreamConfig("slow.example:80"), deps).Targets()[0]
	first := make(chan error, 1)
	go func() {
		_, _, err := tg.Acquire(time.Now().Add(2 * time.Second))
		first <- err
	}()
	eventually(t, "the first lookup runs", func() bool { return len(tg.endpoint.resolver.looking) == 1 })
	start := time.Now()
	_, _, err := tg.Acquire(start.Add(20 * time.Millisecond))
	wantFailure(t, err, observe.FailureResolve)
	if took := time.Since(start); took > time.Second {
		t.Errorf("waited %v for somebody else's lookup", took)
	}
	wantFailure(t, <-first, observe.FailureResolve)
}

func TestFailedLookupIsRememberedForAMoment(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	dns, deps := &names{}, testDeps()
	dns.set(errors.New("no such host"))
	deps.Resolver = dns
	tg := newTestPool(t, upstreamConfig("backend.example:"+portOf(t, b.addr)), deps).Targets()[0]
	for range 5 {
		_, _, err := tg.Acquire(time.Time{})
		wantFailure(t, err, observe.FailureResolve)
	}
	if n := dns.count(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	dns.set(nil, "127.0.0.1")
	expire(tg)
	mustAcquire(t, tg, false).Release(true)
}

// hanging is a name server that never answers.
type hanging struct{}

func (hanging) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestBadAddresses(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"", "host", "host:", ":80", "host:0", "host:65536", "host:http", "[::1", "::1:80"} {
		if p, err := NewPool(upstreamConfig(addr), testDeps()); err == nil {
			p.Close()
			t.Errorf("%q is accepted", addr)
		}
	}
	for _, addr := range []string{"host:80", "127.0.0.1:1", "[::1]:65535", "a-b.example:8080"} {
		p, err := NewPool(upstreamConfig(addr), testDeps())
		if err != nil {
			t.Errorf("%q is refused: %v", addr, err)
			continue
		}
		p.Close()
	}
}

func TestNoDelayIsOn(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	tg := newTestPool(t, upstreamConfig(b.addr), testDeps()).Targets()[0]
	c := mustAcquire(t, tg, false)
	defer c.Release(false)
	if !noDelay(t, c.TCP.(*net.TCPConn)) {
		t.Error("TCP_NODELAY is off")
	}
}
