package config

import "github.com/sentinel-stack/sentinel/proxy/kdl"

// http2 checks what the keys of an http2 block say together.
func (c *checker) http2(l *Listener) {
	path := "listeners." + l.ID + ".http2"
	secure := l.Protocol == "https"
	if at, written := c.origins[path+".alpn"]; written && !secure {
		c.report.fail(at, "no-effect", "write prior-knowledge", "alpn has no effect: listener %s does not speak TLS", kdl.Quote(l.ID))
	}
	if at, written := c.origins[path+".prior-knowledge"]; written && secure {
		c.report.fail(at, "no-effect", "write alpn", "prior-knowledge has no effect: clients of listener %s choose HTTP/2 when they connect with TLS", kdl.Quote(l.ID))
	}
	if l.HTTP2.Only && secure && !l.HTTP2.ALPN {
		c.fail(c.at(path+".only"), "no-effect", "write alpn #true", "listener %s speaks nothing: only HTTP/2 is to be spoken, and alpn is off", kdl.Quote(l.ID))
	}
	if l.HTTP2.Only && !secure && !l.HTTP2.PriorKnowledge {
		c.fail(c.at(path+".only"), "no-effect", "write prior-knowledge #true", "listener %s speaks nothing: only HTTP/2 is to be spoken, and prior-knowledge is off", kdl.Quote(l.ID))
	}
}
