package upstream

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
)

// outlier is what live traffic says against an endpoint.
type outlier struct {
	ejected atomic.Bool  // the balancers look at it
	failed  atomic.Int32 // in a row

	mu    sync.Mutex // guards the rest and makes a change one step
	until time.Time
	times int // ejections that count for the length of the next
}

// comparison remembers the counters of the targets at the start of the interval. Only the janitor uses it.
type comparison struct {
	since time.Time
	seen  []reading
}

// reading is the counters of one target, or what they grew by.
type reading struct {
	answers, errors uint64
	latency         int64
}

func read(s *balance.Stats) reading {
	return reading{s.Answers.Load(), s.Errors.Load(), s.Latency.Load()}
}

// countOutlier judges the end of an attempt by failures in a row.
func (t *Target) countOutlier(failed bool) {
	o, e := t.pool.cfg.Outliers, t.endpoint
	switch {
	case o == nil || o.ConsecutiveErrors == 0:
	case !failed:
		if e.outlier.failed.Load() != 0 {
			e.outlier.failed.Store(0)
		}
	default:
		if n := e.outlier.failed.Add(1); int(n) >= o.ConsecutiveErrors && !e.outlier.ejected.Load() {
			t.pool.expel(t, observe.OutlierErrors, fmt.Sprintf("%d failures in a row", n), time.Now())
		}
	}
}

// expel takes a target out for a while, unless too many are out already.
func (p *Pool) expel(t *Target, why observe.Outlier, reason string, now time.Time) {
	o, e := p.cfg.Outliers, t.endpoint
	p.expelling.Lock() // so that two at once do not both see room for one
	defer p.expelling.Unlock()
	out := 0
	for _, other := range p.targets {
		if other.endpoint.outlier.ejected.Load() {
			out++
		}
	}
	if len(p.targets) == 1 || (out+1)*100 > o.MaxEjected*len(p.targets) {
		e.metrics.OutliersKept.Add(1)
		e.outlier.failed.Store(0)
		return
	}
	x := &e.outlier
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ejected.Load() {
		return
	}
	x.times++
	length := min(o.EjectionTime*time.Duration(x.times), max(o.MaxEjectionTime, o.EjectionTime))
	x.until = now.Add(length)
	x.ejected.Store(true)
	e.metrics.Ejected.Store(1)
	e.metrics.Outliers[why].Add(1)
	p.deps.Logger.Warn("outlier ejected", slog.String("upstream", p.cfg.ID), slog.String("target", t.Address),
		slog.String("reason", reason), slog.Duration("for", length))
	p.tell(HealthChange{Upstream: p.cfg.ID, Address: t.Address, Action: "eject", Reason: why.String() + ": " + reason, At: now})
	p.judgePanic(now)
}

// sweepOutliers lets ejected targets back in when their time is over, and compares the targets once per interval.
func (p *Pool) sweepOutliers(now time.Time) {
	o := p.cfg.Outliers
	if o == nil {
		return
	}
	for _, t := range p.targets {
		x := &t.endpoint.outlier
		x.mu.Lock()
		back := x.ejected.Load() && !now.Before(x.until)
		if back {
			x.failed.Store(0)
			t.endpoint.warmUp(p, now)
			x.ejected.Store(false)
			t.endpoint.metrics.Ejected.Store(0)
		}
		x.mu.Unlock()
		if back {
			p.deps.Logger.Info("outlier restored", slog.String("upstream", p.cfg.ID), slog.String("target", t.Address))
			p.tell(HealthChange{Upstream: p.cfg.ID, Address: t.Address, Healthy: true, Action: "restore", Reason: "ejection time is over", At: now})
		}
	}
	if now.Sub(p.compared.since) >= o.Interval {
		p.compare(o, now)
	}
}

// compare judges the interval that ends now.
func (p *Pool) compare(o *config.Outliers, now time.Time) {
	first := p.compared.seen == nil
	grown := make([]reading, len(p.targets))
	is := make([]reading, len(p.targets))
	for i, t := range p.targets {
		is[i] = read(&t.endpoint.stats)
		if !first {
			was := p.compared.seen[i]
			grown[i] = reading{is[i].answers - was.answers, is[i].errors - was.errors, is[i].latency - was.latency}
		}
	}
	p.compared = comparison{now, is}
	if first {
		return
	}
	var rates, latencies []float64
	for _, g := range grown {
		if g.answers >= uint64(o.MinRequests) {
			rates, latencies = append(rates, g.rate()), append(latencies, g.mean())
		}
	}
	if len(rates) < 2 {
		p.forgive()
		return
	}
	slices.Sort(rates)
	slices.Sort(latencies)
	// Of an even number the better middle one: of two targets the good one is the measure.
	rate, latency := rates[len(rates)/2], latencies[(len(latencies)-1)/2]
	for i, t := range p.targets {
		g := grown[i]
		if g.answers < uint64(o.MinRequests) || t.endpoint.outlier.ejected.Load() {
			continue
		}
		if o.SuccessRateGap > 0 && rate-g.rate() >= float64(o.SuccessRateGap) {
			p.expel(t, observe.OutlierRate, fmt.Sprintf("%.1f%% of %d succeeded, the median is %.1f%%", g.rate(), g.answers, rate), now)
		} else if o.LatencyFactor > 0 && g.mean() >= float64(o.LatencyFactor)*latency && g.mean() > float64(o.LatencyFloor) {
			p.expel(t, observe.OutlierLatency, fmt.Sprintf("%v on average, the median is %v", time.Duration(g.mean()).Round(time.Microsecond), time.Duration(latency).Round(time.Microsecond)), now)
		}
	}
	p.forgive()
}

// forgive makes the next ejection of targets that are in shorter by one step.
func (p *Pool) forgive() {
	for _, t := range p.targets {
		x := &t.endpoint.outlier
		x.mu.Lock()
		if !x.ejected.Load() {
			x.times = max(0, x.times-1)
		}
		x.mu.Unlock()
	}
}

// rate is the share of successes in percent, mean the time to the head of an answer in nanoseconds.
func (g reading) rate() float64 { return 100 * float64(g.answers-g.errors) / float64(g.answers) }
func (g reading) mean() float64 { return float64(g.latency) / float64(g.answers) }

// forget lets a target in whose upstream has no outlier detection any more.
func (x *outlier) forget(m *observe.TargetMetrics) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ejected.Store(false)
	x.failed.Store(0)
	x.times = 0
	m.Ejected.Store(0)
}
