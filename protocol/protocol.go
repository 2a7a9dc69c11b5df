// Package protocol is the contract between the proxy and its agents: the events a proxy sends, the verdicts an agent answers, and the numbers both obey.
// It holds types only and imports nothing but the standard library; SPEC.md beside it is the normative text.
//
// A proxy asks ("may this request pass?") by sending an event over a Unix socket; an agent, a separate process, answers each event with one Verdict.
// Everything of one request carries the same correlation id, so many requests share a connection and answers may come in any order.
//
// Neighbours: wire turns these types into bytes, client is the proxy's side, agent is the agent's side (the Go SDK), conformance tests agents in any language, protocoltest helps tests in Go.
//
// Values received from a peer are never shared: whoever gets an event or a verdict owns it. Strings of one event may share one backing
// array, so what is kept beyond the call should be copied with strings.Clone.
package protocol

// FrameType is the byte after the length of a frame; it says what the payload is.
type FrameType uint8

// Frame types. P→A is from proxy to agent. Types marked reserved are never sent un-negotiated and are refused when received. A WebSocketFrame is sent to agents that say they can judge it.
const (
	TypeHandshakeRequest  FrameType = 0x01 // P→A, JSON always
	TypeHandshakeResponse FrameType = 0x02 // A→P, JSON always
	TypeRequestHeaders    FrameType = 0x10 // P→A
	TypeRequestBodyChunk  FrameType = 0x11 // P→A
	TypeResponseHeaders   FrameType = 0x12 // P→A
	TypeResponseBodyChunk FrameType = 0x13 // P→A
	TypeRequestComplete   FrameType = 0x14 // P→A
	TypeWebSocketFrame    FrameType = 0x15 // P→A
	TypeGuardrailInspect  FrameType = 0x16 // P→A, reserved
	TypeConfigure         FrameType = 0x17 // P→A
	TypeResponse          FrameType = 0x20 // A→P, the answer to every event
	TypeHealthStatus      FrameType = 0x30 // A→P
	TypeMetricsReport     FrameType = 0x31 // A→P
	TypeConfigUpdate      FrameType = 0x32 // A→P, reserved
	TypeFlowControl       FrameType = 0x33 // A→P
	TypeCancel            FrameType = 0x40 // P→A, JSON always
	TypePing              FrameType = 0x41 // P→A, JSON always
	TypePong              FrameType = 0x42 // A→P, the bytes of the ping
)

// EventType is the number of an event in an agent's list of supported events.
type EventType uint8

// Event types. 7 is reserved.
const (
	EventRequestHeaders   EventType = 1
	EventRequestBody      EventType = 2
	EventResponseHeaders  EventType = 3
	EventResponseBody     EventType = 4
	EventRequestComplete  EventType = 5
	EventWebSocketFrame   EventType = 6
	EventGuardrailInspect EventType = 7
	EventConfigure        EventType = 8
)

// Header is one field line. Names are lower case on the wire.
type Header struct{ Name, Value string }

// Headers are the fields of one message. The wire groups lines by name: values of one name keep their order, the order of names is not kept.
type Headers []Header

// Get returns the first value of name (lower case), or "".
func (h Headers) Get(name string) string {
	for i := range h {
		if h[i].Name == name {
			return h[i].Value
		}
	}
	return ""
}

// Has reports whether a line with this name (lower case) exists.
func (h Headers) Has(name string) bool {
	for i := range h {
		if h[i].Name == name {
			return true
		}
	}
	return false
}

// Values returns every value of name (lower case), in order.
func (h Headers) Values(name string) []string {
	var out []string
	for i := range h {
		if h[i].Name == name {
			out = append(out, h[i].Value)
		}
	}
	return out
}

// Metadata is what the proxy knows about a request beside its head. Empty strings are "unknown" (null on the wire).
type Metadata struct {
	CorrelationID string
	RequestID     string // what logs call the request
	ClientIP      string // text form of the address; the proxy has already applied its trusted-proxy list
	ClientPort    uint16
	ServerName    string // TLS server name
	Protocol      string // "HTTP/1.1"
	TLSVersion    string
	TLSCipher     string
	RouteID       string
	UpstreamID    string
	Timestamp     string // RFC 3339, when the head was complete
	Traceparent   string
}

// RequestHeaders is the head of a request. The correlation id is Metadata.CorrelationID.
type RequestHeaders struct {
	Metadata Metadata
	Method   string
	URI      string // request target as the client sent it, at least "/"
	Headers  Headers
}

// Path returns the URI up to the first '?'.
func (r *RequestHeaders) Path() string {
	for i := 0; i < len(r.URI); i++ {
		if r.URI[i] == '?' {
			return r.URI[:i]
		}
	}
	return r.URI
}

// Query returns the URI after the first '?', without it; "" when there is none.
func (r *RequestHeaders) Query() string {
	for i := 0; i < len(r.URI); i++ {
		if r.URI[i] == '?' {
			return r.URI[i+1:]
		}
	}
	return ""
}

// ResponseHeaders is the head of the upstream's answer.
type ResponseHeaders struct {
	CorrelationID string
	Status        int
	Headers       Headers
}

// BodyChunk is one piece of a request or response body. Pieces of one body arrive in order, Index counts from 0.
type BodyChunk struct {
	CorrelationID string
	Data          []byte
	Last          bool
	TotalSize     int64 // of the whole body, -1 when not known
	Index         uint32
	Transferred   int64 // bytes of this body up to and with this chunk ("bytes_received" of a request, "bytes_sent" of a response)
}

// RequestComplete tells how an exchange ended. Nothing waits for its answer.
type RequestComplete struct {
	CorrelationID    string
	Status           int // sent to the client; 0 when none was
	DurationMillis   int64
	RequestBodySize  int64
	ResponseBodySize int64
	UpstreamAttempts int
	Error            string // "" = none
}

// Configure carries the agent's configuration, as JSON text.
type Configure struct {
	CorrelationID string
	Config        []byte // JSON; nil = null
	Version       string
}

// CancelReason says why the proxy no longer wants an answer.
type CancelReason uint8

// Cancel reasons.
const (
	CancelClientGone     CancelReason = 0
	CancelTimeout        CancelReason = 1
	CancelBlocked        CancelReason = 2 // another agent blocked the request
	CancelUpstreamError  CancelReason = 3
	CancelProxyShutdown  CancelReason = 4
	CancelManual         CancelReason = 5
	cancelReasonsDefined              = 6
)

// String returns the reason as one word.
func (r CancelReason) String() string {
	if r >= cancelReasonsDefined {
		return "unknown"
	}
	return [...]string{"client_gone", "timeout", "blocked", "upstream_error", "proxy_shutdown", "manual"}[r]
}

// Cancel withdraws an event. It has no answer; an answer that is already under way is discarded.
type Cancel struct {
	CorrelationID string
	Reason        CancelReason
	TimeMillis    int64
}

// Ping asks for a Pong with the same payload.
type Ping struct {
	Sequence   uint64
	TimeMillis int64
}
