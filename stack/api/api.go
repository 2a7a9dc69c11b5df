// Package api holds the wire types of the supervisor's control API and a client for it. It imports nothing of ours.
//
// The control API is HTTP/1.1 with JSON on the Unix socket <runtime-dir>/control.sock, versioned by path. Reading needs the
// owner's or root's uid or the group sentinel, writing the owner's uid or root (SO_PEERCRED).
//
//	GET  /v1/status                 Status
//	GET  /v1/services               []Service
//	GET  /v1/logs?service=&n=&follow=&since=&grep=&request=   JSON lines of LogLine
//	GET  /v1/events?follow=         JSON lines of Event
//	GET  /v1/diff                   Plan of what a reload would do
//	POST /v1/services/{name}/restart|start|stop
//	POST /v1/reload                 ReloadResult
//	POST /v1/shutdown
//	GET  /metrics                   Prometheus text: the stack's own, and proxy and agents with a service label
package api

import "time"

// Status is the whole stack at one glance.
type Status struct {
	Version    string        `json:"version"`
	PID        int           `json:"pid"`
	Started    time.Time     `json:"started"`
	ConfigFile string        `json:"config_file"` // "" = the embedded starter
	RuntimeDir string        `json:"runtime_dir"`
	Generation uint64        `json:"generation"`
	LastReload *ReloadResult `json:"last_reload,omitempty"`
	ProxyAdmin string        `json:"proxy_admin"` // path of the proxy's admin socket
	Listeners  []Listener    `json:"listeners"`
	Services   []Service     `json:"services"`
}

// Listener is one socket the stack holds.
type Listener struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Kind    string `json:"kind"` // proxy, agent
}

// Service is one supervised process.
type Service struct {
	Name             string    `json:"name"`
	Kind             string    `json:"kind"`             // proxy, agent, service
	State            string    `json:"state"`            // stopped starting ready degraded stopping backoff quarantined failed
	Reason           string    `json:"reason,omitempty"` // why it is in this state, for people
	PID              int       `json:"pid,omitempty"`
	Since            time.Time `json:"since"` // of the state
	Started          time.Time `json:"started,omitzero"`
	Restarts         uint64    `json:"restarts"`
	LastExit         string    `json:"last_exit,omitempty"` // "exit 1", "signal KILL"
	NextStart        time.Time `json:"next_start,omitzero"` // in backoff and quarantine
	CPUPercent       float64   `json:"cpu_percent"`
	RSSBytes         int64     `json:"rss_bytes"`
	PIDs             int       `json:"pids"`
	LogDropped       uint64    `json:"log_dropped"`
	Kill             string    `json:"kill"`                     // how its tree is killed: cgroup or process-group
	RestartP50Micros int64     `json:"restart_p50_us,omitempty"` // exit to exec
	ReadyP50Micros   int64     `json:"ready_p50_us,omitempty"`   // exec to ready
}

// LogLine is one line a service wrote, or a note of the stack itself (Service "stack").
type LogLine struct {
	Time    time.Time `json:"time"`
	Service string    `json:"service"`
	Stream  string    `json:"stream"` // stdout, stderr
	Level   string    `json:"level"`
	Text    string    `json:"text"`
	Dropped uint64    `json:"dropped,omitempty"` // lines lost just before this one
}

// Event is one state change or reload.
type Event struct {
	Time    time.Time `json:"time"`
	Service string    `json:"service,omitempty"`
	Kind    string    `json:"kind"` // state, reload, plan, listener
	From    string    `json:"from,omitempty"`
	To      string    `json:"to,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// Plan is what a reload would do.
type Plan struct {
	Changes []Change `json:"changes"`
}

// Change is one line of a plan. Op is "+" add, "~" change, "-" remove.
type Change struct {
	Op     string `json:"op"`
	Kind   string `json:"kind"` // listener, route, upstream, filter, agent, proxy, service, stack, ...
	Name   string `json:"name"`
	Action string `json:"action"` // reload, restart, start, stop, replace, configure
	Detail string `json:"detail,omitempty"`
}

// ReloadResult is the outcome of one reload.
type ReloadResult struct {
	At         time.Time `json:"at"`
	OK         bool      `json:"ok"`
	Changed    bool      `json:"changed"`
	Generation uint64    `json:"generation"`
	Error      string    `json:"error,omitempty"` // with file:line:col where the file is at fault
	Plan       Plan      `json:"plan"`
	TookMillis int64     `json:"took_ms"`
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
}
