package cidr

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Builder collects networks for a Set. The zero value is ready.
type Builder struct {
	v4 []uint64 // first address << 8 | length: sorts by address, then outer before inner
	v6 []prefix6
}

type prefix6 struct {
	start uint128
	bits  uint8
}

// Add adds one network. Bits beyond its length are ignored. An IPv4-mapped prefix of /96 or longer counts as the IPv4 prefix.
func (b *Builder) Add(p netip.Prefix) error {
	if !p.IsValid() {
		return fmt.Errorf("cannot add invalid prefix")
	}
	addr, bits := p.Addr(), p.Bits()
	if addr.Is4In6() && bits >= 96 {
		addr, bits = addr.Unmap(), bits-96
	}
	masked, err := addr.Prefix(bits)
	if err != nil {
		return fmt.Errorf("cannot mask prefix %s: %v", p, err)
	}
	if addr = masked.Addr(); addr.Is4() {
		b.v4 = append(b.v4, uint64(number4(addr))<<8|uint64(bits))
	} else {
		b.v6 = append(b.v6, prefix6{number6(addr), uint8(bits)})
	}
	return nil
}

// AddText adds "192.0.2.1", "192.0.2.0/24", "2001:db8::1" or "2001:db8::/32". Octets with leading zeros, which some programs read as octal, and zones are refused.
func (b *Builder) AddText(text []byte) error {
	p, err := Parse(text)
	if err != nil {
		return err
	}
	return b.Add(p)
}

// Parse reads an address or a network; an address is a network of full length.
func Parse(text []byte) (netip.Prefix, error) {
	if bytes.IndexByte(text, '/') >= 0 {
		p, err := netip.ParsePrefix(string(text))
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("not a network: %q", text)
		}
		return p, nil
	}
	addr, err := netip.ParseAddr(string(text))
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("not an IP address or network: %q", text)
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// Build returns the set and empties the builder.
func (b *Builder) Build() *Set {
	s := &Set{}
	slices.Sort(b.v4)
	b.v4 = outermost4(b.v4)
	s.v4start, s.v4bits = make([]uint32, len(b.v4)), make([]uint8, len(b.v4))
	for i, p := range b.v4 {
		s.v4start[i], s.v4bits[i] = uint32(p>>8), uint8(p)
	}
	s.v4index = index4(s.v4start)

	slices.SortFunc(b.v6, func(x, y prefix6) int {
		return cmp.Or(cmp.Compare(x.start.hi, y.start.hi), cmp.Compare(x.start.lo, y.start.lo), cmp.Compare(x.bits, y.bits))
	})
	b.v6 = outermost6(b.v6)
	s.v6start, s.v6bits = make([]uint128, len(b.v6)), make([]uint8, len(b.v6))
	for i, p := range b.v6 {
		s.v6start[i], s.v6bits[i] = p.start, p.bits
	}
	b.v4, b.v6 = nil, nil
	return s
}

// outermost4 drops, in place, every prefix that lies inside an earlier one. Prefixes nest or are disjoint, so comparing with the last kept one is enough.
func outermost4(sorted []uint64) []uint64 {
	kept := sorted[:0]
	for _, p := range sorted {
		if n := len(kept); n > 0 {
			last := kept[n-1]
			if uint32((p^last)>>8)>>(32-uint8(last)) == 0 {
				continue
			}
		}
		kept = append(kept, p)
	}
	return kept
}

func outermost6(sorted []prefix6) []prefix6 {
	kept := sorted[:0]
	for _, p := range sorted {
		if n := len(kept); n > 0 && p.start.samePrefix(kept[n-1].start, kept[n-1].bits) {
			continue
		}
		kept = append(kept, p)
	}
	return kept
}
