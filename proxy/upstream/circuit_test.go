package upstream

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

func broken(addrs ...string) config.Upstream {
	u := upstreamConfig(addrs...)
	u.Breaker = &config.Breaker{Failures: 3, Successes: 2, OpenFor: time.Hour, HalfOpen: 2}
	return u
}

func finish(t *testing.T, p *Pool, kinds ...observe.Failure) {
	t.Helper()
	for _, kind := range kinds {
		mustPick(t, p).Done(kind, nil)
	}
}

func state(p *Pool) observe.Circuit { return observe.Circuit(p.Targets()[0].Metrics().Circuit.Load()) }

const (
	fine     = observe.FailureNone
	failed   = observe.FailureRead
	canceled = observe.FailureCanceled
	poolFull = observe.FailurePoolFull
)

func TestCircuitOpensOnFailuresInARow(t *testing.T) {
	t.Parallel()
	p := newTestPool(t, broken("10.0.0.1:1"), testDeps())
	p.Start()
	finish(t, p, failed, failed, fine, failed, failed, canceled, poolFull) // what says nothing about the target does not count
	if state(p) != observe.CircuitClosed {
		t.Fatal("it is open after two failures in a row")
	}
	finish(t, p, failed)
	if state(p) != observe.CircuitOpen {
		t.Fatal("it is not open after three")
	}
	if _, err := p.Pick(nil); !errors.Is(err, ErrNoHealthyTarget) {
		t.Errorf("an open circuit let a request through: %v", err)
	}
	if n := p.Targets()[0].Metrics().Active.Load(); n != 0 {
		t.Errorf("%d reservations are left", n)
	}
}

func TestCircuitProbes(t *testing.T) {
	t.Parallel()
	p := newTestPool(t, broken("10.0.0.1:1"), testDeps())
	p.Start()
	finish(t, p, failed, failed, failed)
	later := time.Now().Add(2 * time.Hour)
	p.Targets()[0].sweepCircuit(time.Now())
	if state(p) != observe.CircuitOpen {
		t.Fatal("it is half-open before its time")
	}
	p.Targets()[0].sweepCircuit(later)
	first, second := mustPick(t, p), mustPick(t, p)
	if _, err := p.Pick(nil); !errors.Is(err, ErrNoHealthyTarget) {
		t.Fatalf("a third probe beside two: %v", err)
	}
	first.Done(canceled, nil) // proves nothing, and makes room
	third := mustPick(t, p)
	third.Done(failed, nil)
	if state(p) != observe.CircuitOpen {
		t.Fatal("a failed probe has not opened it again")
	}
	second.Done(fine, nil) // comes too late to count
	if state(p) != observe.CircuitOpen {
		t.Fatal("a probe of the former round has changed it")
	}
	p.Targets()[0].sweepCircuit(later.Add(2 * time.Hour))
	finish(t, p, fine)
	if state(p) != observe.CircuitHalfOpen {
		t.Fatal("one success has closed it")
	}
	finish(t, p, fine)
	if state(p) != observe.CircuitClosed {
		t.Fatal("two successes have not closed it")
	}
	finish(t, p, failed, failed)
	if state(p) != observe.CircuitClosed {
		t.Error("failures from before are still counted")
	}
}

// An exchange that began before the circuit opened and ends while it is half-open is no probe.
func TestCircuitCountsOnlyProbesWhileHalfOpen(t *testing.T) {
	t.Parallel()
	p := newTestPool(t, broken("10.0.0.1:1"), testDeps())
	p.Start()
	old1, old2, old3 := mustPick(t, p), mustPick(t, p), mustPick(t, p)
	finish(t, p, failed, failed, failed)
	p.Targets()[0].sweepCircuit(time.Now().Add(2 * time.Hour))
	old1.Done(fine, nil)
	old2.Done(fine, nil)
	old3.Done(failed, nil)
	if state(p) != observe.CircuitHalfOpen {
		t.Fatalf("old exchanges have made it %v", state(p))
	}
	finish(t, p, fine, fine)
	if state(p) != observe.CircuitClosed {
		t.Error("probes have not closed it")
	}
}

func TestCircuitUnderConcurrency(t *testing.T) {
	t.Parallel()
	p := newTestPool(t, broken("10.0.0.1:1", "10.0.0.2:1"), testDeps())
	p.Start()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				tg, err := p.Pick(nil)
				if err != nil {
					for _, tg := range p.Targets() {
						tg.sweepCircuit(time.Now().Add(2 * time.Hour))
					}
					continue
				}
				tg.Done([]observe.Failure{fine, failed, failed, canceled, fine}[(i+w)%5], nil)
			}
		})
	}
	wg.Wait()
	for _, tg := range p.Targets() {
		if n := tg.Metrics().Active.Load(); n != 0 {
			t.Errorf("%d reservations are left", n)
		}
		if n := tg.endpoint.circuit.probes; n != 0 {
			t.Errorf("%d probes are left", n)
		}
	}
}

// A changed upstream keeps its circuits; one without the block closes them.
func TestCircuitIsCarriedOver(t *testing.T) {
	t.Parallel()
	cfg := broken("10.0.0.1:1")
	first, err := NewSet([]config.Upstream{cfg}, nil, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	first.Start()
	finish(t, first.Pool("web"), failed, failed, failed)
	cfg.Timeouts.Connect++
	second, err := NewSet([]config.Upstream{cfg}, first, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	second.Start()
	if _, err := second.Pool("web").Pick(nil); err == nil {
		t.Error("the reload has closed the circuit")
	}
	cfg.Breaker = nil
	third, err := NewSet([]config.Upstream{cfg}, second, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	third.Start()
	mustPick(t, third.Pool("web")).Done(fine, nil)
	if s := third.Pool("web").Snapshot().Targets[0]; s.Circuit != "" {
		t.Errorf("without the block it is shown as %q", s.Circuit)
	}
}

// A target that a reload adds begins slowly; those that were there do not, and neither does anybody at the first start.
func TestAddedTargetStartsSlowly(t *testing.T) {
	t.Parallel()
	cfg := upstreamConfig("10.0.0.1:1")
	cfg.Balancing.SlowStart = time.Hour
	first, err := NewSet([]config.Upstream{cfg}, nil, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	cfg.Targets = append(cfg.Targets, config.Target{Address: "10.0.0.2:1", Weight: 1})
	second, err := NewSet([]config.Upstream{cfg}, first, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	targets := second.Pool("web").Targets()
	if targets[0].endpoint.ramp.Load() != 0 || targets[1].endpoint.ramp.Load() == 0 {
		t.Error("the wrong one starts slowly")
	}
}
