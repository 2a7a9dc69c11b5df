package client

import (
	"sync"
	"sync/atomic"
	"time"
)

// Breaker says when the circuit opens and closes. Zero fields mean the default in parentheses.
type Breaker struct {
	Failures  int           // in a row, that open it (5)
	Successes int           // of probes, that close it (2)
	OpenFor   time.Duration // before the first probe (30s)
	HalfOpen  int           // probes at once (1)
}

func (b Breaker) withDefaults() Breaker {
	b.Failures, b.Successes, b.HalfOpen = orInt(b.Failures, 5), orInt(b.Successes, 2), orInt(b.HalfOpen, 1)
	if b.OpenFor <= 0 {
		b.OpenFor = 30 * time.Second
	}
	return b
}

const (
	circuitClosed uint32 = iota
	circuitOpen
	circuitHalfOpen
)

// outcome is what a call says about the agent's condition.
type outcome uint8

const (
	good    outcome = iota
	bad             // timeout, lost connection, error answer, broken protocol
	neutral         // says nothing: cancelled, refused by the bulkhead
)

// breaker is the circuit of one agent. While it is closed a call costs two atomic loads.
type breaker struct {
	state    atomic.Uint32
	failures atomic.Int32 // in a row, while closed

	mu        sync.Mutex // guards everything below and transitions of state
	rules     Breaker
	opened    time.Time
	probes    int // under way
	successes int
	opens     uint64
}

func (b *breaker) set(s Breaker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules = s
}

// allow reports whether a call may be made, and whether it is a probe.
func (b *breaker) allow() (probe bool, err error) {
	if b.state.Load() == circuitClosed {
		return false, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state.Load() {
	case circuitClosed:
		return false, nil
	case circuitOpen:
		if time.Since(b.opened) < b.rules.OpenFor {
			return false, ErrCircuitOpen
		}
		b.state.Store(circuitHalfOpen)
		b.probes, b.successes = 0, 0
	}
	if b.probes >= b.rules.HalfOpen {
		return false, ErrCircuitOpen
	}
	b.probes++
	return true, nil
}

// standing says what allow would, and changes nothing: free, refused, or due when the call would be a probe.
func (b *breaker) standing() standing {
	if b.state.Load() == circuitClosed {
		return free
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state.Load() {
	case circuitOpen:
		if time.Since(b.opened) < b.rules.OpenFor {
			return refused
		}
	case circuitHalfOpen:
		if b.probes >= b.rules.HalfOpen {
			return refused
		}
	default:
		return free
	}
	return due
}

// done reports how a call that was allowed ended.
func (b *breaker) done(probe bool, o outcome) {
	if !probe && o == good {
		if b.failures.Load() != 0 {
			b.failures.Store(0)
		}
		return
	}
	if !probe && o == neutral {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	state := b.state.Load()
	if probe && state == circuitHalfOpen {
		b.probes--
	}
	switch {
	case state == circuitClosed && o == bad:
		if int(b.failures.Add(1)) >= b.rules.Failures {
			b.open()
		}
	case probe && state == circuitHalfOpen && o == bad:
		b.open()
	case probe && state == circuitHalfOpen && o == good:
		if b.successes++; b.successes >= b.rules.Successes {
			b.failures.Store(0)
			b.state.Store(circuitClosed)
		}
	}
}

// retry lets an open circuit try its next call at once, because there is news of the agent.
func (b *breaker) retry() {
	if b.state.Load() == circuitClosed {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = time.Time{}
}

// open is called with mu held.
func (b *breaker) open() {
	b.opened = time.Now()
	b.opens++
	b.state.Store(circuitOpen)
}

func (b *breaker) snapshot() (state string, opens uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state.Load() {
	case circuitOpen:
		return "open", b.opens
	case circuitHalfOpen:
		return "half-open", b.opens
	}
	return "closed", b.opens
}
