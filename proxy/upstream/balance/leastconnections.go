package balance

import (
	"sync"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// leastLoaded takes the member with the fewest exchanges, or with the fewest tokens of exchanges, this one included; per weight if it weighs. Equal ones take turns.
type leastLoaded struct {
	members []Member
	tokens  bool
	weighs  bool

	mu    sync.Mutex // makes comparing and reserving one step; guards start
	start int
}

func newLeastConnections(members []Member, _ config.Balancing) Algorithm {
	return &leastLoaded{members: members}
}

func newWeightedLeastConnections(members []Member, _ config.Balancing) Algorithm {
	return &leastLoaded{members: members, weighs: true}
}

func newLeastTokensQueued(members []Member, _ config.Balancing) Algorithm {
	return &leastLoaded{members: members, tokens: true, weighs: true}
}

func (a *leastLoaded) Pick(h *Hint) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	best := a.pick(h)
	if best < 0 && h.relax() {
		best = a.pick(h)
	}
	if best >= 0 {
		a.start = best + 1
	}
	return reserve(a.members, best, h)
}

func (a *leastLoaded) pick(h *Hint) int {
	best := -1
	var bestLoad, bestWeight float64
	for k := range a.members {
		i := (a.start + k) % len(a.members)
		m := &a.members[i]
		if !m.free(h, i) {
			continue
		}
		// The load with this exchange on it, compared as fractions: load/weight < bestLoad/bestWeight.
		load, weight := a.load(m, h), 1.0
		if a.weighs {
			weight = float64(m.Weight)
		}
		if best < 0 || load*bestWeight < bestLoad*weight {
			best, bestLoad, bestWeight = i, load, weight
		}
	}
	return best
}

func (a *leastLoaded) load(m *Member, h *Hint) float64 {
	if a.tokens {
		return float64(m.Queued.Load() + h.Tokens())
	}
	return float64(m.Active.Load() + 1)
}
