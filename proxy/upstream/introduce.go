package upstream

import (
	"net"
	"net/netip"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxyproto"
)

// Origin is on whose behalf a connection is opened, for targets that are told so by the PROXY protocol.
type Origin struct {
	Client netip.AddrPort // port 0 = not known
	Local  netip.AddrPort // where the client connected to
}

// versionOf is the version that the targets of an upstream are introduced to clients with.
func versionOf(cfg *config.Upstream) proxyproto.Version {
	switch cfg.SendProxyProtocol {
	case "v1":
		return proxyproto.V1
	case "v2":
		return proxyproto.V2
	}
	return proxyproto.None
}

// Introduces reports whether the pool wants to know the origin of requests. Its connections are then one client's, and one exchange's: a request on a
// connection that was opened for another client would pass as that client's, so none is ever used again.
func (p *Pool) Introduces() bool { return versionOf(&p.cfg) != proxyproto.None }

// introduce sends the header that begins a connection; without an origin it says that the proxy speaks for itself. It does not wait: the header fits the
// empty buffer of a fresh socket.
func (e *endpoint) introduce(conn net.Conn, o *Origin) error {
	if e.version == proxyproto.None {
		return nil
	}
	h := proxyproto.Header{Version: e.version, Local: o == nil}
	if o != nil {
		h.Source, h.Dest = o.Client, o.Local
		if !h.Dest.IsValid() && h.Source.IsValid() { // the client came to a Unix socket: it has an address, its destination has none
			h.Dest = netip.AddrPortFrom(unspecified(h.Source.Addr()), 0)
		}
	}
	_, err := conn.Write(h.Append(make([]byte, 0, proxyproto.MaxV1)))
	return err
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Unmap().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
