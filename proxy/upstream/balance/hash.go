package balance

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// Hash is the key that a text of a request stands for. It is the same in every process, so several proxies place a request alike.
func Hash(b []byte) uint64 { return xxhash.Sum64(b) }

// HashAddr is the key of a client. An IPv4 address is the same client in IPv6 form.
func HashAddr(a netip.Addr) uint64 {
	b := a.As16()
	return xxhash.Sum64(b[:])
}

// mix makes another, unrelated number of two (the finalizer of MurmurHash3).
func mix(a, b uint64) uint64 {
	a ^= b * 0x9e3779b97f4a7c15
	a ^= a >> 33
	a *= 0xff51afd7ed558ccd
	a ^= a >> 33
	a *= 0xc4ceb9fe1a85ec53
	return a ^ a>>33
}

// names hashes the names of the members. Two members of one name get different hashes.
func names(members []Member) []uint64 {
	out := make([]uint64, len(members))
	seen := map[uint64]uint64{}
	for i := range members {
		h := xxhash.Sum64String(members[i].Name)
		n := seen[h]
		seen[h]++
		if n > 0 {
			h = mix(h, n)
		}
		out[i] = h
	}
	return out
}
