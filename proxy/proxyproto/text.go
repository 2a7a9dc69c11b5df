package proxyproto

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

func parseV1(b []byte) (h Header, n int, err error) {
	end := bytes.IndexByte(b[:min(len(b), MaxV1)], '\n')
	switch {
	case end < 0 && len(b) >= MaxV1:
		return Header{}, 0, ErrTooLong
	case end < 0:
		return Header{}, 0, ErrMore
	case b[end-1] != '\r':
		return Header{}, 0, ErrMalformed
	}
	n = end + 1
	line := string(b[len(prefixV1) : end-1])
	h.Version = V1
	if line == "UNKNOWN" || strings.HasPrefix(line, "UNKNOWN ") { // the rest is to be ignored
		h.Local = true
		return h, n, nil
	}
	words := strings.Split(line, " ")
	if len(words) != 5 || words[0] != "TCP4" && words[0] != "TCP6" {
		return Header{}, 0, ErrMalformed
	}
	six := words[0] == "TCP6"
	source, ok1 := parseAddr(words[1], six)
	dest, ok2 := parseAddr(words[2], six)
	sport, ok3 := parsePort(words[3])
	dport, ok4 := parsePort(words[4])
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return Header{}, 0, ErrMalformed
	}
	h.Source, h.Dest = netip.AddrPortFrom(source, sport), netip.AddrPortFrom(dest, dport)
	return h, n, nil
}

// parseAddr reads an address of the family that was announced; a zone means nothing to another machine.
func parseAddr(s string, six bool) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is6() != six {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// parsePort reads a port in the only spelling the specification allows: no sign, no leading zero.
func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && strconv.FormatUint(n, 10) == s
}
