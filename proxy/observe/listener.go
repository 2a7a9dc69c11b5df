package observe

import (
	"sync/atomic"
	"time"
)

// ListenerMetrics counts the connections of one listener.
type ListenerMetrics struct {
	handle
	Total   atomic.Uint64 // accepted, refused ones included
	Open    atomic.Int64
	Refused [limitCount]atomic.Uint64 // closed at accept, by the limit that was hit
	TLS     TLSMetrics
	Streams atomic.Int64 // of HTTP/2, open now
	HTTP3   atomic.Bool  // it is spoken
	Quic    atomic.Int64 // connections with HTTP/3, open now
	Asks    atomic.Int64 // streams of HTTP/3 with a request, open now
	AtWork  atomic.Int64 // requests, when their number is bounded
}

// Refuse counts a connection closed because of a limit, here and among the limits of the process.
func (l *ListenerMetrics) Refuse(limit Limit, p *Process) {
	l.Refused[limit].Add(1)
	p.Limits[limit].Add(1)
}

// Limit names a bound that was reached.
type Limit uint8

// The limits of the proxy.
const (
	LimitTotalConnections Limit = iota
	LimitClientConnections
	LimitInFlight
	LimitHeaderSize
	LimitHeaderCount
	LimitBodySize
	LimitHeaderTimeout
	LimitIdleTimeout
	LimitRequestTimeout
	LimitSendTimeout
	LimitBodyRate
	LimitUpstreamConnections
	LimitUpstreamQueue
	LimitUpstreamQueueTime
	LimitRetryBudget
	LimitAgentQueue
	LimitTunnelIdle
	LimitHandshakeTimeout
	LimitHandshakes
	LimitProxySource
	LimitProxyHeader
	LimitProxyTimeout
	LimitStreams
	LimitListenerInFlight
	LimitRouteInFlight
	LimitClientInFlight
	LimitSockets
	LimitClientSockets
	LimitSocketMessage
	LimitSocketRate
	LimitSocketAge
	LimitStreamDrain
	LimitDecompression
	limitCount
)

var limitNames = [limitCount]string{
	"total-connections", "client-connections", "in-flight", "header-size", "header-count", "body-size",
	"header-timeout", "idle-timeout", "request-timeout", "send-timeout", "body-rate",
	"upstream-connections", "upstream-queue", "upstream-queue-time", "retry-budget", "agent-queue", "tunnel-idle", "handshake-timeout", "handshakes",
	"proxy-protocol-source", "proxy-protocol-header", "proxy-protocol-timeout", "http2-streams",
	"listener-in-flight", "route-in-flight", "client-in-flight",
	"websockets", "client-websockets", "websocket-message-size", "websocket-message-rate", "websocket-age", "stream-drain",
	"decompression-memory",
}

// Limits are the labels of all limits.
func Limits() []string { return limitNames[:] }

// String is the metric label.
func (l Limit) String() string { return limitNames[l] }

// TLSMetrics counts the handshakes of one listener.
type TLSMetrics struct {
	Full, Resumed [2]atomic.Uint64 // by version: 1.2, 1.3
	Failures      CounterSet       // by reason
	Active        atomic.Int64
	Staples       CounterSet // OCSP answers asked for, by result
	Issued        PairSet    // certificates asked an ACME server for, by first domain and result
	Hooked        PairSet    // requests to webhooks that put proofs into a zone, by action and result
	Duration      Histogram

	certificates atomic.Pointer[map[Certificate]time.Time]
}

// Certificate is a certificate of a listener.
type Certificate struct {
	Name string // the first one it is for
	Key  string // the kind of its key
}

// Done counts a handshake that succeeded; version is that of crypto/tls.
func (t *TLSMetrics) Done(version uint16, resumed bool, took time.Duration) {
	i := 0
	if version >= tls13 {
		i = 1
	}
	if resumed {
		t.Resumed[i].Add(1)
	} else {
		t.Full[i].Add(1)
	}
	t.Duration.Observe(took)
}

// tls13 is the number of TLS 1.3 on the wire.
const tls13 = 0x0304

// Certificates notes when the certificates of the listener expire.
func (t *TLSMetrics) Certificates(expire map[Certificate]time.Time) { t.certificates.Store(&expire) }
