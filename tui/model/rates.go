package model

import (
	"math"
	"time"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
)

const (
	// quantileWindow is how far back the latency quantiles look: one refresh interval alone has too few exchanges to say p99.
	quantileWindow = 10 * time.Second
	// maxReadings bounds the window when the refresh interval is short.
	maxReadings = 60
	// SparkPoints is how many past rates a sparkline can show.
	SparkPoints = 60
)

// readings holds the recent snapshots of one proxy process, oldest first, and the rate history of each route.
type readings struct {
	window []*Snapshot
	sparks map[string][]float64
}

// add appends a reading. A new proxy process counts from zero again, so its readings never mix with those of the one before.
func (r *readings) add(s *Snapshot) {
	if len(r.window) > 0 && instance(r.window[len(r.window)-1]) != instance(s) {
		r.window = nil
	}
	r.window = append(r.window, s)
	for len(r.window) > 2 && (len(r.window) > maxReadings || s.At.Sub(r.window[0].At) > quantileWindow) {
		r.window = r.window[1:]
	}
}

func instance(s *Snapshot) string {
	if s.Proxy == nil {
		return ""
	}
	return s.Proxy.InstanceID
}

// last returns the newest reading or nil.
func (r *readings) last() *Snapshot {
	if len(r.window) == 0 {
		return nil
	}
	return r.window[len(r.window)-1]
}

// previous returns the reading before the newest, or nil when rates cannot be known yet.
func (r *readings) previous() *Snapshot {
	if len(r.window) < 2 {
		return nil
	}
	return r.window[len(r.window)-2]
}

// remember appends each route's newest rate to its history and forgets the routes that are gone.
func (r *readings) remember(rows []RouteRow) {
	next := make(map[string][]float64, len(rows))
	for i := range rows {
		past := r.sparks[rows[i].ID]
		if !math.IsNaN(rows[i].Rate) {
			past = append(past, rows[i].Rate)
		}
		if len(past) > SparkPoints {
			past = append([]float64(nil), past[len(past)-SparkPoints:]...)
		}
		next[rows[i].ID] = past
		rows[i].Spark = past
	}
	r.sparks = next
}

// perSecond is the rate of a counter between two readings, NaN when no time passed. A counter that went back started anew.
func perSecond(before, after uint64, secs float64) float64 {
	if secs <= 0 {
		return math.NaN()
	}
	return float64(grown(before, after)) / secs
}

func grown(before, after uint64) uint64 {
	if after < before {
		return after
	}
	return after - before
}

// share is part/whole, NaN when nothing happened.
func share(part, whole uint64) float64 {
	if whole == 0 {
		return math.NaN()
	}
	return float64(part) / float64(whole)
}

// Histogram is a latency distribution: Counts[i] values were at most Bounds[i] seconds, the last count has no bound.
type Histogram struct {
	Bounds []float64
	Counts []uint64
}

// since returns what was added to the histogram between two readings of a route; before may be nil.
func since(before, after *proxyapi.Route) Histogram {
	h := Histogram{Bounds: after.Bounds, Counts: after.Counts}
	if before == nil || len(before.Counts) != len(after.Counts) || len(before.Bounds) != len(after.Bounds) {
		return h
	}
	diff := make([]uint64, len(after.Counts))
	for i := range diff {
		diff[i] = grown(before.Counts[i], after.Counts[i])
	}
	h.Counts = diff
	return h
}

// add sums another histogram of the same shape into h; one of another shape is left out.
func (h *Histogram) add(o Histogram) {
	if h.Counts == nil {
		h.Bounds, h.Counts = o.Bounds, append([]uint64(nil), o.Counts...)
		return
	}
	if len(h.Counts) != len(o.Counts) {
		return
	}
	for i := range h.Counts {
		h.Counts[i] += o.Counts[i]
	}
}

// Quantile is an estimate in seconds. Over means that it lies beyond the last bound, so Secs is only a lower limit.
type Quantile struct {
	Secs float64 // NaN when nothing was measured
	Over bool
}

// Quantile estimates the q-quantile (0 < q <= 1), interpolating linearly inside the bucket it falls in.
func (h Histogram) Quantile(q float64) Quantile {
	var total uint64
	for _, c := range h.Counts {
		total += c
	}
	if total == 0 || len(h.Bounds) == 0 {
		return Quantile{Secs: math.NaN()}
	}
	rank := q * float64(total)
	var seen float64
	for i, c := range h.Counts {
		if c == 0 || seen+float64(c) < rank {
			seen += float64(c)
			continue
		}
		if i >= len(h.Bounds) {
			break
		}
		lower := 0.0
		if i > 0 {
			lower = h.Bounds[i-1]
		}
		return Quantile{Secs: lower + (h.Bounds[i]-lower)*(rank-seen)/float64(c)}
	}
	return Quantile{Secs: h.Bounds[len(h.Bounds)-1], Over: true}
}
