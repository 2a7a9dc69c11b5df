package view

import (
	"fmt"
	"time"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/tui/model"
)

// start is the fixed time of every fixture.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var bounds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// reading is the fixture stack n seconds after start: one route with errors, one ejected target, one open circuit, one service in
// backoff, and one route nobody asks for.
func reading(n int) model.Snapshot {
	at := start.Add(time.Duration(n) * time.Second)
	k := uint64(n)
	counts := func(fast, slow uint64) []uint64 {
		c := make([]uint64, len(bounds)+1)
		c[1], c[6] = fast*k, slow*k
		return c
	}
	return model.Snapshot{
		At: at,
		Stack: &stackapi.Status{
			Version: "1.2.3", PID: 100, Started: start.Add(-74 * time.Hour), Generation: 7, ProxyAdmin: "/run/sentinel/admin.sock",
			Services: []stackapi.Service{
				{Name: "waf", Kind: "agent", State: "backoff", Reason: "exit 1: rules file not found", Since: start, Restarts: 7,
					LastExit: "exit 1", NextStart: at.Add(3 * time.Second), Kill: "cgroup"},
				{Name: "proxy", Kind: "proxy", State: "ready", PID: 812, Since: start.Add(-73 * time.Hour), Started: start.Add(-73 * time.Hour),
					CPUPercent: 22.4, RSSBytes: 18 << 20, PIDs: 1, Kill: "cgroup", RestartP50Micros: 2100, ReadyP50Micros: 18400},
				{Name: "denylist", Kind: "agent", State: "ready", PID: 815, Since: start.Add(-2 * time.Hour), CPUPercent: 3.1, RSSBytes: 96 << 20, PIDs: 1},
				{Name: "exporter", Kind: "service", State: "stopped", Since: start.Add(-time.Minute)},
			},
		},
		Proxy: &proxyapi.Status{Version: "1.2.3", PID: 812, InstanceID: "a", Started: start.Add(-73 * time.Hour), Generation: 7,
			Connections: 212, InFlight: 9, Requests: 1200 * k, Errors5xx: 12 * k},
		Routes: []proxyapi.Route{
			{ID: "api", Priority: 100, Match: "path-prefix /api", Target: "backend", Filters: []string{"denylist", "waf"}, Requests: 1000 * k,
				Status: [6]uint64{0, 0, 900 * k, 0, 92 * k, 8 * k}, Blocked: 92 * k, Retries: k, InFlight: 8, Bounds: bounds, Counts: counts(980, 20)},
			{ID: "checkout", Priority: 50, Match: "host shop.example & path /checkout", Target: "payments", Requests: 40 * k,
				Status: [6]uint64{0, 0, 36 * k, 0, 0, 4 * k}, Bounds: bounds, Counts: counts(30, 10)},
			{ID: "status", Priority: 50, Match: "path /status", Target: "builtin:status", Requests: 3, Status: [6]uint64{2: 3}, Bounds: bounds,
				Counts: append(make([]uint64, len(bounds)), 0)},
		},
		Upstreams: []proxyapi.Upstream{
			{ID: "backend", LoadBalancing: "round-robin", Targets: []proxyapi.Target{
				{Address: "127.0.0.1:9001", Weight: 1, Status: "healthy", Active: 8, Idle: 24, Requests: 1000 * k, LastCheck: at},
				{Address: "127.0.0.1:9002", Weight: 1, Status: "unhealthy", LastError: "connect: connection refused", Requests: 90, Failures: 30, FailureRate: 1, LastCheck: at},
			}},
			{ID: "payments", LoadBalancing: "least-connections", Targets: []proxyapi.Target{{Address: "pay.internal:8443", Weight: 3, Status: "unknown", Circuit: "half-open", CircuitOpens: 2, Zone: "a", Requests: 40 * k}}},
		},
		Agents: []proxyapi.Agent{
			{Name: "denylist", Type: "denylist", Address: "/run/sentinel/agents/denylist.sock", Connected: true, Circuit: "closed", Health: "healthy",
				Version: "1.2.3", Encoding: "msgpack", Calls: 1000 * k, Blocks: 92 * k, P50Micros: 48, P99Micros: 310},
			{Name: "waf", Type: "waf", Address: "/run/sentinel/agents/waf.sock", Circuit: "open", Health: "unknown", Calls: 400, Errors: 31,
				Timeouts: 2, Opens: 1, LastError: "connect: connection refused"},
		},
	}
}

// filled is the fixture after five readings, with logs and events.
func filled() *model.Model {
	m := model.New(model.Options{Refresh: time.Second}, start)
	for n := 1; n <= 5; n++ {
		m.Update(reading(n))
	}
	var lines model.LogLines
	for i := range 40 {
		l := stackapi.LogLine{Time: start.Add(time.Duration(i) * 100 * time.Millisecond), Service: "proxy", Stream: "stderr", Level: "info",
			Text: fmt.Sprintf(`{"timestamp":"2026-03-01T12:00:00Z","request_id":"R%04d","method":"GET","path":"/api","status":200,"route_id":"api"}`, i)}
		switch i % 8 {
		case 3:
			l.Service, l.Level, l.Text = "waf", "error", "cannot open rules file: \x1b[31mno such file\x1b[0m"
		case 5:
			l.Service, l.Level, l.Text, l.Dropped = "denylist", "warn", "blocked 203.0.113.9 résumé\tpath=/admin", 12
		}
		lines = append(lines, l)
	}
	m.Update(lines)
	m.Update(model.EventList{
		{Time: start.Add(-2 * time.Second), Service: "waf", Kind: "state", From: "starting", To: "ready"},
		{Time: start.Add(-time.Second), Service: "waf", Kind: "state", From: "ready", To: "backoff", Reason: "exit 1"},
		{Time: start, Kind: "reload", To: "applied", Reason: "generation 7"},
	})
	return m
}

// pooled is a stack with one more agent, of three instances: one is well, one tries again, one is gone.
func pooled() *model.Model {
	m := model.New(model.Options{Refresh: time.Second}, start)
	s := reading(1)
	for _, name := range []string{"scanner/1", "scanner/2", "scanner/3"} {
		s.Stack.Services = append(s.Stack.Services, stackapi.Service{Name: name, Kind: "agent", State: "ready", PID: 4300, Since: start})
	}
	s.Agents = append(s.Agents, proxyapi.Agent{Name: "scanner", Type: "scanner", Address: "/run/s1.sock, /run/s2.sock, /run/s3.sock", Connected: true, Circuit: "closed", Health: "degraded", Calls: 30,
		P50Micros: 90, P99Micros: 700, Instances: []proxyapi.AgentInstance{
			{Instance: "1", Agent: proxyapi.Agent{Connected: true, Circuit: "closed", Health: "healthy", Calls: 20, InFlight: 1, P99Micros: 600}},
			{Instance: "2", Agent: proxyapi.Agent{Connected: true, Circuit: "half-open", Health: "healthy", Calls: 10, P99Micros: 700}},
			{Instance: "3", Agent: proxyapi.Agent{Circuit: "open", Health: "unknown", LastError: "connect: no such file"}}}})
	m.Update(s)
	return m
}

// disconnected is the fixture twelve seconds after the stack went away.
func disconnected() *model.Model {
	m := filled()
	at := start.Add(17 * time.Second)
	m.Update(model.Snapshot{At: at, Err: "no supervisor is running at /run/sentinel/control.sock: connect: no such file or directory", RetryAt: at.Add(4 * time.Second)})
	return m
}

// crowd has n services, routes, agents and targets, all of them with long names.
func crowd(n int) *model.Model {
	m := model.New(model.Options{Refresh: time.Second}, start)
	for k := 1; k <= 3; k++ {
		s := reading(k)
		s.Stack.Services, s.Routes, s.Agents, s.Upstreams = nil, nil, nil, nil
		for i := range n {
			name := fmt.Sprintf("service-with-a-long-name-%03d", i)
			s.Stack.Services = append(s.Stack.Services, stackapi.Service{Name: name, Kind: "agent", State: "ready", PID: 1000 + i, Since: start, RSSBytes: 9 << 20, CPUPercent: 1})
			r := reading(k).Routes[0]
			r.ID = name
			s.Routes = append(s.Routes, r)
			a := reading(k).Agents[0]
			a.Name = name
			s.Agents = append(s.Agents, a)
			u := reading(k).Upstreams[0]
			u.ID = name
			s.Upstreams = append(s.Upstreams, u)
		}
		m.Update(s)
	}
	lines := make(model.LogLines, 10_000)
	for i := range lines {
		lines[i] = stackapi.LogLine{Time: start, Service: "proxy", Level: "info", Text: fmt.Sprintf("line %d of a long log that scrolls on and on", i)}
	}
	m.Update(lines)
	return m
}

func press(m *model.Model, keys ...string) {
	for _, k := range keys {
		m.Update(model.Key(k))
	}
}
