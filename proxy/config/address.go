package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// Address is where a listener accepts: on the network or, when Socket is set, on a Unix socket.
type Address struct {
	netip.AddrPort
	Socket string
}

// String is the address as it is written in a configuration.
func (a Address) String() string {
	if a.Socket != "" {
		return unixScheme + a.Socket
	}
	if !a.AddrPort.IsValid() {
		return ""
	}
	return a.AddrPort.String()
}

// MarshalText implements encoding.TextMarshaler.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// listenAddress is an IP address and port, or the path of a Unix socket.
func listenAddress() *Type {
	return &Type{Name: "address", parse: func(_ *Type, v kdl.Value, unit string) (any, error) {
		if path, ok := strings.CutPrefix(v.Str, unixScheme); ok && v.Kind == kdl.String {
			return Address{Socket: path}, checkSocketPath(path)
		}
		t := addrPort()
		got, err := t.parse(t, v, unit)
		if err != nil {
			return nil, err
		}
		return Address{AddrPort: got.(netip.AddrPort)}, nil
	}}
}

// Source is a set of peers: a CIDR block, or all that come over Unix sockets. Those have no address: the zero Addr stands for them.
type Source struct {
	Prefix netip.Prefix
	Unix   bool
}

// unixSource is how the peers on Unix sockets are written.
const unixSource = "unix"

// Contains reports whether a peer is one of the set.
func (s Source) Contains(peer netip.Addr) bool {
	if s.Unix {
		return !peer.IsValid()
	}
	return s.Prefix.Contains(peer)
}

// String is the source as it is written in a configuration.
func (s Source) String() string {
	if s.Unix {
		return unixSource
	}
	return s.Prefix.String()
}

// MarshalText implements encoding.TextMarshaler.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// source is a CIDR block or the word unix.
func source() *Type {
	return &Type{Name: "CIDR", parse: func(_ *Type, v kdl.Value, unit string) (any, error) {
		if v.Kind == kdl.String && v.Str == unixSource {
			return Source{Unix: true}, nil
		}
		t := prefix()
		got, err := t.parse(t, v, unit)
		if err != nil {
			return nil, err
		}
		return Source{Prefix: got.(netip.Prefix)}, nil
	}}
}

// sockets refuses two listeners on one path, and senders of the PROXY protocol that cannot come.
func (c *checker) sockets() {
	taken := map[string]string{}
	for _, l := range c.Listeners {
		at := "listeners." + l.ID
		if l.Address.Socket != "" {
			path := filepath.Clean(l.Address.Socket)
			if first, ok := taken[path]; ok {
				c.fail(c.at(at+".address"), "address-in-use", "first at "+c.at(first).String(), "the address %s is already taken", l.Address)
			} else {
				taken[path] = at + ".address"
			}
		}
		if l.ProxyProtocol == nil || len(l.ProxyProtocol.From) == 0 {
			continue
		}
		fits := false
		for _, s := range l.ProxyProtocol.From {
			fits = fits || s.Unix == (l.Address.Socket != "")
		}
		if !fits {
			want := "a CIDR block"
			if l.Address.Socket != "" {
				want = fmt.Sprintf("from %q", unixSource)
			}
			c.fail(c.at(at+".proxy-protocol.from"), "invalid-value", "write "+want, "nobody in from can connect to %s", l.Address)
		}
	}
}
