package upstream

import (
	"context"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
)

const (
	minSweep = 20 * time.Millisecond
	maxSweep = time.Second
)

// sweepLoop is the pool's janitor: it moves the endpoints' coarse clocks on and closes connections that were idle or alive too long.
func (p *Pool) sweepLoop(ctx context.Context) {
	ticker := time.NewTicker(p.sweepEvery())
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, t := range p.targets {
				t.sweep(now)
				t.sweepStreams(now)
				t.sweepCircuit(now)
			}
			p.sweepOutliers(now)
			p.judgePanic(now)
			if t, ok := p.balance.(balance.Ticker); ok {
				t.Tick(now)
			}
		}
	}
}

// sweepEvery is fine enough for everything that the janitor watches.
func (p *Pool) sweepEvery() time.Duration {
	bounds := []time.Duration{p.cfg.Pool.IdleTimeout, p.cfg.Pool.MaxLifetime, p.cfg.Balancing.Interval}
	if b := p.cfg.Breaker; b != nil {
		bounds = append(bounds, b.OpenFor)
	}
	if o := p.cfg.Outliers; o != nil {
		bounds = append(bounds, o.Interval, o.EjectionTime)
	}
	return sweepEvery(bounds...)
}

// sweepEvery is an eighth of the shortest bound, so that none is overstepped by more than that; 0 = no bound.
func sweepEvery(bounds ...time.Duration) time.Duration {
	every := maxSweep
	for _, bound := range bounds {
		if bound > 0 {
			every = min(every, bound/8)
		}
	}
	return max(every, minSweep)
}

func (t *Target) sweep(now time.Time) {
	e, l := t.endpoint, &t.limits
	ns := now.UnixNano()
	e.now.Store(ns)
	e.window.move(now, e.metrics)
	e.dropIdle(func(c *Conn) bool {
		return l.idle > 0 && ns-c.lastUsed >= int64(l.idle) || l.lifetime > 0 && ns-c.created >= int64(l.lifetime)
	})
}
