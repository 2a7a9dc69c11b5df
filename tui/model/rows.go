package model

import (
	"math"
	"sort"
	"strings"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
)

// Severity orders states from fine to faulty.
type Severity int

// Idle is neither good nor bad: stopped on purpose, or never checked.
const (
	OK Severity = iota
	Idle
	Warn
	Bad
)

// slowErrors is the share of 5xx answers from which a route counts as faulty; below it, any 5xx is a warning.
const slowErrors = 0.05

// RouteRow is one route with its rates over the last interval and its latency over the last seconds. NaN means not known.
type RouteRow struct {
	proxyapi.Route
	Rate     float64 // exchanges a second
	ErrShare float64 // of 5xx and unanswered, 0..1
	P50, P99 Quantile
	Spark    []float64 // past rates, oldest first
	Severity Severity
}

// TargetRow is one target of an upstream.
type TargetRow struct {
	Upstream      string
	LoadBalancing string
	Panic         bool // so few targets of the upstream are healthy that health does not count
	proxyapi.Target
	Rate     float64
	Severity Severity
}

// AgentRow is one agent as the proxy sees it.
type AgentRow struct {
	proxyapi.Agent
	Rate     float64
	Service  string // the supervised service behind it, "" when someone else runs it or there are several
	Severity Severity

	Processes int // supervised services behind it when it has several instances, each called like waf/1; what is done to them is done in their own pane
}

// ServiceRow is one supervised process.
type ServiceRow struct {
	stackapi.Service
	Severity Severity
}

func (m *Model) buildRows() {
	now, before := m.readings.last(), m.readings.previous()
	if now == nil {
		return
	}
	secs := 0.0
	if before != nil {
		secs = now.At.Sub(before.At).Seconds()
	}
	m.services = serviceRows(now)
	if now.Proxy == nil {
		// The last known figures stay: the service table says what the proxy is doing.
		return
	}
	m.routes = routeRows(now, before, m.readings.window[0], secs)
	m.readings.remember(m.routes)
	m.targets = targetRows(now, before, secs)
	m.agents = agentRows(now, before, secs, m.services)
}

func routeRows(now, before, oldest *Snapshot, secs float64) []RouteRow {
	prev, base := routesByID(before), routesByID(oldest)
	rows := make([]RouteRow, 0, len(now.Routes))
	for i := range now.Routes {
		r := &now.Routes[i]
		row := RouteRow{Route: *r, Rate: math.NaN(), ErrShare: math.NaN()}
		var from *proxyapi.Route
		if oldest != now {
			from = base[r.ID]
		}
		h := since(from, r)
		row.P50, row.P99 = h.Quantile(0.50), h.Quantile(0.99)
		if before != nil {
			was := prev[r.ID]
			if was == nil {
				was = &proxyapi.Route{}
			}
			done := grown(was.Requests, r.Requests)
			row.Rate = perSecond(was.Requests, r.Requests, secs)
			row.ErrShare = share(grown(was.Status[5], r.Status[5])+grown(was.Status[0], r.Status[0]), done)
		}
		row.Severity = errorSeverity(row.ErrShare)
		rows = append(rows, row)
	}
	return rows
}

func errorSeverity(errShare float64) Severity {
	switch {
	case math.IsNaN(errShare) || errShare == 0:
		return OK
	case errShare < slowErrors:
		return Warn
	default:
		return Bad
	}
}

func routesByID(s *Snapshot) map[string]*proxyapi.Route {
	if s == nil {
		return nil
	}
	out := make(map[string]*proxyapi.Route, len(s.Routes))
	for i := range s.Routes {
		out[s.Routes[i].ID] = &s.Routes[i]
	}
	return out
}

func targetRows(now, before *Snapshot, secs float64) []TargetRow {
	past := map[string]uint64{}
	if before != nil {
		for _, u := range before.Upstreams {
			for _, t := range u.Targets {
				past[u.ID+"\x00"+t.Address] = t.Requests
			}
		}
	}
	var rows []TargetRow
	for _, u := range now.Upstreams {
		if len(u.Targets) == 0 { // nothing has been discovered yet: its requests are refused
			rows = append(rows, TargetRow{Upstream: u.ID, LoadBalancing: u.LoadBalancing, Target: proxyapi.Target{Address: "-", Status: "no targets"}, Rate: math.NaN(), Severity: Bad})
		}
		for _, t := range u.Targets {
			row := TargetRow{Upstream: u.ID, LoadBalancing: u.LoadBalancing, Panic: u.Panic, Target: t, Rate: math.NaN()}
			if before != nil {
				row.Rate = perSecond(past[u.ID+"\x00"+t.Address], t.Requests, secs)
			}
			row.Severity = targetSeverity(TargetWord(&t))
			rows = append(rows, row)
		}
	}
	return rows
}

func targetSeverity(status string) Severity {
	switch status {
	case "healthy":
		return OK
	case "unknown", "":
		return Idle
	case "circuit half-open":
		return Warn
	default:
		return Bad
	}
}

func agentRows(now, before *Snapshot, secs float64, services []ServiceRow) []AgentRow {
	past := map[string]uint64{}
	if before != nil {
		for _, a := range before.Agents {
			past[a.Name] = a.Calls
		}
	}
	supervised, instances := map[string]bool{}, map[string]int{}
	for i := range services {
		supervised[services[i].Name] = services[i].Kind == "agent"
		if agent, _, ok := strings.Cut(services[i].Name, "/"); ok {
			instances[agent]++
		}
	}
	rows := make([]AgentRow, 0, len(now.Agents))
	for _, a := range now.Agents {
		row := AgentRow{Agent: a, Rate: math.NaN(), Severity: agentSeverity(&a), Processes: instances[a.Name]}
		if before != nil {
			row.Rate = perSecond(past[a.Name], a.Calls, secs)
		}
		if supervised[a.Name] {
			row.Service = a.Name
		}
		rows = append(rows, row)
	}
	return rows
}

func agentSeverity(a *proxyapi.Agent) Severity {
	switch {
	case a.Circuit == "open", a.Health == "unhealthy":
		return Bad
	case a.Circuit == "half-open", a.Health == "degraded", a.Health == "draining":
		return Warn
	case !a.Connected && a.Calls > 0:
		return Bad
	case !a.Connected:
		return Idle // nothing has asked for it yet
	default:
		return OK
	}
}

func serviceRows(now *Snapshot) []ServiceRow {
	if now.Stack == nil {
		return nil
	}
	rows := make([]ServiceRow, 0, len(now.Stack.Services))
	for _, s := range now.Stack.Services {
		rows = append(rows, ServiceRow{Service: s, Severity: serviceSeverity(s.State)})
	}
	sort.SliceStable(rows, func(i, j int) bool {
		if a, b := kindOrder(rows[i].Kind), kindOrder(rows[j].Kind); a != b {
			return a < b
		}
		return rows[i].Name < rows[j].Name
	})
	return rows
}

func kindOrder(kind string) int {
	switch kind {
	case "proxy":
		return 0
	case "agent":
		return 1
	default:
		return 2
	}
}

func serviceSeverity(state string) Severity {
	switch state {
	case "ready":
		return OK
	case "stopped":
		return Idle
	case "starting", "stopping", "degraded":
		return Warn
	default: // backoff, quarantined, failed, and whatever a newer stack may say
		return Bad
	}
}

func levelSeverity(level string) Severity {
	switch strings.ToLower(level) {
	case "error", "fatal", "panic", "crit", "critical":
		return Bad
	case "warn", "warning":
		return Warn
	case "debug", "trace":
		return Idle
	default:
		return OK
	}
}
