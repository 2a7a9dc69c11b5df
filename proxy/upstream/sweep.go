package upstream

import (
	"context"
	"time"
)

const (
	minSweep = 20 * time.Millisecond
	maxSweep = time.Second
)

// sweepLoop is the pool's janitor: it moves the endpoints' coarse clocks on and closes connections that were idle or alive too long.
func (p *Pool) sweepLoop(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery(p.cfg.Pool.IdleTimeout, p.cfg.Pool.MaxLifetime))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, t := range p.targets {
				t.sweep(now)
			}
		}
	}
}

// sweepEvery is an eighth of the shorter bound, so that neither is overstepped by more than that; 0 = no bound.
func sweepEvery(idle, lifetime time.Duration) time.Duration {
	every := maxSweep
	for _, bound := range []time.Duration{idle, lifetime} {
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
