// Package config turns a KDL document into a Config: strict, defaulted, validated, plain comparable data.
//
// Everything in this file is a value: two configurations are equal exactly when
// reflect.DeepEqual says so. The builder relies on it to decide what may be carried over from one generation to the next. Positions, origins and
// warnings therefore live beside the Config (see Loaded), never inside it.
package config

import (
	"net/netip"
	"strings"
	"time"
)

// Config is one whole configuration, every default filled in.
type Config struct {
	SchemaVersion string
	System        System
	Listeners     []Listener // in file order, unique ids and addresses
	Routes        []Route    // in file order; the router orders them by priority and specificity
	Upstreams     []Upstream
	Filters       []Filter
	Agents        []Agent
	Limits        Limits
	Observability Observability
	Stack         Stack
}

// System holds the settings of the proxy process itself.
type System struct {
	WorkerThreads           int           // 0 = one per CPU; sets GOMAXPROCS
	GracefulShutdownTimeout time.Duration // drain deadline on SIGTERM/SIGQUIT; default 30s
	StreamDrainTimeout      time.Duration // how long calls of gRPC and event streams go on in a drain; default 20s
	TraceIDFormat           string        // "tinyflake" (11 base58 characters, default) or "uuid"
	TrustedProxies          []Source      // peers whose X-Forwarded-*, Forwarded, X-Request-Id and traceparent are believed; default none
	AutoReload              bool          // the proxy watches its own files when it runs without the stack
	AdminSocket             string        // path of the admin API socket; "" = <runtime-dir>/proxy.sock when a runtime dir is known, else none
}

// Listener is one address that accepts HTTP/1.1 and HTTP/2.
type Listener struct {
	ID                   string
	Address              Address
	Protocol             string         // "http" or "https" (h2, h3 are refused until they work)
	DefaultRoute         string         // route used when nothing matches; "" = 404
	RequestTimeout       time.Duration  // whole request head + body from the client; default 60s
	HeaderTimeout        time.Duration  // from first byte of a head to its end; default 10s
	KeepaliveTimeout     time.Duration  // idle between requests; default 75s
	KeepaliveMaxRequests int            // 0 = unlimited
	SendTimeout          time.Duration  // no progress writing to the client; default 60s
	MaxInFlight          int            // requests at work; 0 = any number
	MinBodyRate          int64          // bytes/s a client must keep up, after a grace of 5s, in sending a body or reading an answer; default 100; 0 = off
	HTTP2                HTTP2          // who may speak it, and how much of it
	HTTP3                HTTP3          // the same on the UDP port beside
	TLS                  *ListenerTLS   // exactly when Protocol is "https"
	ProxyProtocol        *ProxyProtocol // nil = connections are their peers' own
	Policies             Policies       // of every request that comes in here; what the route says itself counts more
}

// Route says which requests match and what answers them.
type Route struct {
	ID             string
	Priority       int // low 10, normal 50, high 100, critical 1000, or any number
	Match          Match
	Upstream       string   // exactly one of Upstream and BuiltinHandler is set
	BuiltinHandler string   // status, health, metrics, not-found, config, upstreams
	Filters        []string // ids of filters, in order; an agent's name is also a filter
	Policies       Policies
	Retry          Retry
	Hedging        *Hedging // nil = none
	Fallback       *Fallback
	MaxInFlight    int        // requests at work; 0 = any number
	WebSocket      *WebSocket // how WebSockets are taken; nil = they are answered 403
}

// Match lists matchers: values of one kind are alternatives, kinds are joined by AND.
// An empty Match matches everything.
type Match struct {
	Paths        []string // exact canonical paths
	PathPrefixes []string // whole segments: /api matches /api and /api/x, not /apix
	PathRegexes  []string // RE2, anchored as written
	Hosts        []string // lower case, no port; "*.x" matches one or more labels below x
	Methods      []string
	Headers      []NameValue
	QueryParams  []NameValue
	Cookies      []NameValue
	ClientIPs    []netip.Prefix
}

// NameValue is a name with an optional exact value; HasValue false means "is present".
type NameValue struct {
	Name     string
	Value    string
	HasValue bool
}

// Policies are the rules of a route or a listener. What is zero in a route's comes from the listener's, what is zero there from the global default.
type Policies struct {
	RequestHeaders  HeaderRules
	ResponseHeaders HeaderRules
	Timeout         time.Duration // whole exchange with the upstream: first byte sent to last byte received
	MaxBodySize     int64         // 0 = Limits.MaxBodySize
	FailureMode     FailureMode   // for filters that cannot decide; "" = closed
}

// HeaderRules are applied in this order: rename, set, add, remove.
type HeaderRules struct {
	Rename []NameValue // Name = old, Value = new
	Set    []NameValue
	Add    []NameValue
	Remove []string
}

// FailureMode says what happens when a filter cannot decide.
type FailureMode string

const (
	FailClosed FailureMode = "closed"
	FailOpen   FailureMode = "open"
)

// Retry is the retry policy of a route. Only requests that are idempotent or were never sent are retried.
type Retry struct {
	MaxAttempts    int           // attempts in all, the first included; default 3, 1 = no retry
	Timeout        time.Duration // of one attempt, until the head of the answer; 0 = the exchange's
	On             []string      // connect, reset, timeout; default connect and reset
	StatusCodes    []int         // answers that are tried again; default none
	GRPCCodes      []string      // the same for answers of gRPC, in lower case
	IdempotentOnly bool          // default true
	BackoffBase    time.Duration // before another round of attempts, at most; doubles; default 25ms, 0 = none; not while there are untried targets
	BackoffMax     time.Duration // default 250ms
	BudgetPercent  int           // of the upstream's live requests that may be retries; default 50
	BudgetMin      int           // retries at the same time that are always allowed; default 10
	ReplayBuffer   int64         // bytes of a streamed request body that are kept to send it again; default 64 KiB, 0 = none
}

// Hedging asks further targets while the answer of the first does not begin. What may be done twice, and how often, is the retry policy's to say.
type Hedging struct {
	Delay       time.Duration // without an answer, before the next target is asked
	MaxAttempts int           // targets at the same time, the first included; default 2
}

// Fallback is another upstream for when that of the route cannot answer.
type Fallback struct {
	Upstream     string // "" = no fallback
	OnHealth     bool   // no target may be used; default true
	OnConnection bool   // no connection, or it broke, after all attempts; default true
	OnStatus     []int  // answers that are not passed on; default none
}

// Upstream is a named pool of targets.
type Upstream struct {
	ID            string
	Targets       []Target
	Discovery     *Discovery // instead of Targets; nil = these are all
	LoadBalancing string     // round-robin, weighted, …: see package balance
	Balancing     Balancing
	HealthCheck   *HealthCheck
	Outliers      *Outliers
	Breaker       *Breaker // of each target
	Timeouts      UpstreamTimeouts
	Pool          ConnectionPool
	TLS           *UpstreamTLS // nil = plain
	HTTP          HTTPVersion

	SendProxyProtocol string // v1 or v2; "" = targets are not told whose connection it is
}

// Balancing holds the parameters of an upstream's algorithm; those of other algorithms are zero.
type Balancing struct {
	SlowStart      time.Duration // 0 = off
	PanicThreshold int           // percent of the targets; below it health does not count; 0 = never

	HashKey         string // consistent-hash, maglev: client-ip, path, header:NAME, cookie:NAME or query:NAME
	VirtualNodes    int    // consistent-hash: points on the ring per unit of weight; default 150
	LoadFactor      int    // consistent-hash: percent of the mean load; default 125, 0 = unbounded
	TableSize       int    // maglev: a prime; default 65537
	Decay           time.Duration
	Interval        time.Duration // adaptive; default 10s
	MaxErrorPercent int           // adaptive; default 5
	MaxLatency      time.Duration // adaptive; default 500ms
	BytesPerToken   int           // least-tokens-queued; default 4
	TokensHeader    string        // least-tokens-queued: says how many; "" = none
	Zone            string        // locality-aware
	MinLocal        int           // locality-aware: percent; default 70
	SubsetSize      int           // deterministic-subset; default 10
	ProxyNumber     int           // deterministic-subset
	Cookie          StickyCookie  // sticky
	Fallback        string        // sticky: the algorithm that places who has no cookie
}

// StickyCookie is the cookie by which a client keeps its target.
type StickyCookie struct {
	Name     string        // default SERVERID
	TTL      time.Duration // default 1h; 0 = until the browser ends
	Path     string        // default /
	Secure   bool          // default true
	SameSite string        // lax, strict, none
	KeyFile  string        // "" = a random key for the life of the process
}

// Target is one server of an upstream.
type Target struct {
	Address string // host:port, host may be a DNS name; or unix:/path
	Weight  int    // default 1; 0 = no new requests
	Zone    string // for locality-aware
}

// HealthCheck is an active check of every target.
type HealthCheck struct {
	Type               string      // http, tcp, tls or grpc
	Path               string      // http only
	Host               string      // http only; Host header, default the target's address
	ExpectedStatus     []int       // http only; default 200
	ExpectedBody       string      // http only; a text the first 64 KiB of the body must hold; "" = any
	Headers            []NameValue // http only; sent with each check
	Service            string      // grpc only; "" = the server
	Interval           time.Duration
	Jitter             int // percent of the interval by which each wait is longer or shorter; default 10
	Timeout            time.Duration
	HealthyThreshold   int
	UnhealthyThreshold int
}

// HTTPVersion says which versions of HTTP are spoken with the targets of an upstream. With TLS and both versions a target chooses (ALPN).
type HTTPVersion struct {
	Min          int           // 1 or 2; default 1
	Max          int           // 1 or 2; default 1
	MaxStreams   int           // of one connection with HTTP/2 at the same time; default 100
	StreamWindow int64         // bytes of an answer that may wait on one stream; default 256 KiB
	PingInterval time.Duration // silence after which the target is asked for a sign of life; default 30s, 0 = it is not
	PingTimeout  time.Duration // until the sign; default 10s
}

// Outliers says when live traffic takes a target out for a while.
type Outliers struct {
	ConsecutiveErrors int           // failures in a row; default 5, 0 = off
	Interval          time.Duration // between two looks at success rate and latency; default 10s
	MinRequests       int           // of a target in an interval, fewer are not judged; default 20
	SuccessRateGap    int           // percentage points below the median; default 30, 0 = off
	LatencyFactor     int           // times the median; default 0 = off
	LatencyFloor      time.Duration // faster is never an outlier; default 100ms
	EjectionTime      time.Duration // of the first ejection; every further one is as much longer; default 30s
	MaxEjectionTime   time.Duration // default 5m
	MaxEjected        int           // percent of the targets out at the same time; default 50
}

// UpstreamTimeouts bound each phase with a target.
type UpstreamTimeouts struct {
	Connect time.Duration // default 10s
	Request time.Duration // whole exchange; default 60s
	Read    time.Duration // no progress reading; default 30s
	Write   time.Duration // no progress writing; default 30s

	TunnelIdle time.Duration // nothing moves either way through an upgraded connection; default 1h
}

// ConnectionPool bounds the connections to each target.
type ConnectionPool struct {
	MaxConnections int           // per target, busy and idle; default 1024; a request waits at most Connect for one
	MaxIdle        int           // kept open per target; default 256, at most MaxConnections
	IdleTimeout    time.Duration // default 60s
	MaxLifetime    time.Duration // 0 = unlimited
	QueueLength    int           // requests that may wait for a connection of a target; 0 = max-connections, at least 16
	QueueTimeout   time.Duration // how long; 0 = the connect timeout
}

// Filter is a named in-process step. Exactly one of the pointers is set, as Type says.
type Filter struct {
	ID      string
	Type    string // "agent" or "headers"
	Phase   string // request, response, both; "" = request for headers, both for agent
	Agent   *AgentFilter
	Headers *HeadersFilter
}

// AgentFilter calls agents one after the other.
type AgentFilter struct {
	Agents      []string
	Timeout     time.Duration // 0 = the agent's own
	FailureMode FailureMode   // "" = the agent's, else the route's
	Decompress  *Decompress   // nil = the agent's
}

// Decompress says how bodies with a Content-Encoding are inspected.
type Decompress struct {
	Enabled  bool  // default true; without it agents are sent the bytes that were sent
	MaxRatio int   // default 100
	MaxSize  int64 // 0 = as many bytes as the agent is to see
}

// EventInPhase reports whether a filter of that phase tells its agents of an event. How an exchange ended interests both.
func EventInPhase(event, phase string) bool {
	switch phase {
	case "request":
		return !strings.HasPrefix(event, "response_")
	case "response":
		return !strings.HasPrefix(event, "request_") || event == "request_complete"
	}
	return true
}

// HeadersFilter edits headers.
type HeadersFilter struct {
	Rules HeaderRules
}

// Agent is a separate process that is asked for verdicts.
type Agent struct {
	Name               string
	Type               string        // chooses the program sentinel-<type> when Command is empty
	UnixSockets        []string      // one for each instance; none = <runtime-dir>/agents/<name>.sock
	Instances          int           // processes that the stack runs; default 1
	External           bool          // somebody else runs it
	Events             []string      // request_headers, request_body, response_headers, response_body, request_complete
	Timeout            time.Duration // per call; default 1s
	ChunkTimeout       time.Duration // per body chunk; default 5s
	FailureMode        FailureMode   // "" = route's
	MaxConcurrentCalls int           // default 100
	QueueLength        int           // calls that may wait for a slot; default 100
	QueueTimeout       time.Duration // how long; default 100ms
	MaxRequestBody     int64         // bytes of body sent for inspection; default 1 MiB; more follows failure-mode
	MaxResponseBody    int64
	Decompress         Decompress
	Breaker            Breaker
	ConfigJSON         string // the config { } block as JSON with sorted keys; "" = none

	// Process settings, used by the stack.
	Command []string
	Env     []NameValue
	EnvFile string
	PassEnv []string
	Secrets []Secret
	Restart Restart
	Ready   time.Duration // time to become ready; default 10s
	Stop    Stop
	Limits  ProcessLimits
	Sandbox *Sandbox // nil = what is usual for its kind
	User    string   // "" = the supervisor's
	Group   string
}

// Breaker opens after Failures consecutive failures, for OpenFor, then lets HalfOpen probes through and closes after Successes.
type Breaker struct {
	Failures  int           // default 5
	Successes int           // default 2
	OpenFor   time.Duration // default 30s
	HalfOpen  int           // default 1
}

// Limits are global hard bounds.
type Limits struct {
	MaxHeaderSize           int   // bytes of a whole head (request line + fields); default 16384
	MaxHeaderCount          int   // default 100
	MaxBodySize             int64 // default 10 MiB
	MaxInFlightPerClient    int   // default 0 = any number
	MaxConnectionsPerClient int   // default 100
	MaxTotalConnections     int   // default 10000
	MaxInFlightRequests     int   // default 10000
	MaxDecompressionMemory  int64 // bytes of decoders at work; default 256 MiB
}

// Observability holds metrics and logs.
type Observability struct {
	Metrics   Metrics
	Log       Log // the error log
	AccessLog AccessLog
	AuditLog  AuditLog
}

// Metrics is the optional separate metrics listener.
type Metrics struct {
	Enabled bool
	Address netip.AddrPort
	Path    string
}

// Log is the proxy's own log of what went wrong; to standard error when File is "".
type Log struct {
	Level      string // debug, info, warn, error, off
	Format     string // json (default) or text
	File       string
	BufferSize int // records that may wait; beyond it records are dropped and counted
}

// AccessLog writes one line per exchange.
type AccessLog struct {
	Enabled    bool
	File       string // "" or "-" = standard output
	Format     string // json or combined
	BufferSize int    // records that may wait; beyond it records are dropped and counted
}

// AuditLog writes one line per decision.
type AuditLog struct {
	Enabled           bool
	File              string
	BufferSize        int
	LogBlocked        bool
	LogAgentDecisions bool // also allow verdicts
}

// Stack holds what only the supervisor uses.
type Stack struct {
	RuntimeDir        string // "" = derived, see RuntimeDir
	OnSupervisorDeath string // "kill" (default) or "keep"
	ShutdownTimeout   time.Duration
	Watch             bool
	StrictLimits      bool // a limit that the host cannot enforce is an error
	Proxy             ProxyProcess
	Defaults          ProcessDefaults
	Services          []Service
	Hooks             []Hook
	Webhooks          []Webhook
}

// ProxyProcess says how the proxy itself is run.
type ProxyProcess struct {
	Command []string // default: sentinel beside sentinel-stack, else on PATH
	Env     []NameValue
	PassEnv []string
	Restart Restart
	Ready   time.Duration
	Stop    Stop
	Limits  ProcessLimits
	Sandbox *Sandbox // nil = the usual one when the program is ours
}

// ProcessDefaults apply to every agent that does not say otherwise.
type ProcessDefaults struct {
	Restart Restart
	Stop    Stop
	Limits  ProcessLimits
	Sandbox *Sandbox
	User    string
	Group   string
}

// Service is an extra process that the stack runs.
type Service struct {
	Name    string
	Command []string
	Env     []NameValue
	EnvFile string
	PassEnv []string
	Secrets []Secret
	Restart Restart
	Ready   ServiceReady
	Stop    Stop
	Limits  ProcessLimits
	Sandbox *Sandbox // nil = none
	User    string
	Group   string
}

// ServiceReady is the readiness probe of an extra service; all empty = ready when started.
type ServiceReady struct {
	HTTP    string
	TCP     string
	Exec    []string
	Notify  bool
	Timeout time.Duration
}

// Restart is the restart policy of a process.
type Restart struct {
	Policy          string        // always (default), on-failure, never
	InitialDelay    time.Duration // of the first restart after a healthy life; default 0
	BaseDelay       time.Duration // of the second; doubles; default 100ms
	MaxDelay        time.Duration // default 30s
	ResetAfter      time.Duration // ready for so long = healthy life; default 30s
	QuarantineAfter int           // failures in a row; default 10; 0 = never
}

// Stop says how a process is asked to end.
type Stop struct {
	Signal  string        // TERM
	Timeout time.Duration // then KILL; default 5s
}

// ProcessLimits bound one instance of a process with everything it starts. 0 = no limit, but for Core, where it means no core file.
type ProcessLimits struct {
	Memory     int64 // bytes
	MemoryHigh int64
	CPU        int64 // percent of one CPU
	PIDs       int64 // processes and threads
	NoFile     int64
	Core       int64 // bytes
	IOWeight   int64
}
