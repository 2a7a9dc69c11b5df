package model

import (
	"strings"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
)

// shown holds the rows that pass the filter of their pane.
type shown struct {
	routes   []*RouteRow
	targets  []*TargetRow
	agents   []*AgentRow
	services []*ServiceRow
	events   []*stackapi.Event // newest first
}

// filter decides whether a row is visible. "x" keeps rows that contain x in any letter case, "!x" those that do not, "~x" those
// that contain the letters of x in this order.
type filter struct {
	text       string // lower case
	not, fuzzy bool
	faultsOnly bool
	service    string // logs of this service only
}

func (m *Model) newFilter(p Pane) filter {
	f := filter{text: strings.ToLower(m.filters[p]), faultsOnly: m.faultsOnly}
	switch {
	case strings.HasPrefix(f.text, "!"):
		f.not, f.text = true, f.text[1:]
	case strings.HasPrefix(f.text, "~"):
		f.fuzzy, f.text = true, f.text[1:]
	}
	return f
}

func (f *filter) keep(s Severity, fields ...string) bool {
	if f.faultsOnly && s < Warn {
		return false
	}
	if f.text == "" {
		return true
	}
	for _, v := range fields {
		if f.fuzzy && inOrder(v, f.text) || !f.fuzzy && containsFold(v, f.text) {
			return !f.not
		}
	}
	return f.not
}

func (f *filter) log(e *LogEntry) bool {
	if f.service != "" && e.Service != f.service {
		return false
	}
	return f.keep(e.Severity, e.Text, e.Service, e.Level)
}

// containsFold reports whether lower, which must be in lower case, occurs in s in any letter case. ASCII costs no allocation.
func containsFold(s, lower string) bool {
	if len(lower) > len(s) {
		return false
	}
	for i := 0; i+len(lower) <= len(s); i++ {
		j := 0
		for j < len(lower) && lowerByte(s[i+j]) == lower[j] {
			j++
		}
		if j == len(lower) {
			return true
		}
	}
	return false
}

func lowerByte(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

func inOrder(s, lower string) bool {
	j := 0
	for i := 0; i < len(s) && j < len(lower); i++ {
		if lowerByte(s[i]) == lower[j] {
			j++
		}
	}
	return j == len(lower)
}

func (r *RouteRow) key() string   { return r.ID }
func (t *TargetRow) key() string  { return t.Upstream + "/" + t.Address }
func (a *AgentRow) key() string   { return a.Name }
func (s *ServiceRow) key() string { return s.Name }

// TargetWord says in one word how a target is: what keeps requests from it, else its health.
func TargetWord(t *proxyapi.Target) string {
	switch {
	case t.Circuit == "open", t.Circuit == "half-open":
		return "circuit " + t.Circuit
	default:
		return t.Status
	}
}

// AgentWord says in one word how an agent is: its circuit when that is not closed, else its health, else whether it is connected.
func AgentWord(a *proxyapi.Agent) string {
	switch {
	case a.Circuit == "open", a.Circuit == "half-open":
		return "circuit " + a.Circuit
	case a.Health != "" && a.Health != "unknown" && a.Health != "healthy":
		return a.Health
	case !a.Connected && a.Calls > 0:
		return "disconnected"
	case !a.Connected:
		return "idle"
	default:
		return "healthy"
	}
}

// refilter recomputes the visible rows of every pane and puts the cursors back on their rows.
func (m *Model) refilter() {
	m.shown.routes = sift(m.routes, m.newFilter(Routes), func(f filter, r *RouteRow) bool {
		return f.keep(r.Severity, r.ID, r.Match, r.Target)
	})
	m.shown.targets = sift(m.targets, m.newFilter(Upstreams), func(f filter, t *TargetRow) bool {
		return f.keep(t.Severity, t.Upstream, t.Address, TargetWord(&t.Target), t.LastError)
	})
	m.shown.agents = sift(m.agents, m.newFilter(Agents), func(f filter, a *AgentRow) bool {
		return f.keep(a.Severity, a.Name, a.Type, a.Circuit, a.Health, a.LastError)
	})
	m.shown.services = sift(m.services, m.newFilter(Services), func(f filter, s *ServiceRow) bool {
		return f.keep(s.Severity, s.Name, s.Kind, s.State, s.Reason)
	})
	m.filterEvents()
	for _, p := range []Pane{Routes, Upstreams, Agents, Services} {
		m.lists[p].follow(m.rowCount(p), func(i int) string { return m.rowKey(p, i) })
	}
}

func sift[T any](all []T, f filter, keep func(filter, *T) bool) []*T {
	out := make([]*T, 0, len(all))
	for i := range all {
		if keep(f, &all[i]) {
			out = append(out, &all[i])
		}
	}
	return out
}

func (m *Model) filterEvents() {
	f := m.newFilter(Events)
	m.shown.events = m.shown.events[:0]
	for seq := m.events.next; seq > m.events.first(); {
		seq--
		e := m.events.at(seq)
		if f.keep(EventSeverity(e), e.Service, e.Kind, e.To, e.Reason) {
			m.shown.events = append(m.shown.events, e)
		}
	}
	l := &m.lists[Events]
	l.cursor = clamp(l.cursor, 0, max(len(m.shown.events)-1, 0))
}

// EventSeverity is that of the state a service went to; a refused reload is bad.
func EventSeverity(e *stackapi.Event) Severity {
	switch {
	case e.Kind == "state":
		return serviceSeverity(e.To)
	case e.Kind == "reload" && (e.To == "refused" || e.To == "failed" || e.To == "error"):
		return Bad
	default:
		return OK
	}
}

// rowCount returns the number of visible rows of a pane; Logs has none, it is moved line by line.
func (m *Model) rowCount(p Pane) int {
	switch p {
	case Routes:
		return len(m.shown.routes)
	case Upstreams:
		return len(m.shown.targets)
	case Agents:
		return len(m.shown.agents)
	case Services:
		return len(m.shown.services)
	case Events:
		return len(m.shown.events)
	default:
		return 0
	}
}

func (m *Model) rowKey(p Pane, i int) string {
	switch p {
	case Routes:
		return m.shown.routes[i].key()
	case Upstreams:
		return m.shown.targets[i].key()
	case Agents:
		return m.shown.agents[i].key()
	case Services:
		return m.shown.services[i].key()
	default:
		return ""
	}
}

// RouteRows returns the visible routes.
func (m *Model) RouteRows() []*RouteRow { return m.shown.routes }

// TargetRows returns the visible targets.
func (m *Model) TargetRows() []*TargetRow { return m.shown.targets }

// AgentRows returns the visible agents.
func (m *Model) AgentRows() []*AgentRow { return m.shown.agents }

// ServiceRows returns the visible services.
func (m *Model) ServiceRows() []*ServiceRow { return m.shown.services }

// EventRows returns the visible events, newest first.
func (m *Model) EventRows() []*stackapi.Event { return m.shown.events }

// Total returns how many rows a pane has without its filter.
func (m *Model) Total(p Pane) int {
	switch p {
	case Routes:
		return len(m.routes)
	case Upstreams:
		return len(m.targets)
	case Agents:
		return len(m.agents)
	case Services:
		return len(m.services)
	case Logs:
		return m.logs.len()
	default:
		return m.events.len()
	}
}
