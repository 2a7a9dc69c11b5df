package balance

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

const (
	fullFactor  = 1000 // permille of the configured weight
	leastFactor = 100  // what a member keeps however bad it is, so that it is seen when it is well again
	minAnswers  = 10   // fewer in an interval prove nothing against a member
)

// adaptive draws by weight, and changes the weights: a member whose answers of the last interval were too slow or too often errors loses three tenths of its own, a good one wins a tenth back.
type adaptive struct {
	members []Member
	p       config.Balancing

	mu   sync.Mutex // guards the rest; only Tick uses it
	at   time.Time
	seen []reading
}

// reading is a member's Stats at the start of the interval.
type reading struct {
	answers, errors uint64
	latency         int64
}

func newAdaptive(members []Member, p config.Balancing) Algorithm {
	a := &adaptive{members: members, p: p, seen: make([]reading, len(members))}
	for i := range members {
		a.seen[i] = read(members[i].Stats)
	}
	return a
}

func read(s *Stats) reading { return reading{s.Answers.Load(), s.Errors.Load(), s.Latency.Load()} }

func (a *adaptive) Pick(h *Hint) int {
	var sum uint64
	for i := range a.members {
		if m := &a.members[i]; m.free(h, i) {
			sum += m.adapted()
		}
	}
	if sum > 0 {
		r := rand.Uint64N(sum)
		for i := range a.members {
			m := &a.members[i]
			if !m.free(h, i) {
				continue
			}
			w := m.adapted()
			if r < w {
				return reserve(a.members, i, h)
			}
			r -= w
		}
	}
	return reserve(a.members, nth(a.members, h, rand.Uint64()), h) // none is free, or the weights fell meanwhile
}

// adapted is the weight as it is now.
func (m *Member) adapted() uint64 {
	return uint64(m.Weight) * uint64(fullFactor-m.Stats.factor.Load())
}

// Tick judges the members once per interval.
func (a *adaptive) Tick(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at.IsZero() {
		a.at = now
	}
	if now.Sub(a.at) < a.p.Interval {
		return
	}
	a.at = now
	for i := range a.members {
		s := a.members[i].Stats
		is, was := read(s), a.seen[i]
		a.seen[i] = is
		factor := fullFactor - s.factor.Load()
		if a.bad(is.answers-was.answers, is.errors-was.errors, is.latency-was.latency) {
			factor = max(leastFactor, factor*7/10)
		} else {
			factor = min(fullFactor, factor*11/10)
		}
		s.factor.Store(fullFactor - factor)
	}
}

func (a *adaptive) bad(answers, errors uint64, latency int64) bool {
	if answers < minAnswers {
		return false
	}
	return errors*100 > uint64(a.p.MaxErrorPercent)*answers || latency/int64(answers) > int64(a.p.MaxLatency)
}
