package balance

import (
	"math/rand/v2"
	"sync"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// weighted is nginx's smooth weighted round robin: every member gains its weight, the richest is chosen and pays the sum. Over any run of sum(weights) picks each
// member is chosen exactly weight times, and its turns are spread out instead of coming in a row. A second choice is no turn, it is made by chance.
type weighted struct {
	members []Member

	mu      sync.Mutex // guards current
	current []int
}

func newWeighted(members []Member, _ config.Balancing) Algorithm {
	return &weighted{members: members, current: make([]int, len(members))}
}

func (a *weighted) Pick(h *Hint) int {
	if !h.empty() {
		return reserve(a.members, second(a.members, h), h)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return reserve(a.members, a.pick(), h)
}

// second chooses by chance, in proportion to the weights, among the members that were not tried.
func second(members []Member, h *Hint) int {
	sum := 0
	for i := range members {
		if members[i].free(h, i) {
			sum += members[i].Weight
		}
	}
	if sum > 0 {
		rest, last := rand.N(sum), -1
		for i := range members {
			if members[i].free(h, i) {
				if last, rest = i, rest-members[i].Weight; rest < 0 {
					break
				}
			}
		}
		return last
	}
	if h.relax() {
		return second(members, h)
	}
	return -1
}

func (a *weighted) pick() int {
	best, sum := -1, 0
	for i := range a.members {
		m := &a.members[i]
		if !m.up() {
			a.current[i] = 0 // comes back without a debt or a fortune
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
