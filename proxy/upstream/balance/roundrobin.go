package balance

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// roundRobin takes the members in turn, whatever their weight. A second choice takes no turn: with two members every request after a failed one would else begin with the one that failed.
type roundRobin struct {
	members []Member
	turn    atomic.Uint64
}

func newRoundRobin(members []Member, _ config.Balancing) Algorithm {
	return &roundRobin{members: members}
}

func (a *roundRobin) Pick(h *Hint) int {
	if !h.empty() {
		return reserve(a.members, nth(a.members, h, rand.Uint64()), h)
	}
	return reserve(a.members, nth(a.members, h, a.turn.Add(1)-1), h)
}
