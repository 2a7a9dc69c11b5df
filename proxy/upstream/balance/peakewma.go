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
		if a.cost(j, now) < a.cost(i, now) {
			i = j
		}
	}
	return reserve(a.members, i)
}

// unknown is the latency a member is taken to have until it has answered: so short that it is tried soon, not so short that all requests run to it at once.
const unknown = float64(time.Millisecond)

func (a *peakEWMA) cost(i int, now time.Time) float64 {
	m := &a.members[i]
	latency := unknown
	if l := m.Stats.peak(now, a.decay); l > 0 {
		latency = l
	}
	return latency * float64(m.Active.Load()+1) / float64(m.Weight)
}
