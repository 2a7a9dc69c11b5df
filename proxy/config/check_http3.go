package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// http3 checks what the keys of an http3 block say together with those of the listener.
func (c *checker) http3(l *Listener) {
	path := "listeners." + l.ID + ".http3"
	at := c.at(path + ".enabled")
	if !l.HTTP3.Enabled {
		for _, key := range slices.Sorted(maps.Keys(c.origins)) {
			if strings.HasPrefix(key, path+".") && key != path+".enabled" {
				c.report.fail(c.origins[key], "no-effect", "write enabled #true, or remove the block", "%s has no effect: listener %s does not speak HTTP/3", strings.TrimPrefix(key, path+"."), kdl.Quote(l.ID))
				return
			}
		}
		return
	}
	switch {
	case l.Protocol != "https":
		c.fail(at, "no-effect", "write protocol \"https\" and tls { … }", "listener %s cannot speak HTTP/3: it does not speak TLS", kdl.Quote(l.ID))
	case l.Address.Socket != "":
		c.fail(at, "no-effect", "listen on an IP address", "listener %s cannot speak HTTP/3: a Unix socket has no UDP port beside it", kdl.Quote(l.ID))
	case l.ProxyProtocol != nil:
		c.fail(at, "no-effect", "use a listener without proxy-protocol", "listener %s cannot speak HTTP/3: the PROXY protocol says nothing of connections over UDP", kdl.Quote(l.ID))
	case l.TLS != nil && l.TLS.MaxVersion == "1.2":
		c.fail(at, "no-effect", "remove max-version \"1.2\"", "listener %s cannot speak HTTP/3: that needs TLS 1.3", kdl.Quote(l.ID))
	case l.HTTP3.ConnectionWindow < l.HTTP3.StreamWindow:
		c.fail(c.at(path+".stream-window"), "no-effect", "write a smaller stream-window or a larger connection-window", "stream-window of listener %s is larger than its connection-window", kdl.Quote(l.ID))
	}
}
