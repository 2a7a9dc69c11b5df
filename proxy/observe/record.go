package observe

import (
	"net/netip"
	"time"
)

// AccessRecord is one exchange as the access log sees it. The byte slices are views into the caller's buffers and may hold any bytes a
// client can send; they are escaped on writing and not kept.
type AccessRecord struct {
	Stripe           uint32    // the connection's number, spreads writers; any value
	Time             time.Time // when the head began
	Duration         time.Duration
	RequestID        []byte
	TraceID          []byte // the trace-id of traceparent; empty = the request id
	ClientIP         netip.Addr
	Method           []byte
	Host             []byte
	Path             []byte // as received
	Query            []byte // without "?"
	Protocol         string // "HTTP/1.1"
	Status           int    // 0 = closed without an answer
	UserAgent        []byte
	Referer          []byte
	BytesSent        int64 // body bytes to the client
	BytesReceived    int64 // body bytes from the client
	Listener         string
	TLSVersion       string // "" = not encrypted, and so are the three below
	TLSCipher        string
	ServerName       string // asked for by the client, "" = none
	ClientCert       string // subject of the verified client certificate, "" = none
	Route            string // "" = none matched
	Upstream         string // "" = answered by the proxy itself
	UpstreamAddr     string
	UpstreamAttempts int
	ConnectionReused bool
	Refusal          string // code of the refusal when the proxy refused the message, "" otherwise
	Agent            string // the agent whose verdict decided, "" = none
	Decision         string // what was decided: block, redirect, challenge, …
}

// AuditRecord is one decision or event worth keeping.
type AuditRecord struct {
	Time       time.Time
	Event      string // EventBlocked and the others below
	RequestID  []byte
	ClientIP   netip.Addr
	Method     []byte
	Host       []byte
	Path       []byte
	Route      string
	Reason     string
	Agent      string
	Phase      string // what the agent was asked about: request_headers, response_body, …
	RuleIDs    []string
	Tags       []string
	Action     string // block, allow, redirect, challenge, …
	Status     int    // 0 = none
	Metadata   []Pair
	Generation uint64 // of the configuration that decided; 0 = not said
}

// Pair is one entry of an audit record's metadata.
type Pair struct{ Name, Value string }

// Audit events.
const (
	EventBlocked       = "blocked"
	EventAgentDecision = "agent_decision"
	EventFailOpen      = "fail_open" // let through although an agent could not decide
	EventConfigChange  = "config_change"
	EventHealthChange  = "health_change"
	EventCircuitChange = "circuit_breaker_change"
)
