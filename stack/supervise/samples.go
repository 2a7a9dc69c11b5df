package supervise

import (
	"slices"
	"time"
)

// maxSamples bounds the memory of a latency figure.
const maxSamples = 256

// samples is a ring of the newest durations.
type samples struct {
	ring []time.Duration
	at   int
}

func (s *samples) add(d time.Duration) {
	if len(s.ring) < maxSamples {
		s.ring = append(s.ring, d)
		return
	}
	s.ring[s.at] = d
	s.at = (s.at + 1) % maxSamples
}

// quantile is 0 without samples; of few the 99th of a hundred is the longest.
func (s *samples) quantile(percent int) time.Duration {
	if len(s.ring) == 0 {
		return 0
	}
	sorted := slices.Clone(s.ring)
	slices.Sort(sorted)
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}
