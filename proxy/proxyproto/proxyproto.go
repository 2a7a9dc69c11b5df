// Package proxyproto reads and writes the header of the PROXY protocol, versions 1 (a line of text) and 2 (binary): the first bytes of a connection,
// with which a load balancer that works below HTTP says whose connection it passes on. Like the codec of HTTP it does no I/O.
//
// Reading is strict. A header is either exactly as the specification has it or refused; nothing is searched for, skipped or repaired.
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
)

// Version is a version of the protocol.
type Version uint8

// The versions.
const (
	None Version = iota
	V1
	V2
)

// Header is what a header says.
type Header struct {
	Version Version
	Local   bool // the sender speaks for itself (a health check), or cannot name anybody: the connection's own addresses count
	Source  netip.AddrPort
	Dest    netip.AddrPort
}

// Bounds of a header.
const (
	MaxV1 = 107     // the line with its end, by the specification
	MaxV2 = 2 << 10 // addresses and what follows them; the specification allows 64 KiB, senders use a few hundred bytes
	v2Fix = 16      // of MaxV2, what every header has
)

// Why a header is refused.
var (
	ErrMore      = errors.New("the header is not complete") // nothing is wrong so far
	ErrNone      = errors.New("no PROXY protocol header")
	ErrMalformed = errors.New("malformed PROXY protocol header")
	ErrTooLong   = errors.New("PROXY protocol header too long")
)

// signature begins a header of version 2, a prefix that no protocol of text has.
var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

var prefixV1 = []byte("PROXY ")

// Parse reads the header at the start of b and says how long it is. ErrMore asks for more bytes; no more than MaxV2 are ever needed.
func Parse(b []byte) (h Header, n int, err error) {
	switch {
	case bytes.HasPrefix(b, prefixV1):
		return parseV1(b)
	case bytes.HasPrefix(b, signature):
		return parseV2(b)
	case len(b) < len(signature) && (bytes.HasPrefix(signature, b) || bytes.HasPrefix(prefixV1, b)):
		return Header{}, 0, ErrMore
	}
	return Header{}, 0, ErrNone
}

const (
	cmdLocal = 0x20
	cmdProxy = 0x21

	famUnspec = 0x00
	famTCP4   = 0x11
	famTCP6   = 0x21
	famUnix   = 0x31

	lenTCP4 = 12
	lenTCP6 = 36
	lenUnix = 216
)

func parseV2(b []byte) (h Header, n int, err error) {
	if len(b) < v2Fix {
		return Header{}, 0, ErrMore
	}
	command, family, length := b[12], b[13], int(binary.BigEndian.Uint16(b[14:]))
	if command != cmdLocal && command != cmdProxy {
		return Header{}, 0, ErrMalformed
	}
	n = v2Fix + length
	if n > MaxV2 {
		return Header{}, 0, ErrTooLong
	}
	if len(b) < n {
		return Header{}, 0, ErrMore
	}
	h.Version = V2
	body := b[v2Fix:n]
	if command == cmdLocal { // what follows is to be ignored, whatever it is
		h.Local = true
		return h, n, nil
	}
	var addresses int
	switch family {
	case famTCP4:
		addresses = lenTCP4
	case famTCP6:
		addresses = lenTCP6
	case famUnix: // a client on the sender's machine: it has no address that means anything here
		addresses = lenUnix
	case famUnspec:
	default: // datagrams do not come through a stream
		return Header{}, 0, ErrMalformed
	}
	if len(body) < addresses || !wellFormedTLVs(body[addresses:]) {
		return Header{}, 0, ErrMalformed
	}
	switch family {
	case famTCP4:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[:4])), binary.BigEndian.Uint16(body[8:]))
		h.Dest = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[4:8])), binary.BigEndian.Uint16(body[10:]))
	case famTCP6:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[:16])).Unmap(), binary.BigEndian.Uint16(body[32:]))
		h.Dest = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[16:32])).Unmap(), binary.BigEndian.Uint16(body[34:]))
	default:
		h.Local = true
	}
	return h, n, nil
}

// wellFormedTLVs checks that the further values fill the rest exactly. What they say is not used, so unknown ones are as good as known ones.
func wellFormedTLVs(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 3 {
			return false
		}
		n := 3 + int(binary.BigEndian.Uint16(b[1:]))
		if len(b) < n {
			return false
		}
		b = b[n:]
	}
	return true
}
