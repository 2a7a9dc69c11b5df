package config

import (
	"net/netip"
	"time"
)

// ProxyProtocol says that connections of a listener come through load balancers that name the client in a header of the PROXY protocol.
type ProxyProtocol struct {
	From    []netip.Prefix // the load balancers; nobody else may connect
	Timeout time.Duration  // for the header; default 3s
}

func proxyProtocolSchema() *Key {
	return block("proxy-protocol", "ProxyProtocol", "Connections come through load balancers that send the PROXY protocol, version 1 or 2: the client they name is the client everywhere, as if it had connected itself. "+
		"A connection from anybody else, or without a correct header of at most 2 KB, is closed.",
		list("from", "From", prefix(), nil, "CIDR blocks of the load balancers.").required(),
		value("timeout", "Timeout", seconds(time.Millisecond, time.Minute), 3*time.Second, "Time for the header from the moment of connecting."),
	).optional()
}
