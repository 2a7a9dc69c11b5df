package observe

import (
	"cmp"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/api"
)

// Metrics holds every handle of the process. There is one per process; it outlives generations.
type Metrics struct {
	Process Process

	version string
	started time.Time
	now     func() time.Time
	reports atomic.Pointer[func() []Report]
	scrape  struct {
		once    sync.Once
		handler http.Handler
	}

	mu        sync.Mutex // guards the maps and the reference counts of their handles
	routes    map[string]*RouteMetrics
	listeners map[string]*ListenerMetrics
	upstreams map[string]*UpstreamMetrics
	targets   map[targetKey]*TargetMetrics
	agents    map[string]*AgentMetrics
	logs      map[string]*LogMetrics
}

type targetKey struct{ upstream, address string }

// Process counts what belongs to no route.
type Process struct {
	Limits         [limitCount]atomic.Uint64 // limits hit
	Refusals       CounterSet                // messages refused by the HTTP codec, by code
	HTTP3Errors    CounterSet                // the same in HTTP/3
	HTTP2Errors    CounterSet                // what clients did wrong in HTTP/2, by reason
	Generation     atomic.Uint64             // number of the running configuration
	ReloadsOK      atomic.Uint64
	ReloadsFailed  atomic.Uint64
	LastReload     atomic.Int64 // Unix seconds of the last reload, applied or not; 0 = none yet
	LastReloadFail atomic.Bool
}

// Hit counts a limit that was reached.
func (p *Process) Hit(l Limit) { p.Limits[l].Add(1) }

// Reloaded notes the outcome of a reload and the generation that runs after it.
func (p *Process) Reloaded(at time.Time, generation uint64, ok bool) {
	p.LastReload.Store(at.Unix())
	p.LastReloadFail.Store(!ok)
	p.Generation.Store(generation)
	if ok {
		p.ReloadsOK.Add(1)
	} else {
		p.ReloadsFailed.Add(1)
	}
}

// NewMetrics returns an empty set. Version is the build's; now is the clock, nil for time.Now.
func NewMetrics(version string, now func() time.Time) *Metrics {
	if now == nil {
		now = time.Now
	}
	return &Metrics{
		version: version, started: now(), now: now,
		routes: map[string]*RouteMetrics{}, listeners: map[string]*ListenerMetrics{},
		targets: map[targetKey]*TargetMetrics{}, upstreams: map[string]*UpstreamMetrics{}, agents: map[string]*AgentMetrics{}, logs: map[string]*LogMetrics{},
	}
}

// handle is the part that all handles share: an id and a reference count guarded by Metrics.mu.
type handle struct {
	ID string

	refs   int
	metric *Metrics
	forget func()
}

// Release gives the handle back. After the last Release its series are no longer exported; adding to it stays harmless.
func (h *handle) Release() {
	h.metric.mu.Lock()
	defer h.metric.mu.Unlock()
	h.refs--
	if h.refs == 0 {
		h.forget()
	}
}

// Route returns the handle of a route, the same one while it is in use.
func (m *Metrics) Route(id string) *RouteMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.routes[id]
	if r == nil {
		r = &RouteMetrics{handle: handle{ID: id, metric: m, forget: func() { delete(m.routes, id) }}}
		m.routes[id] = r
	}
	r.refs++
	return r
}

// Listener returns the handle of a listener.
func (m *Metrics) Listener(id string) *ListenerMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.listeners[id]
	if l == nil {
		l = &ListenerMetrics{handle: handle{ID: id, metric: m, forget: func() { delete(m.listeners, id) }}}
		m.listeners[id] = l
	}
	l.refs++
	return l
}

// Target returns the handle of one target of an upstream.
func (m *Metrics) Target(upstream, address string) *TargetMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := targetKey{upstream, address}
	t := m.targets[key]
	if t == nil {
		t = &TargetMetrics{Upstream: upstream, Address: address}
		t.Circuit.Store(int32(CircuitNone))
		t.handle = handle{ID: upstream + " " + address, metric: m, forget: func() { delete(m.targets, key) }}
		m.targets[key] = t
	}
	t.refs++
	return t
}

// Agent returns the handle of an agent.
func (m *Metrics) Agent(name string) *AgentMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.agents[name]
	if a == nil {
		a = &AgentMetrics{handle: handle{ID: name, metric: m, forget: func() { delete(m.agents, name) }}}
		m.agents[name] = a
	}
	a.refs++
	return a
}

// Log returns the handle of a log.
func (m *Metrics) Log(name string) *LogMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.logs[name]
	if l == nil {
		l = &LogMetrics{handle: handle{ID: name, metric: m, forget: func() { delete(m.logs, name) }}}
		m.logs[name] = l
	}
	l.refs++
	return l
}

// Uptime is the time since NewMetrics.
func (m *Metrics) Uptime() time.Duration { return m.now().Sub(m.started) }

// FillStatus sets what the metrics know of an api.Status: version, start, generation, connections, in-flight and totals.
func (m *Metrics) FillStatus(s *api.Status) {
	s.Version, s.Started, s.Generation = m.version, m.started, m.Process.Generation.Load()
	for _, r := range m.routeList() {
		t := r.totals()
		s.Requests += t.requests
		s.Errors5xx += t.class[5]
		s.InFlight += max(0, t.inFlight)
	}
	for _, l := range m.listenerList() {
		s.Connections += l.Open.Load()
	}
}

func (m *Metrics) routeList() []*RouteMetrics {
	return sorted(m, m.routes, func(r *RouteMetrics) string { return r.ID })
}
func (m *Metrics) listenerList() []*ListenerMetrics {
	return sorted(m, m.listeners, func(l *ListenerMetrics) string { return l.ID })
}
func (m *Metrics) targetList() []*TargetMetrics {
	return sorted(m, m.targets, func(t *TargetMetrics) string { return t.ID })
}
func (m *Metrics) agentList() []*AgentMetrics {
	return sorted(m, m.agents, func(a *AgentMetrics) string { return a.ID })
}
func (m *Metrics) logList() []*LogMetrics {
	return sorted(m, m.logs, func(l *LogMetrics) string { return l.ID })
}

// sorted copies the values of one of the maps, so that exporting holds no lock.
func sorted[K comparable, V any](m *Metrics, from map[K]V, id func(V) string) []V {
	m.mu.Lock()
	out := make([]V, 0, len(from))
	for _, v := range from {
		out = append(out, v)
	}
	m.mu.Unlock()
	slices.SortFunc(out, func(a, b V) int { return cmp.Compare(id(a), id(b)) })
	return out
}
