package balance

import (
	"cmp"
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// maxRing bounds the points of all members together.
const maxRing = 1 << 18

// consistentHash puts every member at many points of a ring; a key belongs to the first member after it. With a load factor a member that has more than that share of
// the mean load is passed over (consistent hashing with bounded loads), so that one hot key does not drown its member.
type consistentHash struct {
	members []Member
	ring    []point
	factor  int64 // percent of the mean; 0 = unbounded
}

type point struct {
	at     uint64
	member int32
}

func newConsistentHash(members []Member, p config.Balancing) Algorithm {
	a := &consistentHash{members: members, factor: int64(p.LoadFactor)}
	hashes, sum := names(members), 0
	for i := range members {
		sum += members[i].Weight
	}
	for i := range members {
		n := members[i].Weight * p.VirtualNodes
		if sum*p.VirtualNodes > maxRing {
			n = max(members[i].Weight*maxRing/sum, min(1, members[i].Weight))
		}
		for k := range n {
			a.ring = append(a.ring, point{mix(hashes[i], uint64(k)+1), int32(i)})
		}
	}
	slices.SortFunc(a.ring, func(x, y point) int { return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.member, y.member)) })
	return a
}

func (a *consistentHash) Pick(h *Hint) int {
	i := a.pick(h)
	if i < 0 && h.relax() {
		i = a.pick(h)
	}
	return reserve(a.members, i, h)
}

func (a *consistentHash) pick(h *Hint) int {
	if len(a.ring) == 0 {
		return -1
	}
	load, weight := a.load()
	start := a.after(h.hash())
	first, misses := -1, 0
	for k := range a.ring {
		at := start + k
		if at >= len(a.ring) {
			at -= len(a.ring)
		}
		i := int(a.ring[at].member)
		m := &a.members[i]
		if !m.free(h, i) {
			continue
		}
		// Its share of the load with this exchange on it, rounded up.
		if a.factor == 0 || m.Active.Load()*weight*100 < a.factor*(load+1)*int64(m.Weight) {
			return i
		}
		if first < 0 {
			first = i
		}
		if misses++; misses > 1024 { // all that stand here are full; one of the others cannot be far above its share
			break
		}
	}
	return first
}

// after is the first point at or after the key.
func (a *consistentHash) after(key uint64) int {
	low, high := 0, len(a.ring)
	for low < high {
		if middle := int(uint(low+high) >> 1); a.ring[middle].at < key {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == len(a.ring) {
		return 0
	}
	return low
}

// load is what all members that are up carry, and their weight.
func (a *consistentHash) load() (load, weight int64) {
	if a.factor == 0 {
		return 0, 0
	}
	for i := range a.members {
		if m := &a.members[i]; m.up() {
			load += m.Active.Load()
			weight += int64(m.Weight)
		}
	}
	return load, weight
}
