package balance

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is how a member answered so far. It outlives the algorithm: a reload takes it over.
type Stats struct {
	Answers atomic.Uint64
	Errors  atomic.Uint64
	Latency atomic.Int64 // sum of all answers', in nanoseconds

	factor atomic.Int32 // adaptive: lost permille of the weight

	mu   sync.Mutex // guards the rest
	ewma float64    // nanoseconds
	at   time.Time  // of the last change of ewma
}

// Observe counts one answer and how long its head took.
func (s *Stats) Observe(took time.Duration, failed bool) {
	s.Answers.Add(1)
	s.Latency.Add(int64(took))
	if failed {
		s.Errors.Add(1)
	}
}

// ObservePeak moves the average: up at once, down slowly. After decay the past counts for about a third.
func (s *Stats) ObservePeak(now time.Time, took, decay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := float64(took)
	if x >= s.ewma {
		s.ewma = x
	} else {
		keep := math.Exp(-float64(now.Sub(s.at)) / float64(decay))
		s.ewma = s.ewma*keep + x*(1-keep)
	}
	s.at = now
}

// peak is the average now: without answers it falls, so that a member that was slow is tried again.
func (s *Stats) peak(now time.Time, decay time.Duration) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ewma == 0 {
		return 0
	}
	return s.ewma * math.Exp(-max(0, float64(now.Sub(s.at)))/float64(decay))
}
