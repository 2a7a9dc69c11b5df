package balance

import (
	"math"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// ipHash sends a client always to the same member: each member draws a number from its name and the client, the highest one wins. When a member leaves only its own
// clients move, and they spread over all the others.
type ipHash struct {
	members []Member
	names   []uint64
}

func newIPHash(members []Member, _ config.Balancing) Algorithm {
	return &ipHash{members: members, names: names(members)}
}

func (a *ipHash) Pick(h *Hint) int {
	return reserve(a.members, rendezvous(a.members, a.names, h, h.hash()), h)
}

// rendezvous is the free member with the highest number for the key, its chance to have that being as its weight.
func rendezvous(members []Member, names []uint64, h *Hint, key uint64) int {
	best, bestScore := -1, 0.0
	for i := range members {
		m := &members[i]
		if !m.free(h, i) {
			continue
		}
		u := (float64(mix(names[i], key)>>11) + 0.5) / (1 << 53) // between 0 and 1, neither of them
		if score := -float64(m.Weight) / math.Log(u); best < 0 || score > bestScore {
			best, bestScore = i, score
		}
	}
	if best < 0 && h.relax() {
		return rendezvous(members, names, h, key)
	}
	return best
}
