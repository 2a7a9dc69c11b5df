package balance

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// localityAware keeps requests in the proxy's own zone while enough members are up there. When fewer are, the part that is missing goes to the other zones: with a minimum of 70 percent and 35 up,
// half of the requests leave. Within a zone the members take turns.
type localityAware struct {
	members       []Member
	local, remote []int
	least         int // percent of the local members
	turn          atomic.Uint64
}

func newLocalityAware(members []Member, p config.Balancing) Algorithm {
	a := &localityAware{members: members, least: p.MinLocal}
	for i := range members {
		switch {
		case members[i].Weight == 0:
		case members[i].Zone == p.Zone:
			a.local = append(a.local, i)
		default:
			a.remote = append(a.remote, i)
		}
	}
	return a
}

func (a *localityAware) Pick(h *Hint) int {
	i := a.pick(h)
	if i < 0 && h.relax() {
		i = a.pick(h)
	}
	return reserve(a.members, i, h)
}

func (a *localityAware) pick(h *Hint) int {
	first, second := a.local, a.remote
	if !a.stays() {
		first, second = second, first
	}
	k := a.turn.Add(1) - 1
	if i := nthOf(a.members, first, h, k); i >= 0 {
		return i
	}
	return nthOf(a.members, second, h, k)
}

// stays decides for one request whether it is for the own zone.
func (a *localityAware) stays() bool {
	up := countOf(a.members, a.local, nil) * 100
	need := a.least * len(a.local)
	return up >= need || rand.IntN(max(1, need)) < up
}
