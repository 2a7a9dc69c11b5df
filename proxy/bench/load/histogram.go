package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations in log-linear buckets: 64 per power of two, so a quantile is at most 1.6 % off.
// The zero value is ready to use. It is not safe for concurrent use.
type Histogram struct {
	counts [64 * 40]uint64
	total  uint64
	sum    time.Duration
	max    time.Duration
}

func bucket(ns uint64) int {
	if ns < 64 {
		return int(ns)
	}
	shift := bits.Len64(ns) - 7 // keep seven significant bits: the leading one and six more
	i := (shift+1)*64 + int(ns>>shift) - 64
	return min(i, 64*40-1)
}

func bucketUpper(i int) time.Duration {
	if i < 64 {
		return time.Duration(i)
	}
	shift := i/64 - 1
	return time.Duration((uint64(i%64)+64+1)<<shift) - 1
}

// Add counts one duration; negative ones count as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.total++
	h.sum += d
	h.max = max(h.max, d)
}

// Quantile returns the duration that the share q (0..1) of all samples did not exceed; 0 when empty.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	want := uint64(q * float64(h.total))
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if seen > want {
			return min(bucketUpper(i), h.max)
		}
	}
	return h.max
}

// Total returns how many samples were counted.
func (h *Histogram) Total() uint64 { return h.total }

// Mean returns the average; 0 when empty.
func (h *Histogram) Mean() time.Duration {
	if h.total == 0 {
		return 0
	}
	return h.sum / time.Duration(h.total)
}

// Max returns the largest sample.
func (h *Histogram) Max() time.Duration { return h.max }

// merge adds the samples of another.
func (h *Histogram) merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.sum += other.sum
	h.max = max(h.max, other.max)
}
