package observe

import "sync/atomic"

// SocketMetrics counts the WebSockets of one route.
type SocketMetrics struct {
	Allowed   atomic.Bool  // the route takes some
	Open      atomic.Int64 // those whose handshake is under way included
	Total     atomic.Uint64
	Messages  [2][socketKinds]atomic.Uint64 // those that were looked at, by side (0 = client) and kind
	Decisions CounterSet                    // of filters on messages
	Closes    CounterSet                    // those that the proxy ended, by reason
}

// SocketKind is a kind of message of a WebSocket.
type SocketKind uint8

// The kinds.
const (
	SocketText SocketKind = iota
	SocketBinary
	SocketControl
	socketKinds
)

// String is the metric label.
func (k SocketKind) String() string { return [socketKinds]string{"text", "binary", "control"}[k] }

// sockets exports what there is of a route that takes WebSockets.
func (c *collector) sockets(e emitter, r *RouteMetrics) {
	s := &r.Sockets
	if !s.Allowed.Load() {
		return
	}
	e.gauge(c.socketsOpen, float64(s.Open.Load()), r.ID)
	e.counter(c.socketsTotal, s.Total.Load(), r.ID)
	for side, from := range [...]string{"client", "upstream"} {
		for k := range socketKinds {
			if n := s.Messages[side][k].Load(); n > 0 {
				e.counter(c.socketMessages, n, r.ID, from, k.String())
			}
		}
	}
	s.Decisions.Each(func(decision string, n uint64) { e.counter(c.socketDecisions, n, r.ID, decision) })
	s.Closes.Each(func(reason string, n uint64) { e.counter(c.socketCloses, n, r.ID, reason) })
}
