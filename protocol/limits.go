package protocol

import "time"

// Hard bounds of the wire. A message beyond one of them is a broken rule: its sender loses the connection.
const (
	MaxFrame         = 16 << 20 // bytes of type and payload
	MaxHandshake     = 2 << 20  // bytes of a handshake message, configuration included
	MaxConfig        = 1 << 20  // bytes of a configuration as JSON
	MaxCorrelationID = 128      // bytes
	MaxHeaderLines   = 10_000   // lines of one header block
	MaxHeaderBytes   = 1 << 20  // names and values of one header block
	MaxHeaderOps     = 1000     // operations in one list of a verdict
	MaxAuditItems    = 1000     // entries of each audit list, of routing and of challenge parameters
	MaxChunk         = 8 << 20  // bytes of body data in one chunk, and of one message of a WebSocket
	MaxCloseReason   = 123      // bytes of the reason of a close frame
	MaxSeries        = 2000     // series of one kind in a metrics report
	MaxDepth         = 64       // nesting of any message
	MaxEvents        = 64       // entries of supported_events, supported_versions, supported_encodings
)

// Defaults and deadlines.
const (
	HandshakeTimeout   = 2 * time.Second  // from connect to the end of the handshake, either side
	DefaultChunk       = 64 << 10         // bytes of body data in one chunk when the agent says nothing
	DefaultConnections = 2                // per agent
	PingInterval       = 10 * time.Second // without anything received
	PongTimeout        = 5 * time.Second
	WriteTimeout       = 5 * time.Second // a peer that reads nothing for so long loses the connection
	ReconnectBase      = 25 * time.Millisecond
	ReconnectMax       = 5 * time.Second
	DrainTimeout       = 30 * time.Second // of an agent after SIGTERM
)
