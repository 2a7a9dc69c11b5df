package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

func webSocketSchema() *Key {
	return block("websocket", "WebSocket", "WebSockets through this route: `websocket #true`, or with limits in a block behind it. Without it they are answered 403. When an agent of the route has the event `websocket_frame`, or `max-message-size` or `max-messages-per-second` is set, the proxy looks at messages: it puts fragments together and agrees on no extension, so that nothing is compressed. Otherwise the bytes pass as they are.",
		value("enabled", "Enabled", boolean(), false, "Whether they are passed on."),
		list("allowed-origins", "Origins", origin(), nil, "Origins whose pages may open one, as in \"https://app.example.com\"; \"self\" is the host that was asked for. Others are answered 403. A request without Origin comes from no page, and passes.").unset("any"),
		list("subprotocols", "Subprotocols", token("subprotocol"), nil, "Subprotocols that may be agreed on. The upstream is offered no other, and a client that offers only others is answered 400.").unset("any"),
		value("idle-timeout", "Idle", seconds(time.Millisecond, 30*day), nil, "How long nothing may come from either side before it is closed with 1001.").unset("the upstream's tunnel-idle"),
		value("max-age", "MaxAge", seconds(time.Millisecond, 365*day), nil, "How old it may become before it is closed with 1001.").unset("any age"),
		value("max-message-size", "MaxMessage", size(1, 8*mib), nil, "Bytes of one message, its fragments together; a larger one closes it with 1009.").unset("1MB when messages are looked at, else any"),
		value("max-messages-per-second", "Rate", integer(1, 1_000_000), nil, "Messages and control frames that each side may send in a second; more close it with 1008.").unset("any number"),
		value("message-burst", "Burst", integer(1, 1_000_000), nil, "How many may come at once.").unset("max-messages-per-second"),
		value("max-connections", "MaxOpen", integer(1, 10_000_000), nil, "WebSockets of the route at the same time. More are answered 503.").unset("any number"),
		value("max-connections-per-client", "MaxPerClient", integer(1, 1_000_000), nil, "The same for one client address.").unset("any number"),
		value("drain-timeout", "Drain", seconds(0, time.Hour), 10*time.Second, "When the proxy is to end, each is closed with 1001 at some moment within this time, so that clients do not come back all at once."),
	).argName("enabled").optional()
}

// origin is scheme and authority of a page (RFC 6454 §6.2), or "self".
func origin() *Type {
	return text("origin", func(s string) error {
		if s == "self" {
			return nil
		}
		if u, err := url.Parse(s); err != nil || u.Scheme == "" || u.Host == "" || s != u.Scheme+"://"+u.Host || s != strings.ToLower(s) {
			return fmt.Errorf("%s is no origin: write scheme and host in lower case, without a path, as in \"https://app.example.com\", or \"self\"", kdl.Quote(s))
		}
		return nil
	})
}

// webSocket finds settings that have no effect, or can never be kept.
func (c *checker) webSocket(r *Route, path string) {
	ws := r.WebSocket
	if ws == nil {
		return
	}
	path += ".websocket"
	if !ws.Enabled {
		for _, key := range []string{"allowed-origins", "subprotocols", "idle-timeout", "max-age", "max-message-size", "max-messages-per-second", "message-burst", "max-connections",
			"max-connections-per-client", "drain-timeout"} {
			if at, written := c.origins[path+"."+key]; written {
				c.fail(at, "no-effect", "write websocket #true { … }", "route %s takes no WebSockets, so %s has no effect", kdl.Quote(r.ID), key)
			}
		}
		return
	}
	if at, written := c.origins[path+".message-burst"]; written && ws.Rate == 0 {
		c.fail(at, "no-effect", "write max-messages-per-second", "message-burst has no effect without max-messages-per-second")
	}
	if ws.MaxOpen > 0 && ws.MaxPerClient > ws.MaxOpen {
		c.fail(c.at(path+".max-connections-per-client"), "invalid-value", "", "max-connections-per-client %d is above max-connections %d", ws.MaxPerClient, ws.MaxOpen)
	}
}
