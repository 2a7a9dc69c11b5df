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

// quantiles are the median and the 99th of a hundred, of few the longest; 0 without samples.
func (s *samples) quantiles() (p50, p99 time.Duration) {
	if len(s.ring) == 0 {
		return 0, 0
	}
	sorted := slices.Clone(s.ring)
	slices.Sort(sorted)
	return sorted[len(sorted)/2], sorted[len(sorted)*99/100]
}
