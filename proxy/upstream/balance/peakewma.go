package balance

import (
	"cmp"
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
		switch { // who has not answered yet is tried soon, however fast the other is, but not by all requests at once
		case li == 0:
			li = min(unknown, cmp.Or(lj, unknown))
			lj = cmp.Or(lj, unknown)
		case lj == 0:
			lj = min(unknown, li)
		}
		if a.cost(j, lj) < a.cost(i, li) {
			i = j
		}
	}
	return reserve(a.members, i)
}

// unknown is the longest that a member without answers is taken to need.
const unknown = float64(time.Millisecond)

// cost is what is to be expected of member i with one exchange more.
func (a *peakEWMA) cost(i int, latency float64) float64 {
	m := &a.members[i]
	return latency * float64(m.Active.Load()+1) / float64(m.Weight)
}
