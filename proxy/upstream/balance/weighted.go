package balance

import (
	"sync"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// weighted is nginx's smooth weighted round robin: every member gains its weight, the richest is chosen and pays the sum. Over any run of sum(weights) picks each
// member is chosen exactly weight times, and its turns are spread out instead of coming in a row.
type weighted struct {
	members []Member

	mu      sync.Mutex // guards current
	current []int
}

func newWeighted(members []Member, _ config.Balancing) Algorithm {
	return &weighted{members: members, current: make([]int, len(members))}
}

func (a *weighted) Pick(h *Hint) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	best := a.pick(h)
	if best < 0 && h.relax() {
		best = a.pick(h)
	}
	return reserve(a.members, best, h)
}

func (a *weighted) pick(h *Hint) int {
	best, sum := -1, 0
	for i := range a.members {
		m := &a.members[i]
		if !m.up() {
			a.current[i] = 0 // comes back without a debt or a fortune
			continue
		}
		if h.has(i) {
			continue
		}
		sum += m.Weight
		a.current[i] += m.Weight
		if best < 0 || a.current[i] > a.current[best] {
			best = i
		}
	}
	if best >= 0 {
		a.current[best] -= sum
	}
	return best
}
