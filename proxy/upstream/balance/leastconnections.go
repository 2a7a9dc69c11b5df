package balance

import (
	"sync"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// leastConnections takes the member with the fewest exchanges, per weight if it weighs. Equal ones take turns.
type leastConnections struct {
	members []Member
	weighs  bool

	mu    sync.Mutex // makes comparing and reserving one step; guards start
	start int
}

func newLeastConnections(members []Member, _ config.Balancing) Algorithm {
	return &leastConnections{members: members}
}

func newWeightedLeastConnections(members []Member, _ config.Balancing) Algorithm {
	return &leastConnections{members: members, weighs: true}
}

func (a *leastConnections) Pick(h *Hint) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	best := a.pick(h)
	if best < 0 && h.relax() {
		best = a.pick(h)
	}
	if best >= 0 {
		a.start = best + 1
	}
	return reserve(a.members, best)
}

func (a *leastConnections) pick(h *Hint) int {
	best := -1
	var bestLoad, bestWeight int64
	for k := range a.members {
		i := (a.start + k) % len(a.members)
		m := &a.members[i]
		if !m.free(h, i) {
			continue
		}
		// The load with this exchange on it, compared as fractions: load/weight < bestLoad/bestWeight.
		load, weight := m.Active.Load()+1, int64(1)
		if a.weighs {
			weight = int64(m.Weight)
		}
		if best < 0 || load*bestWeight < bestLoad*weight {
			best, bestLoad, bestWeight = i, load, weight
		}
	}
	return best
}
