package config

import "time"

// WebSocket says how a route takes WebSockets.
type WebSocket struct {
	Enabled      bool          // false answers 403
	Origins      []string      // origins whose pages may open one, "self" = that of the host asked for; none = any
	Subprotocols []string      // those that may be agreed on; none = any
	Idle         time.Duration // nothing comes from either side; 0 = the upstream's TunnelIdle
	MaxAge       time.Duration // 0 = any
	MaxMessage   int64         // bytes of one message, fragments together; 0 = any, or 1 MiB when messages are looked at
	Rate         int           // messages and control frames a second of each side; 0 = any
	Burst        int           // those that may come at once; 0 = Rate
	MaxOpen      int           // of the route; 0 = any
	MaxPerClient int           // of one client in the route; 0 = any
	Drain        time.Duration // how long they go on when the proxy is to end; default 10s
}
