package config

import (
	"time"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

func httpVersionSchema() *Key {
	return block("http-version", "HTTP", "Which version of HTTP is spoken with the targets. With TLS and both versions allowed each target chooses. Without TLS there is no choice: `min-version 2` speaks HTTP/2 at once (h2c).",
		value("min-version", "Min", integer(1, 2), 1, "The lowest version: 1 = HTTP/1.1, 2 = HTTP/2. gRPC needs 2. WebSocket needs 1, or targets that take WebSockets over HTTP/2 (RFC 8441)."),
		value("max-version", "Max", integer(1, 2), 1, "The highest version."),
		value("max-streams", "MaxStreams", integer(1, 10_000), 100, "Requests at the same time on one connection with HTTP/2; the target may allow fewer. When all connections are full another one is opened, up to connection-pool.max-connections.").alias("max-h2-streams"),
		value("stream-window", "StreamWindow", size(16*kib, 16*mib), int64(256*kib), "Bytes of one answer that are held while the client does not take them."),
		value("ping-interval", "PingInterval", seconds(0, time.Hour), 30*time.Second, "Silence of a target that has requests to answer, after which it is asked for a sign of life; so it is when a request was given up in silence. 0 = it is not asked.").alias("h2-ping-interval"),
		value("ping-timeout", "PingTimeout", seconds(10*time.Millisecond, time.Hour), 10*time.Second, "Without a sign of life for so long the connection is given up."),
	)
}

// checkType finds a health check that the targets cannot answer.
func (c *checker) checkType(u *Upstream, path string) {
	if u.HealthCheck == nil {
		return
	}
	at := c.at(path + ".health-check.type")
	switch {
	case u.HealthCheck.Type == "grpc" && u.HTTP.Max < 2:
		c.fail(at, "invalid-value", "write http-version { min-version 2 }", "a health check of type \"grpc\" needs HTTP/2 with the targets of upstream %s", kdl.Quote(u.ID))
	case u.HealthCheck.Type == "http" && u.HTTP.Min == 2:
		c.fail(at, "invalid-value", "write type \"grpc\" or \"tcp\"", "a health check of type \"http\" speaks HTTP/1.1, which the targets of upstream %s do not", kdl.Quote(u.ID))
	case u.HealthCheck.Type == "tls" && u.TLS == nil:
		c.fail(at, "invalid-value", "write a tls block, or type \"tcp\"", "upstream %s has no TLS to check", kdl.Quote(u.ID))
	}
}

// httpVersion finds versions that do not go together with the rest of an upstream.
func (c *checker) httpVersion(u *Upstream, path string) {
	at := path + ".http-version"
	h := &u.HTTP
	if _, written := c.origins[at+".max-version"]; !written && h.Min == 2 {
		h.Max = 2
	}
	switch {
	case h.Min > h.Max:
		c.fail(c.at(at+".max-version"), "invalid-value", "", "max-version %d is below min-version %d", h.Max, h.Min)
	case h.Max == 2 && h.Min == 1 && u.TLS == nil:
		c.fail(c.at(at+".max-version"), "no-effect", "write min-version 2 for targets that speak HTTP/2 without TLS", "without tls the targets of upstream %s cannot choose a version", kdl.Quote(u.ID))
	case h.Max == 2 && u.SendProxyProtocol != "":
		c.fail(c.at(path+".send-proxy-protocol"), "invalid-value", "remove http-version, or send-proxy-protocol", "a connection with HTTP/2 is shared by many clients and cannot be introduced as that of one")
	case h.Max == 1:
		for _, key := range []string{"max-streams", "stream-window", "ping-interval", "ping-timeout"} {
			if origin, written := c.origins[at+"."+key]; written {
				c.report.warn(origin, "no-effect", "write max-version 2", "%s has no effect with HTTP/1.1", key)
			}
		}
	}
}
