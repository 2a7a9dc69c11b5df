package balance

import (
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// Member is what an algorithm sees of one target. The pointers may be nil: then nobody judges the member in that respect.
type Member struct {
	Name   string        // its address: hashes are made of it, so they are the same in every process
	Zone   string        // where it is, for locality-aware
	Weight int           // 0 = takes no new requests
	Active *atomic.Int64 // exchanges now
	Queued *atomic.Int64 // tokens of these exchanges; nil = the algorithm does not look at them

	Health  *atomic.Int32 // an observe.Health: what active checks say
	Ejected *atomic.Bool  // outlier detection has taken it out
	Panic   *atomic.Bool  // too few are healthy: Health and Ejected no longer count
	Blocked *atomic.Bool  // its circuit takes no request now; counts even in panic
	Ramp    *atomic.Int64 // when its slow start began, in Unix nanoseconds; 0 = it is warm
	Stats   *Stats        // how its answers were; algorithms that learn need it
}

// Fit reports whether nothing is known against the member's health.
func (m *Member) Fit() bool {
	return (m.Health == nil || observe.Health(m.Health.Load()) != observe.HealthUnhealthy) && (m.Ejected == nil || !m.Ejected.Load())
}

// up reports whether the member may be chosen.
func (m *Member) up() bool {
	return m.Weight > 0 && (m.Blocked == nil || !m.Blocked.Load()) && (m.Fit() || m.Panic != nil && m.Panic.Load())
}

// free reports whether the request may choose the member with index i.
func (m *Member) free(h *Hint, i int) bool { return m.up() && !h.has(i) }

// reserve counts an exchange.
func (m *Member) reserve(h *Hint) {
	m.Active.Add(1)
	if m.Queued != nil {
		m.Queued.Add(h.Tokens())
	}
}

// Release takes off what Pick counted, when the exchange is over. The hint says as many tokens as it did then.
func (m *Member) Release(h *Hint) {
	m.Active.Add(-1)
	if m.Queued != nil {
		m.Queued.Add(-h.Tokens())
	}
}
