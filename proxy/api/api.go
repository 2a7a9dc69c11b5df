// Package api holds the wire types of the proxy's admin API and a client for it. It imports nothing of ours.
//
// The admin API is HTTP/1.1 with JSON on a Unix socket, versioned by path:
//
//	GET  /v1/status        Status
//	GET  /v1/routes        []Route
//	GET  /v1/upstreams     []Upstream
//	GET  /v1/certificates  []Certificate
//	GET  /v1/agents        []Agent
//	GET  /v1/config        the effective configuration
//	POST /v1/reload        Reload (200 applied, 409 refused: the running generation stays)
//	POST /v1/reopen        reopen log files
//	POST /v1/drain         stop accepting, finish what runs, exit
//	GET  /metrics          Prometheus text
package api

import "time"

// Status is the proxy at one glance. Counters are totals since the process started.
type Status struct {
	Version     string     `json:"version"`
	PID         int        `json:"pid"`
	InstanceID  string     `json:"instance_id"`
	Started     time.Time  `json:"started"`
	Generation  uint64     `json:"generation"` // number of the running configuration, from 1
	ConfigHash  string     `json:"config_hash"`
	LoadedAt    time.Time  `json:"loaded_at"`
	Draining    bool       `json:"draining"`
	LastReload  *Reload    `json:"last_reload,omitempty"`
	Connections int64      `json:"connections"` // open now
	InFlight    int64      `json:"in_flight"`   // exchanges now
	Requests    uint64     `json:"requests"`
	Errors5xx   uint64     `json:"errors_5xx"`
	Listeners   []Listener `json:"listeners"`
}

// Listener is one bound address.
type Listener struct {
	ID          string `json:"id"`
	Address     string `json:"address"`
	Protocol    string `json:"protocol"`
	Connections int64  `json:"connections"`
}

// Certificate is one certificate of a listener, or one that it is to get.
type Certificate struct {
	Listener  string    `json:"listener"`
	Name      string    `json:"name"`            // the first one it is for
	Names     []string  `json:"names,omitempty"` // that clients ask for to get it
	Key       string    `json:"key,omitempty"`   // kind of its key: ecdsa, ed25519, rsa; empty = there is none yet
	Expires   time.Time `json:"expires,omitzero"`
	Source    string    `json:"source"`             // file or acme
	Failures  int       `json:"failures,omitempty"` // attempts to get a new one, in a row
	LastError string    `json:"last_error,omitempty"`
}

// Route carries one route's totals. Latency is a histogram: Counts[i] exchanges took at most Bounds[i] seconds, not cumulative; the last count has no bound.
type Route struct {
	ID       string    `json:"id"`
	Priority int       `json:"priority"`
	Match    string    `json:"match"`              // one line, for people
	Target   string    `json:"target"`             // upstream id or "builtin:status"
	Fallback string    `json:"fallback,omitempty"` // upstream that stands in
	Filters  []string  `json:"filters,omitempty"`
	Requests uint64    `json:"requests"`
	Status   [6]uint64 `json:"status"` // [n] = nxx; [0] = closed without an answer
	Blocked  uint64    `json:"blocked"`
	Retries  uint64    `json:"retries"`
	InFlight int64     `json:"in_flight"`
	Bounds   []float64 `json:"bounds"`
	Counts   []uint64  `json:"counts"`
	SumSecs  float64   `json:"sum_secs"`
}

// Upstream is one pool with its targets.
type Upstream struct {
	ID            string   `json:"id"`
	LoadBalancing string   `json:"load_balancing"`
	Panic         bool     `json:"panic,omitempty"` // too few targets are healthy: health does not count
	Targets       []Target `json:"targets"`
}

// Target is one server of an upstream.
type Target struct {
	Address      string    `json:"address"`
	Weight       int       `json:"weight"`
	Zone         string    `json:"zone,omitempty"`
	Status       string    `json:"status"` // healthy, unhealthy, ejected (an outlier), unknown (not checked)
	EjectedUntil time.Time `json:"ejected_until,omitzero"`
	Ejections    uint64    `json:"ejections"`         // by checks and as an outlier
	Circuit      string    `json:"circuit,omitempty"` // closed, half-open, open; empty when none is configured
	CircuitOpens uint64    `json:"circuit_opens,omitempty"`
	LastError    string    `json:"last_error,omitempty"`
	LastCheck    time.Time `json:"last_check,omitzero"`
	Active       int64     `json:"active"`  // exchanges now
	Idle         int64     `json:"idle"`    // pooled connections now
	Waiting      int64     `json:"waiting"` // exchanges that wait for a connection
	Requests     uint64    `json:"requests"`
	Failures     uint64    `json:"failures"`
	FailureRate  float64   `json:"failure_rate"`
}

// Agent is the proxy's view of one agent.
type Agent struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Address   string `json:"address"`
	Connected bool   `json:"connected"`
	Circuit   string `json:"circuit"` // closed, open, half-open
	Health    string `json:"health"`  // healthy, degraded, draining, unhealthy, unknown
	Version   string `json:"version,omitempty"`
	Encoding  string `json:"encoding,omitempty"`
	InFlight  int64  `json:"in_flight"`
	Queued    int64  `json:"queued"`
	Calls     uint64 `json:"calls"`
	Errors    uint64 `json:"errors"`
	Timeouts  uint64 `json:"timeouts"`
	Blocks    uint64 `json:"blocks"`
	Opens     uint64 `json:"circuit_opens"`
	P50Micros int64  `json:"p50_us"`
	P99Micros int64  `json:"p99_us"`
	LastError string `json:"last_error,omitempty"`

	Instances []AgentInstance `json:"instances,omitempty"` // when there are several; the agent's own row speaks for all of them
}

// AgentInstance is one of the processes that an agent consists of.
type AgentInstance struct {
	Instance string `json:"instance"` // "1", "2", … in the order of the configuration
	Agent
}

// Reload is the outcome of one reload.
type Reload struct {
	At          time.Time    `json:"at"`
	OK          bool         `json:"ok"`
	Generation  uint64       `json:"generation"` // running after it
	Error       string       `json:"error,omitempty"`
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
}

// Diagnostic is one finding in a configuration file.
type Diagnostic struct {
	File     string `json:"file"`
	Line     int    `json:"line"`     // 1-based
	Col      int    `json:"col"`      // 1-based, in characters
	Severity string `json:"severity"` // error or warning
	Code     string `json:"code"`
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
	Source   string `json:"source,omitempty"` // the offending line
}
