package upstream

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// circuit keeps requests from a target that fails. It opens after so many failures in a row, lets a few probes through when its time is over, and closes when
// enough of them succeeded; one that fails opens it again.
type circuit struct {
	blocked atomic.Bool  // takes no request now; the balancers look at it
	state   atomic.Int32 // an observe.Circuit
	failed  atomic.Int32 // in a row while closed

	mu        sync.Mutex // guards the rest and makes a change one step
	until     time.Time  // while open
	probes    int        // under way
	successes int        // of probes
}

// admit lets a picked target have the request. Probe is set when it is one, and then Done must come from the target's probe twin.
func (t *Target) admit() (probe, ok bool) {
	b, c := t.pool.cfg.Breaker, &t.endpoint.circuit
	if b == nil || observe.Circuit(c.state.Load()) == observe.CircuitClosed {
		return false, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch observe.Circuit(c.state.Load()) {
	case observe.CircuitClosed:
		return false, true
	case observe.CircuitHalfOpen:
		if c.probes >= b.HalfOpen {
			c.blocked.Store(true)
			return false, false
		}
		c.probes++
		c.blocked.Store(c.probes >= b.HalfOpen)
		return true, true
	}
	return false, false
}

// count judges the end of an attempt.
func (t *Target) count(failed, canceled bool) {
	b, c := t.pool.cfg.Breaker, &t.endpoint.circuit
	switch {
	case b == nil:
	case t.isProbe:
		t.countProbe(b, failed, canceled)
	case canceled || observe.Circuit(c.state.Load()) != observe.CircuitClosed: // begun before it opened: proves nothing about now
	case !failed:
		if c.failed.Load() != 0 {
			c.failed.Store(0)
		}
	case int(c.failed.Add(1)) >= b.Failures:
		c.mu.Lock()
		defer c.mu.Unlock()
		if observe.Circuit(c.state.Load()) == observe.CircuitClosed {
			t.open(b, fmt.Sprintf("%d failures in a row", c.failed.Load()))
		}
	}
}

func (t *Target) countProbe(b *config.Breaker, failed, canceled bool) {
	c := &t.endpoint.circuit
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probes--
	if observe.Circuit(c.state.Load()) != observe.CircuitHalfOpen {
		return // another probe has decided
	}
	switch {
	case canceled:
		c.blocked.Store(false)
	case failed:
		t.open(b, "a probe failed")
	default:
		c.blocked.Store(false)
		if c.successes++; c.successes >= b.Successes {
			t.close(fmt.Sprintf("%d probes succeeded", c.successes))
		}
	}
}

// open, halfOpen and close change the state; the caller holds the mutex.
func (t *Target) open(b *config.Breaker, why string) {
	c, now := &t.endpoint.circuit, time.Now()
	c.blocked.Store(true)
	c.until, c.successes = now.Add(b.OpenFor), 0
	t.endpoint.metrics.CircuitOpens.Add(1)
	t.turn(observe.CircuitOpen, why, now)
}

func (t *Target) halfOpen(now time.Time) {
	c := &t.endpoint.circuit
	c.successes, c.probes = 0, 0
	t.turn(observe.CircuitHalfOpen, "its time is over", now)
	c.blocked.Store(false)
}

func (t *Target) close(why string) {
	c, now := &t.endpoint.circuit, time.Now()
	c.failed.Store(0)
	t.endpoint.warmUp(t.pool, now)
	t.turn(observe.CircuitClosed, why, now)
	c.blocked.Store(false)
}

func (t *Target) turn(to observe.Circuit, why string, now time.Time) {
	t.endpoint.circuit.state.Store(int32(to))
	t.endpoint.metrics.Circuit.Store(int32(to))
	t.pool.deps.Logger.Warn("circuit of target changed", "upstream", t.pool.cfg.ID, "target", t.Address, "state", to.String(), "reason", why)
	t.pool.tell(HealthChange{Upstream: t.pool.cfg.ID, Address: t.Address, Action: circuitActions[to], Circuit: true, Reason: why, At: now})
}

var circuitActions = map[observe.Circuit]string{observe.CircuitClosed: "close", observe.CircuitHalfOpen: "half-open", observe.CircuitOpen: "open"}

// sweepCircuit lets probes through when the time of an open circuit is over.
func (t *Target) sweepCircuit(now time.Time) {
	c := &t.endpoint.circuit
	if t.pool.cfg.Breaker == nil || observe.Circuit(c.state.Load()) != observe.CircuitOpen {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if observe.Circuit(c.state.Load()) == observe.CircuitOpen && !now.Before(c.until) {
		t.halfOpen(now)
	}
}

// forget closes the circuit of a target whose upstream has none any more.
func (c *circuit) forget(m *observe.TargetMetrics) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocked.Store(false)
	c.state.Store(int32(observe.CircuitClosed))
	c.failed.Store(0)
	m.Circuit.Store(int32(observe.CircuitNone))
}
