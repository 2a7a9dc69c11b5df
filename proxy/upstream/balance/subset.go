package balance

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// subset uses a few members only, so that many proxies in front of many targets do not all keep connections to all of them. Which ones follows from the proxy's number alone (Site Reliability Engineering,
// chapter 20): proxies with numbers 0 to n/size-1 share the members out without overlap, the next so many do it by another shuffle. Members of the subset take turns; when none of them is up, the
// others stand in.
type subset struct {
	members []Member
	mine    []int
	others  []int
	turn    atomic.Uint64
}

func newSubset(members []Member, p config.Balancing) Algorithm {
	var all []int
	for i := range members {
		if members[i].Weight > 0 {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(x, y int) int { return cmp.Or(cmp.Compare(members[x].Name, members[y].Name), cmp.Compare(x, y)) })
	size := min(p.SubsetSize, len(all))
	if size == 0 {
		return &subset{members: members}
	}
	count := len(all) / size
	round, own := p.ProxyNumber/count, p.ProxyNumber%count
	rand.New(rand.NewPCG(uint64(round), 0x5eed)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return &subset{members: members, mine: all[own*size : (own+1)*size], others: slices.Concat(all[:own*size], all[(own+1)*size:])}
}

func (a *subset) Pick(h *Hint) int {
	i := a.pick(h)
	if i < 0 && h.relax() {
		i = a.pick(h)
	}
	return reserve(a.members, i, h)
}

func (a *subset) pick(h *Hint) int {
	k := a.turn.Add(1) - 1
	if i := nthOf(a.members, a.mine, h, k); i >= 0 {
		return i
	}
	return nthOf(a.members, a.others, h, k)
}
