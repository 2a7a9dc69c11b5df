package upstream

import (
	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// Snapshot is the pool as the admin API shows it.
func (p *Pool) Snapshot() api.Upstream {
	u := api.Upstream{ID: p.cfg.ID, LoadBalancing: p.cfg.LoadBalancing, Panic: p.panics.Load(), Targets: make([]api.Target, 0, len(p.targets))}
	for _, t := range p.targets {
		u.Targets = append(u.Targets, t.snapshot())
	}
	return u
}

func (t *Target) snapshot() api.Target {
	e, m := t.endpoint, t.endpoint.metrics
	s := api.Target{
		Address: t.Address, Weight: t.Weight, Zone: t.pool.cfg.Targets[t.Index].Zone, Status: observe.HealthUnknown.String(),
		Active: m.Active.Load(), Idle: m.Idle.Load(), Waiting: m.Waiting.Load(),
		Requests: m.Requests.Load(), Failures: m.FailureTotal(), FailureRate: e.failureRate(), LastError: e.lastErrorText(),
	}
	if t.pool.cfg.HealthCheck != nil {
		s.Status = observe.Health(m.Health.Load()).String()
		s.LastCheck = e.lastCheck()
	}
	if e.outlier.ejected.Load() {
		s.Status = "ejected"
		e.outlier.mu.Lock()
		s.EjectedUntil = e.outlier.until
		e.outlier.mu.Unlock()
	}
	s.Ejections = m.Ejections.Load()
	for i := range m.Outliers {
		s.Ejections += m.Outliers[i].Load()
	}
	if c := observe.Circuit(m.Circuit.Load()); c != observe.CircuitNone {
		s.Circuit, s.CircuitOpens = c.String(), m.CircuitOpens.Load()
	}
	return s
}
