package observe

import "sync/atomic"

// ListenerMetrics counts the connections of one listener.
type ListenerMetrics struct {
	handle
	Total   atomic.Uint64 // accepted, refused ones included
	Open    atomic.Int64
	Refused [limitCount]atomic.Uint64 // closed at accept, by the limit that was hit
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
	LimitProxySource
	LimitProxyHeader
	LimitProxyTimeout
	limitCount
)

var limitNames = [limitCount]string{
	"total-connections", "client-connections", "in-flight", "header-size", "header-count", "body-size",
	"header-timeout", "idle-timeout", "request-timeout", "send-timeout", "body-rate",
	"upstream-connections", "upstream-queue", "upstream-queue-time", "retry-budget", "agent-queue", "tunnel-idle",
	"proxy-protocol-source", "proxy-protocol-header", "proxy-protocol-timeout",
}

// String is the metric label.
func (l Limit) String() string { return limitNames[l] }
