package balance

import (
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// peakEWMA draws two members and takes the one that should answer first: the moving average of its latency, which rises at once and falls slowly, times the exchanges it would then have.
type peakEWMA struct {
	members []Member
	decay   time.Duration
}

func newPeakEWMA(members []Member, p config.Balancing) Algorithm {
	return &peakEWMA{members: members, decay: p.Decay}
}

func (a *peakEWMA) Pick(h *Hint) int {
	i, j := two(a.members, h)
	if i >= 0 && j >= 0 {
		now := time.Now()
		li, lj := a.members[i].Stats.peak(now, a.decay), a.members[j].Stats.peak(now, a.decay)
		if a.cost(j, orGuess(lj, li)) < a.cost(i, orGuess(li, lj)) {
			i = j
		}
	}
	return reserve(a.members, i, h)
}

// unknown is the longest that a member without answers is taken to need.
const unknown = float64(time.Millisecond)

// orGuess is the latency of a member, or, if it has not answered yet, what it is taken for: so little that it is tried soon, however fast the other one is, but not by all requests at once.
func orGuess(latency, other float64) float64 {
	switch {
	case latency > 0:
		return latency
	case other > 0:
		return min(unknown, other)
	}
	return unknown
}

// cost is what is to be expected of member i with one exchange more.
func (a *peakEWMA) cost(i int, latency float64) float64 {
	m := &a.members[i]
	return latency * float64(m.Active.Load()+1) / float64(m.Weight)
}
