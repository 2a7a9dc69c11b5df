package balance

import (
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// roundRobin takes the members in turn, whatever their weight.
type roundRobin struct {
	members []Member
	turn    atomic.Uint64
}

func newRoundRobin(members []Member, _ config.Balancing) Algorithm {
	return &roundRobin{members: members}
}

func (a *roundRobin) Pick(h *Hint) int {
	return reserve(a.members, nth(a.members, h, a.turn.Add(1)-1), h)
}
