// Package cidr answers one question fast: which listed network, if any, holds this address?
//
// It is a prefix tree laid flat. A tree with one heap node per branch costs tens of bytes for every prefix and one cache miss for every bit
// it cannot skip. But a list that only asks "is it in?" needs no nested prefixes: one that lies inside another can never change the answer. What
// is left is disjoint, so the leaves of the tree, written down in address order, are the tree: the leaf that may hold an address is
// its predecessor. The upper levels are an index over the first 16 bits for IPv4 (a 65,536-way root), so that a lookup touches the index and then a few
// neighbours; for IPv6 they are the halving steps of the search.
//
// Cost: 5 bytes for an IPv4 prefix, 17 for an IPv6 prefix, plus 256 KiB for the IPv4 index of a set with more than 4,096 prefixes. Lookup allocates nothing.
//
// An IPv4-mapped IPv6 address (::ffff:192.0.2.1) is the IPv4 address it carries, in the list and in the lookup, so neither spelling evades the other.
// An IPv6 prefix shorter than /96 never matches an IPv4 address, mapped or not. Zones are ignored.
package cidr

import (
	"net/netip"
	"sort"
)

// indexFrom is the number of IPv4 prefixes from which the 256 KiB index pays for itself.
const indexFrom = 4096

// Set is an immutable set of networks. The zero value is empty. It is safe for concurrent use.
type Set struct {
	v4start []uint32 // first address of each prefix, ascending, disjoint
	v4bits  []uint8  // its length, 0 to 32
	v4index []uint32 // v4index[h] = number of prefixes whose first address is below h<<16; nil in a small set

	v6start []uint128
	v6bits  []uint8 // 0 to 128
}

// Len returns the number of disjoint networks kept, of both families.
func (s *Set) Len() int { return len(s.v4start) + len(s.v6start) }

// Bytes returns the memory the set holds.
func (s *Set) Bytes() int {
	return 4*cap(s.v4start) + cap(s.v4bits) + 4*cap(s.v4index) + 16*cap(s.v6start) + cap(s.v6bits)
}

// Lookup returns the listed network that holds addr. Where listed networks nest, it is the outermost one.
func (s *Set) Lookup(addr netip.Addr) (netip.Prefix, bool) {
	addr = addr.Unmap()
	switch {
	case addr.Is4():
		return s.lookup4(addr)
	case addr.Is6():
		return s.lookup6(addr)
	}
	return netip.Prefix{}, false
}

func (s *Set) lookup4(addr netip.Addr) (netip.Prefix, bool) {
	a := number4(addr)
	lo, hi := 0, len(s.v4start)
	if s.v4index != nil {
		// Starts below h<<16 are all before index[h]; the predecessor of a is in the run of h or just before it.
		h := a >> 16
		lo, hi = int(s.v4index[h]), int(s.v4index[h+1])
	}
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s.v4start[mid] <= a {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return netip.Prefix{}, false
	}
	start, bits := s.v4start[lo-1], s.v4bits[lo-1]
	if (a^start)>>(32-bits) != 0 { // a shift by 32 yields 0: 0.0.0.0/0 holds everything
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr4(start), int(bits)), true
}

func (s *Set) lookup6(addr netip.Addr) (netip.Prefix, bool) {
	a := number6(addr)
	lo, hi := 0, len(s.v6start)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if !a.less(s.v6start[mid]) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return netip.Prefix{}, false
	}
	start, bits := s.v6start[lo-1], s.v6bits[lo-1]
	if !a.samePrefix(start, bits) {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr6(start), int(bits)), true
}

// index4 builds the root of the IPv4 tree.
func index4(starts []uint32) []uint32 {
	if len(starts) < indexFrom {
		return nil
	}
	index := make([]uint32, 1<<16+1)
	for h := range index[:1<<16] {
		first := uint32(h) << 16
		index[h] = uint32(sort.Search(len(starts), func(i int) bool { return starts[i] >= first }))
	}
	index[1<<16] = uint32(len(starts))
	return index
}
