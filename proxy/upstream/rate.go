package upstream

import (
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// rateSpan is how far back a failure rate looks, at least; at most twice as far.
const rateSpan = 10 * time.Second

// rateWindow remembers the counters at the start of this span and of the one before.
type rateWindow struct {
	mu           sync.Mutex // guards the rest
	since        time.Time
	before, here counts
}

type counts struct{ requests, failures uint64 }

func readCounts(m *observe.TargetMetrics) counts { return counts{m.Requests.Load(), m.FailureTotal()} }

func (w *rateWindow) move(now time.Time, m *observe.TargetMetrics) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.since) >= rateSpan {
		w.since, w.before, w.here = now, w.here, readCounts(m)
	}
}

// failureRate is the share of attempts that failed in the last seconds, 0 to 1.
func (e *endpoint) failureRate() float64 {
	now := readCounts(e.metrics)
	e.window.mu.Lock()
	before := e.window.before
	e.window.mu.Unlock()
	n := now.requests - before.requests
	if n == 0 {
		return 0
	}
	return min(1, float64(now.failures-before.failures)/float64(n))
}
