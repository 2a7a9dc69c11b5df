package balance

import (
	"sync"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// leastTokens takes the member on which the least work waits, measured in tokens as language models count them: those of the requests it has not answered yet, with this one, per weight.
// Equal ones take turns. Whoever picks counts the tokens with Stats.Enqueue and gives them back with Stats.Dequeue.
type leastTokens struct {
	members []Member

	mu    sync.Mutex // guards start
	start int
}

func newLeastTokens(members []Member, _ config.Balancing) Algorithm {
	return &leastTokens{members: members}
}

func (a *leastTokens) Pick(h *Hint) int {
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

func (a *leastTokens) pick(h *Hint) int {
	best := -1
	var bestLoad, bestWeight float64
	for k := range a.members {
		i := (a.start + k) % len(a.members)
		m := &a.members[i]
		if !m.free(h, i) {
			continue
		}
		load, weight := float64(m.Stats.Queued()+h.Tokens()), float64(m.Weight)
		if best < 0 || load*bestWeight < bestLoad*weight {
			best, bestLoad, bestWeight = i, load, weight
		}
	}
	return best
}
