package config

import "time"

// ProxyProtocol says that connections of a listener come through load balancers that name the client in a header of the PROXY protocol.
type ProxyProtocol struct {
	From    []Source      // the load balancers; nobody else may connect
	Timeout time.Duration // for the header; default 3s
}

func proxyProtocolSchema() *Key {
	return block("proxy-protocol", "ProxyProtocol", "Connections come through load balancers that send the PROXY protocol, version 1 or 2: the client they name is the client everywhere, as if it had connected itself. "+
		"A connection from anybody else, or without a correct header of at most 2 KB, is closed.",
		list("from", "From", source(), nil, "CIDR blocks of the load balancers; \"unix\" on a Unix socket.").required(),
		value("timeout", "Timeout", seconds(time.Millisecond, time.Minute), 3*time.Second, "Time for the header from the moment of connecting."),
	).optional()
}

func sendProxyProtocolKey() *Key {
	return value("send-proxy-protocol", "SendProxyProtocol", keyword("v1", "v2"), "",
		"Tells each target whose connection it is, by a header of the PROXY protocol in text (v1) or binary (v2) before anything else. The client is the one after trusted proxies, with port 0 when its port is not known. "+
			"Every request gets a connection of its own: on one that was opened for another client it would pass as that client's. Health checks say that the proxy speaks for itself.").unset("nothing is sent")
}

// unpooled warns about bounds of kept connections where none is kept.
func (c *checker) unpooled(u *Upstream, path string) {
	if u.SendProxyProtocol == "" {
		return
	}
	for _, key := range []string{"max-idle", "idle-timeout", "max-lifetime"} {
		if at, written := c.origins[path+".connection-pool."+key]; written {
			c.report.warn(at, "no-effect", "", "%s has no effect with send-proxy-protocol: no connection is kept", key)
		}
	}
}
