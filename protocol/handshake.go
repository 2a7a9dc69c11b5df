package protocol

// Encoding is the format of the payloads that are not always JSON.
type Encoding string

// Encodings. JSON is always possible.
const (
	JSON    Encoding = "json"
	MsgPack Encoding = "msgpack"
)

// HandshakeRequest is the first message of a connection, from the proxy.
type HandshakeRequest struct {
	SupportedVersions  []int
	ProxyID            string
	ProxyVersion       string
	Config             []byte     // JSON text of the agent's configuration; nil = null, the agent keeps its own
	SupportedEncodings []Encoding // in order of preference; none = JSON only
}

// HandshakeResponse is the agent's answer.
type HandshakeResponse struct {
	Version      int
	Capabilities Capabilities
	Success      bool
	Error        string // why not, when Success is false
	Encoding     Encoding
}

// Capabilities is what an agent says about itself.
type Capabilities struct {
	AgentID  string
	Name     string
	Version  string
	Events   []EventType
	Features Features
	Limits   Limits
}

// Supports reports whether the agent declared the event.
func (c *Capabilities) Supports(e EventType) bool {
	for _, x := range c.Events {
		if x == e {
			return true
		}
	}
	return false
}

// Features are optional behaviours of an agent.
type Features struct {
	StreamingBody      bool
	WebSocket          bool // judges messages of WebSockets
	Guardrails         bool // reserved
	ConfigPush         bool
	MetricsExport      bool
	ConcurrentRequests uint32 // handlers that run at once; 0 = not said
	Cancellation       bool
	FlowControl        bool
	HealthReporting    bool
}

// Limits are an agent's bounds. Zero = not said.
type Limits struct {
	MaxBodySize        int64 // bytes of one body it wants to see
	MaxConcurrency     int   // events in flight over all its connections
	PreferredChunkSize int   // bytes
}

// DefaultLimits are what an agent advertises when it says nothing else.
func DefaultLimits() Limits {
	return Limits{MaxBodySize: 10 << 20, MaxConcurrency: 100, PreferredChunkSize: 64 << 10}
}
