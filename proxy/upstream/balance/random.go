package balance

import "math/rand/v2"

// random takes any member with the same chance, whatever its weight.
type random struct{ members []Member }

func newRandom(members []Member) Algorithm { return &random{members: members} }

func (a *random) Pick(h *Hint) int {
	i := nth(a.members, h, rand.Uint64())
	if i >= 0 {
		a.members[i].Active.Add(1)
	}
	return i
}
