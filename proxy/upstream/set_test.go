package upstream

import (
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

func mustSet(t *testing.T, prev *Set, deps Deps, cfgs ...config.Upstream) *Set {
	t.Helper()
	s, err := NewSet(cfgs, prev, deps)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEqualConfigurationKeepsThePool(t *testing.T) {
	t.Parallel()
	b, deps := newBackend(t), testDeps()
	one := mustSet(t, nil, deps, upstreamConfig(b.addr))
	one.Start()
	p := one.Pool("web")
	mustAcquire(t, p.Targets()[0], false).Release(true)
	two := mustSet(t, one, deps, upstreamConfig(b.addr))
	two.Start()
	if two.Pool("web") != p || len(two.Pools()) != 1 {
		t.Fatal("an equal configuration made another pool")
	}
	one.Close()
	mustAcquire(t, p.Targets()[0], true).Release(true)
	two.Close()
	b.waitClosed(t)
	if p.retain() {
		t.Error("a closed pool can be used again")
	}
}

func TestChangedConfigurationKeepsConnectionsHealthAndCounters(t *testing.T) {
	t.Parallel()
	stays, goes, deps := newBackend(t), newBackend(t), testDeps()
	one := mustSet(t, nil, deps, upstreamConfig(stays.addr, goes.addr))
	old := one.Pool("web")
	for range 2 { // one exchange with each
		tg := mustPick(t, old)
		mustAcquire(t, tg, false).Release(true)
		tg.Done(observe.FailureNone, nil)
	}
	changed := upstreamConfig(stays.addr)
	changed.LoadBalancing, changed.Pool.MaxIdle = "random", 7
	two := mustSet(t, one, deps, changed)
	p := two.Pool("web")
	if p == old {
		t.Fatal("a changed configuration kept the pool")
	}
	one.Close()
	goes.waitClosed(t) // its address is gone
	tg := p.Targets()[0]
	c := mustAcquire(t, tg, true)
	if tg.Metrics().Requests.Load() != 1 || tg.limits.maxIdle != 7 || c.Target() != tg {
		t.Errorf("requests %d, limits %+v", tg.Metrics().Requests.Load(), tg.limits)
	}
	two.Close()
	c.Release(true) // busy while its pool was closed
	stays.waitClosed(t)
}

func TestExchangeMayOutliveItsPool(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	s := mustSet(t, nil, testDeps(), upstreamConfig(b.addr))
	tg := mustPick(t, s.Pool("web"))
	s.Close()
	mustAcquire(t, tg, false).Release(true)
	tg.Done(observe.FailureNone, nil)
	b.waitClosed(t)
}

func TestFailedSetLeavesThePreviousAlone(t *testing.T) {
	t.Parallel()
	b, deps := newBackend(t), testDeps()
	one := mustSet(t, nil, deps, upstreamConfig(b.addr))
	defer one.Close()
	mustAcquire(t, one.Pool("web").Targets()[0], false).Release(true)
	bad := upstreamConfig(b.addr, "no-port")
	bad.ID = "bad"
	changed := upstreamConfig(b.addr)
	changed.LoadBalancing = "best"
	for _, cfgs := range [][]config.Upstream{{upstreamConfig(b.addr), bad}, {changed}} {
		if _, err := NewSet(cfgs, one, deps); err == nil || !strings.HasPrefix(err.Error(), "cannot make upstream ") {
			t.Errorf("got %v", err)
		}
	}
	mustAcquire(t, one.Pool("web").Targets()[0], true).Release(true)
	if n := deps.Metrics.Target("bad", b.addr); n.Open.Load() != 0 {
		t.Error("the refused upstream left something open")
	}
}

func TestOneAddressTwiceIsOneEndpoint(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := newTestPool(t, upstreamConfig(b.addr, b.addr), testDeps())
	mustAcquire(t, p.Targets()[0], false).Release(true)
	mustAcquire(t, p.Targets()[1], true).Release(true)
}

func TestUnknownPool(t *testing.T) {
	t.Parallel()
	var none *Set
	if none.Pool("web") != nil || none.Pools() != nil {
		t.Error("a nil set has pools")
	}
	none.Start()
	none.Close()
	if _, err := NewSet(nil, nil, Deps{}); err == nil {
		t.Error("missing dependencies are accepted")
	}
}

func TestOnHealthFollowsTheNewestSet(t *testing.T) {
	t.Parallel()
	srv := newWeb(t)
	deps := testDeps()
	first, second := make(chan HealthChange, 10), make(chan HealthChange, 10)
	deps.OnHealth = func(c HealthChange) { first <- c }
	one := mustSet(t, nil, deps, checked(srv.addr))
	one.Start()
	deps.OnHealth = func(c HealthChange) { second <- c }
	two := mustSet(t, one, deps, checked(srv.addr))
	two.Start()
	one.Close()
	defer two.Close()
	srv.status.Store(500)
	select {
	case <-second:
	case <-first:
		t.Error("the former set was told")
	case <-time.After(10 * time.Second):
		t.Error("nobody was told")
	}
}
