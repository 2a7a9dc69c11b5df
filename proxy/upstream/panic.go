package upstream

import "time"

// judgePanic decides whether so few targets are healthy that health no longer counts: sending everything to the few would only drown them too.
func (p *Pool) judgePanic(now time.Time) {
	threshold := p.cfg.Balancing.PanicThreshold
	if threshold == 0 {
		return
	}
	fit, all := 0, 0
	for i := range p.members {
		if m := &p.members[i]; m.Weight > 0 {
			all++
			if m.Fit() {
				fit++
			}
		}
	}
	panics := fit*100 < threshold*all
	if p.panics.Swap(panics) == panics {
		return
	}
	change := HealthChange{Upstream: p.cfg.ID, Healthy: !panics, Action: "calm", Reason: "enough targets are healthy again", At: now}
	if panics {
		p.metrics.Panics.Add(1)
		change.Action, change.Reason = "panic", "too few targets are healthy: health does not count"
	}
	p.metrics.Panicking.Store(panics)
	p.deps.Logger.Warn(change.Reason, "upstream", p.cfg.ID, "healthy", fit, "targets", all)
	p.tell(change)
}
