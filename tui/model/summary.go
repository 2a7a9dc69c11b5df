package model

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Summary is the header: is it healthy, and how busy is it. NaN means not known.
type Summary struct {
	State                string // connecting, ready, degraded, faulty, draining, unreachable
	Severity             Severity
	Version              string
	Generation           uint64
	Uptime               time.Duration
	ConfigFile           string
	Rate                 float64 // exchanges a second
	ErrShare             float64 // of 5xx, 0..1
	P99                  Quantile
	Connections          int64
	InFlight             int64
	Circuits             int // agents whose circuit is not closed
	Ready, Services      int
	TargetsUp, Targets   int
	CPUPercent           float64
	RSSBytes             int64
	LastReload           string // error of the last reload, "" when it was accepted
	StackMissing, Silent bool   // no stack behind this proxy; the proxy does not answer
}

// Fault is one thing that is wrong, and the pane and row where to look.
type Fault struct {
	Severity Severity
	Pane     Pane
	Key      string
	Text     string
}

// Summary returns the header.
func (m *Model) Summary() Summary { return m.summary }

// Faults returns what is wrong, worst first.
func (m *Model) Faults() []Fault { return m.faults }

func (m *Model) summarise() {
	s := Summary{State: "connecting", Severity: Idle, Rate: math.NaN(), ErrShare: math.NaN(), P99: Quantile{Secs: math.NaN()}}
	now, before := m.readings.last(), m.readings.previous()
	if now == nil {
		if m.contact.err != "" {
			s.State, s.Severity = "unreachable", Bad
		}
		m.summary, m.faults = s, nil
		return
	}
	m.sumStack(&s, now)
	m.sumProxy(&s, now, before)
	for i := range m.agents {
		if c := m.agents[i].Circuit; c == "open" || c == "half-open" {
			s.Circuits++
		}
	}
	for i := range m.targets {
		s.Targets++
		if m.targets[i].Severity != Bad {
			s.TargetsUp++
		}
		if c := m.targets[i].Circuit; c == "open" || c == "half-open" {
			s.Circuits++
		}
	}
	m.faults = m.findFaults(s.LastReload)
	s.State, s.Severity = m.state(now)
	m.summary = s
}

func (m *Model) sumStack(s *Summary, now *Snapshot) {
	if now.Stack == nil {
		s.StackMissing = true
		return
	}
	s.Version, s.Generation, s.ConfigFile = now.Stack.Version, now.Stack.Generation, now.Stack.ConfigFile
	s.Uptime = uptime(now.At, now.Stack.Started)
	if r := now.Stack.LastReload; r != nil && !r.OK {
		s.LastReload = r.Error
	}
	for i := range m.services {
		s.Services++
		if m.services[i].State == "ready" {
			s.Ready++
		}
		s.CPUPercent += m.services[i].CPUPercent
		s.RSSBytes += m.services[i].RSSBytes
	}
}

func (m *Model) sumProxy(s *Summary, now, before *Snapshot) {
	if now.Proxy == nil {
		s.Silent = true
		return
	}
	if now.Stack == nil {
		s.Version, s.Uptime = now.Proxy.Version, uptime(now.At, now.Proxy.Started)
		if r := now.Proxy.LastReload; r != nil && !r.OK {
			s.LastReload = r.Error
		}
	}
	s.Generation = max(s.Generation, now.Proxy.Generation)
	s.Connections, s.InFlight = now.Proxy.Connections, now.Proxy.InFlight
	if before != nil && before.Proxy != nil {
		secs := now.At.Sub(before.At).Seconds()
		s.Rate = perSecond(before.Proxy.Requests, now.Proxy.Requests, secs)
		s.ErrShare = share(grown(before.Proxy.Errors5xx, now.Proxy.Errors5xx), grown(before.Proxy.Requests, now.Proxy.Requests))
	}
	var all Histogram
	oldest := m.readings.window[0]
	base := routesByID(oldest)
	for i := range now.Routes {
		from := base[now.Routes[i].ID]
		if oldest == now {
			from = nil
		}
		all.add(since(from, &now.Routes[i]))
	}
	s.P99 = all.Quantile(0.99)
}

func uptime(now, started time.Time) time.Duration {
	if started.IsZero() {
		return 0
	}
	return max(now.Sub(started), 0)
}

func (m *Model) state(now *Snapshot) (string, Severity) {
	worst := OK
	for i := range m.faults {
		worst = max(worst, m.faults[i].Severity)
	}
	switch {
	case m.contact.err != "":
		return "unreachable", Bad
	case worst == Bad:
		return "faulty", Bad
	case now.Proxy != nil && now.Proxy.Draining:
		return "draining", Warn
	case worst == Warn:
		return "degraded", Warn
	default:
		return "ready", OK
	}
}

// findFaults lists everything that is not as it should be: bad before warnings, services first, since they are usually the cause.
func (m *Model) findFaults(lastReload string) []Fault {
	var bad, warn []Fault
	put := func(f Fault) {
		switch f.Severity {
		case Bad:
			bad = append(bad, f)
		case Warn:
			warn = append(warn, f)
		}
	}
	for i := range m.services {
		s := &m.services[i]
		text := s.Name + " " + s.State
		if s.Reason != "" {
			text += ": " + s.Reason
		}
		put(Fault{s.Severity, Services, s.Name, text})
	}
	if m.contact.proxyErr != "" && m.contact.err == "" {
		put(Fault{Bad, Services, "proxy", "proxy silent: " + m.contact.proxyErr})
	}
	for i := range m.agents {
		a := &m.agents[i]
		put(Fault{a.Severity, Agents, a.Name, "agent " + a.Name + " " + AgentWord(&a.Agent)})
	}
	alive := map[string]bool{}
	for i := range m.targets {
		alive[m.targets[i].Upstream] = alive[m.targets[i].Upstream] || m.targets[i].Severity != Bad
	}
	panicking := ""
	for i := range m.targets {
		t := &m.targets[i]
		if t.Panic && t.Upstream != panicking {
			panicking = t.Upstream
			put(Fault{Bad, Upstreams, t.key(), "upstream " + t.Upstream + " panics: too few targets are healthy, all get requests"})
		}
		severity := t.Severity
		if alive[t.Upstream] {
			severity = min(severity, Warn) // the others serve
		}
		put(Fault{severity, Upstreams, t.key(), "target " + t.Upstream + "/" + t.Address + " " + TargetWord(&t.Target)})
	}
	for i := range m.routes {
		r := &m.routes[i]
		put(Fault{r.Severity, Routes, r.ID, fmt.Sprintf("route %s %.1f%% errors", r.ID, 100*r.ErrShare)})
	}
	if lastReload != "" {
		first, more, _ := strings.Cut(lastReload, "\n") // of a report of many lines the first says where to look
		if more != "" {
			first += " …"
		}
		put(Fault{Warn, Events, "", "reload refused: " + first})
	}
	return append(bad, warn...)
}
