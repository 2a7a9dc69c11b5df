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
//	POST /v1/services/{name}/restart?trial_ms=&drain=   with a trial beside the old process; drain waits for its end
//	POST /v1/services/{name}/kill?signal=   KILL unless told otherwise
//	POST /v1/agents/{name}/scale?instances=   ReloadResult; without a number, as many as the file says
//	POST /v1/reload                 ReloadResult
//	POST /v1/upgrade                UpgradeRequest; Upgrade. 202: it begins, the outcome is in Status
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
	Upgrade    *Upgrade      `json:"upgrade,omitempty"` // the last one
	ProxyAdmin string        `json:"proxy_admin"`       // path of the proxy's admin socket
	Listeners  []Listener    `json:"listeners"`
	Services   []Service     `json:"services"`
	Scaled     []Scaled      `json:"scaled,omitempty"`
	Hooks      []Hook        `json:"hooks,omitempty"`
}

// Hook is who is told of events, with the counts since the stack was started or upgraded.
type Hook struct {
	Name      string `json:"name"` // hook:page, webhook:chat
	Done      uint64 `json:"done"`
	Failed    uint64 `json:"failed"`
	Dropped   uint64 `json:"dropped"`
	Retries   uint64 `json:"retries"`
	Waiting   int    `json:"waiting"`
	Running   bool   `json:"running"`
	LastError string `json:"last_error,omitempty"`
}

// Scaled is an agent that was given another number of instances than the file says.
type Scaled struct {
	Agent     string `json:"agent"`
	Instances int    `json:"instances"`
	Written   int    `json:"written"` // in the file
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
	Adopted          bool      `json:"adopted,omitempty"` // an earlier supervisor started the process
	Restarts         uint64    `json:"restarts"`
	LastExit         string    `json:"last_exit,omitempty"` // "exit 1", "signal KILL"
	NextStart        time.Time `json:"next_start,omitzero"` // in backoff and quarantine
	CPUPercent       float64   `json:"cpu_percent"`
	RSSBytes         int64     `json:"rss_bytes"`
	PIDs             int       `json:"pids"`
	LogDropped       uint64    `json:"log_dropped"`
	Kill             string    `json:"kill"`                     // how its tree is killed: cgroup or process-group
	RestartP50Micros int64     `json:"restart_p50_us,omitempty"` // exit to exec
	RestartP99Micros int64     `json:"restart_p99_us,omitempty"`
	ReadyP50Micros   int64     `json:"ready_p50_us,omitempty"` // exec to ready
	Limits           []Limit   `json:"limits,omitempty"`
	SandboxLacks     []string  `json:"sandbox_lacks,omitempty"` // layers of its sandbox that this host does not have, as "view: operation not permitted"
	OOMKills         uint64    `json:"oom_kills"`               // processes ended by the memory limit since the stack was started
	PIDsRefused      uint64    `json:"pids_refused"`            // forks refused by the pids limit
	ThrottledMillis  int64     `json:"throttled_ms"`            // time the cpu limit made it stand still
	LimitRestarts    uint64    `json:"limit_restarts"`          // restarts because a sampled limit was exceeded
	Strain           string    `json:"strain,omitempty"`        // the limit that slows it down now, for people
	Pressure         *Pressure `json:"pressure,omitempty"`      // absent where the kernel does not measure it
}

// Sandbox is what a running service may not do.
type Sandbox struct {
	Service string  `json:"service"`
	PID     int     `json:"pid,omitempty"` // 0 = it does not run, and there is nothing to tell
	Layers  []Layer `json:"layers"`
}

// Layer is one layer of a sandbox.
type Layer struct {
	Name   string `json:"name"`
	State  string `json:"state"` // enforced, off (not asked for) or missing (this host does not have it)
	Detail string `json:"detail,omitempty"`
	Why    string `json:"why,omitempty"` // why it is off or missing
}

// Limit is one resource limit of a service and what really enforces it.
type Limit struct {
	Name  string `json:"name"`          // memory, memory-high, cpu, pids, nofile, core, io-weight
	Text  string `json:"text"`          // the value, for people
	Value int64  `json:"value"`         // bytes, percent of one CPU, or a number
	Layer string `json:"layer"`         // rlimit, cgroup-v2, cgroup-v1, sampled (restarted when it exceeds; cpu: only shown) or none
	Why   string `json:"why,omitempty"` // why it is not enforced as asked
}

// Pressure is how much of the last ten seconds some process of a service waited for a resource, in percent.
type Pressure struct {
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	IO     float64 `json:"io"`
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
	Seq     uint64    `json:"seq"` // counts the events of one supervisor, upgrades included, from 1; an event of kind gap carries the number of the last one that is missing
	Time    time.Time `json:"time"`
	Service string    `json:"service,omitempty"`
	Kind    string    `json:"kind"` // state, exit, reload, plan, listener, limit, upgrade, adopt, hook, gap (a slow reader missed some)
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

// Upgrade is one replacement of the supervisor's program by another one.
type Upgrade struct {
	ID          uint64    `json:"id"` // counts attempts
	At          time.Time `json:"at"`
	OK          bool      `json:"ok"`
	Binary      string    `json:"binary"`
	From        string    `json:"from"` // version
	To          string    `json:"to,omitempty"`
	Error       string    `json:"error,omitempty"`
	PauseMillis int64     `json:"pause_ms"` // how long nobody supervised; the services ran on
}

// UpgradeRequest is the body of POST /v1/upgrade.
type UpgradeRequest struct {
	Binary string `json:"binary,omitempty"` // absolute path; "" = where the running program was started from
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
}
