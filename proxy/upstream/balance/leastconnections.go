package balance

import "sync"

// leastConnections takes the member with the fewest exchanges for its weight. Equal ones take turns.
type leastConnections struct {
	members []Member

	mu    sync.Mutex // makes comparing and reserving one step; guards start
	start int
}

func newLeastConnections(members []Member) Algorithm { return &leastConnections{members: members} }

func (a *leastConnections) Pick(h *Hint) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	best := a.pick(h)
	if best < 0 && !h.empty() {
		best = a.pick(nil)
	}
	if best >= 0 {
		a.members[best].Active.Add(1)
		a.start = best + 1
	}
	return best
}

func (a *leastConnections) pick(h *Hint) int {
	best := -1
	var bestLoad, bestWeight int64
	for k := range a.members {
		i := (a.start + k) % len(a.members)
		m := &a.members[i]
		if !m.up() || h.has(i) {
			continue
		}
		// The load with this exchange on it, compared as fractions: load/weight < bestLoad/bestWeight.
		load, weight := m.Active.Load()+1, int64(m.Weight)
		if best < 0 || load*bestWeight < bestLoad*weight {
			best, bestLoad, bestWeight = i, load, weight
		}
	}
	return best
}
