package observe

import (
	"math"
	"sync/atomic"
	"time"
)

// bucketCount is the number of finite buckets of every latency histogram.
const bucketCount = 20

// latencyBounds are upper bounds in nanoseconds, inclusive. They start fine because a proxied request on one machine takes a fraction of a millisecond.
var latencyBounds = [bucketCount]int64{
	25e3, 50e3, 100e3, 200e3, 300e3, 500e3,
	1e6, 2e6, 3e6, 5e6, 10e6, 25e6, 50e6, 100e6, 250e6, 500e6,
	1e9, 2.5e9, 10e9, 60e9,
}

// LatencyBounds returns the upper bounds of the histogram buckets in seconds. The last bucket of a snapshot has no bound.
func LatencyBounds() []float64 {
	out := make([]float64, bucketCount)
	for i, b := range latencyBounds {
		out[i] = float64(b) / 1e9
	}
	return out
}

// Histogram counts durations in fixed buckets. The zero value is ready; it must not be copied.
type Histogram struct {
	sum    atomic.Int64 // nanoseconds
	counts [bucketCount + 1]atomic.Uint64
}

// Observe counts one duration. Negative durations, which a stepped clock can produce, count as zero.
func (h *Histogram) Observe(d time.Duration) {
	if d < 0 {
		d = 0
	}
	i := 0
	for i < bucketCount && int64(d) > latencyBounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// HistogramSnapshot is a histogram at one moment: Counts are per bucket, not cumulative, one longer than the bounds.
type HistogramSnapshot struct {
	Counts [bucketCount + 1]uint64
	Count  uint64
	Sum    time.Duration
}

// Snapshot reads the histogram. Concurrent observations may or may not be in it.
func (h *Histogram) Snapshot() HistogramSnapshot {
	var s HistogramSnapshot
	h.addTo(&s)
	return s
}

func (h *Histogram) addTo(s *HistogramSnapshot) {
	for i := range h.counts {
		n := h.counts[i].Load()
		s.Counts[i] += n
		s.Count += n
	}
	s.Sum += time.Duration(h.sum.Load())
}

// Quantile estimates the q-quantile (0 < q < 1); see the function of the same name.
func (s *HistogramSnapshot) Quantile(q float64) time.Duration {
	return time.Duration(Quantile(q, LatencyBounds(), s.Counts[:]) * 1e9)
}

// cumulative gives the counts the way Prometheus wants them: upper bound in seconds to the number at or below it.
func (s *HistogramSnapshot) cumulative() map[float64]uint64 {
	m := make(map[float64]uint64, bucketCount)
	var n uint64
	for i, b := range latencyBounds {
		n += s.Counts[i]
		m[float64(b)/1e9] = n
	}
	return m
}

// Quantile estimates the q-quantile in seconds from non-cumulative counts, linear inside the bucket it falls in. Counts is one longer than
// bounds. Without observations it is 0; beyond the last bound it is the last bound, the most that is known.
func Quantile(q float64, bounds []float64, counts []uint64) float64 {
	var total uint64
	for _, n := range counts {
		total += n
	}
	if total == 0 || len(bounds) == 0 || math.IsNaN(q) {
		return 0
	}
	rank := q * float64(total)
	var seen float64
	for i, n := range counts {
		if n == 0 || seen+float64(n) < rank {
			seen += float64(n)
			continue
		}
		if i >= len(bounds) {
			break
		}
		low := 0.0
		if i > 0 {
			low = bounds[i-1]
		}
		return low + (bounds[i]-low)*max(0, rank-seen)/float64(n)
	}
	return bounds[len(bounds)-1]
}
