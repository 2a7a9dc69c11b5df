package observe

import "sync/atomic"

// UpstreamMetrics counts what concerns a whole upstream.
type UpstreamMetrics struct {
	handle
	Panicking      atomic.Bool   // health does not count now
	Panics         atomic.Uint64 // how often that began
	RetriesRefused atomic.Uint64 // by the budget
	StatusRetries  atomic.Uint64 // answers that were not passed on but repeated
	Hedges         atomic.Uint64 // further targets asked while the answer of the first did not begin
	HedgeWins      atomic.Uint64 // of which answered first
	Fallbacks      atomic.Uint64 // exchanges handed to it because another upstream could not answer

	Discovers       atomic.Bool   // its targets are found while the proxy runs
	DiscoveryErrors atomic.Uint64 // looks that found nothing that could be taken over
	Discovered      atomic.Int64  // Unix seconds of the last that did; 0 = none yet
}

// Upstream returns the handle of an upstream.
func (m *Metrics) Upstream(id string) *UpstreamMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.upstreams[id]
	if u == nil {
		u = &UpstreamMetrics{handle: handle{ID: id, metric: m, forget: func() { delete(m.upstreams, id) }}}
		m.upstreams[id] = u
	}
	u.refs++
	return u
}

func (m *Metrics) upstreamList() []*UpstreamMetrics {
	return sorted(m, m.upstreams, func(u *UpstreamMetrics) string { return u.ID })
}
