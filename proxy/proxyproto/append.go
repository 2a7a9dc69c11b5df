package proxyproto

import (
	"encoding/binary"
	"net/netip"
)

// Append writes a header. Without a valid source or destination it is that of a sender that speaks for itself.
func (h Header) Append(b []byte) []byte {
	local := h.Local || !h.Source.IsValid() || !h.Dest.IsValid()
	source, dest := sameFamily(h.Source, h.Dest)
	if h.Version == V1 {
		return appendV1(b, source, dest, local)
	}
	return appendV2(b, source, dest, local)
}

// sameFamily makes both addresses IPv6 unless both are IPv4: a header names one family for the two.
func sameFamily(a, b netip.AddrPort) (netip.AddrPort, netip.AddrPort) {
	if a.Addr().Unmap().Is4() && b.Addr().Unmap().Is4() {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), netip.AddrPortFrom(b.Addr().Unmap(), b.Port())
	}
	return widen(a), widen(b)
}

func widen(a netip.AddrPort) netip.AddrPort {
	if !a.IsValid() {
		return a
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
}

func appendV1(b []byte, source, dest netip.AddrPort, local bool) []byte {
	if local {
		return append(b, "PROXY UNKNOWN\r\n"...)
	}
	b = append(b, "PROXY TCP6 "...)
	if source.Addr().Is4() {
		b[len(b)-2] = '4'
	}
	b = append(source.Addr().AppendTo(b), ' ')
	b = append(dest.Addr().AppendTo(b), ' ')
	b = append(appendPort(b, source.Port()), ' ')
	return append(appendPort(b, dest.Port()), '\r', '\n')
}

func appendPort(b []byte, port uint16) []byte {
	var digits [5]byte
	i := len(digits)
	for n := port; ; n /= 10 {
		i--
		digits[i] = byte('0' + n%10)
		if n < 10 {
			return append(b, digits[i:]...)
		}
	}
}

func appendV2(b []byte, source, dest netip.AddrPort, local bool) []byte {
	b = append(b, signature...)
	switch {
	case local:
		return append(b, cmdLocal, famUnspec, 0, 0)
	case source.Addr().Is4():
		b = append(b, cmdProxy, famTCP4, 0, lenTCP4)
		s, d := source.Addr().As4(), dest.Addr().As4()
		b = append(append(b, s[:]...), d[:]...)
	default:
		b = append(b, cmdProxy, famTCP6, 0, lenTCP6)
		s, d := source.Addr().As16(), dest.Addr().As16()
		b = append(append(b, s[:]...), d[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, source.Port())
	return binary.BigEndian.AppendUint16(b, dest.Port())
}
