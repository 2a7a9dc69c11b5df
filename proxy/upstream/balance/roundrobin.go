package balance

import "sync/atomic"

// roundRobin takes the members in turn, whatever their weight.
type roundRobin struct {
	members []Member
	turn    atomic.Uint64
}

func newRoundRobin(members []Member) Algorithm { return &roundRobin{members: members} }

func (a *roundRobin) Pick(h *Hint) int {
	i := nth(a.members, h, a.turn.Add(1)-1)
	if i >= 0 {
		a.members[i].Active.Add(1)
	}
	return i
}
