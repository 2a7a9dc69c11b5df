package upstream

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
)

// Pool is one named upstream.
type Pool struct {
	cfg     config.Upstream
	tls     *tlsconf.Client // nil = plain
	deps    Deps
	targets []*Target
	members []balance.Member
	balance balance.Algorithm
	placing placing
	key     []byte // of the sticky cookies, when it came from a file
	learns  bool
	metrics *observe.UpstreamMetrics

	panics    atomic.Bool
	live      atomic.Int64 // exchanges
	retrying  atomic.Int64 // of which are repeated
	expelling sync.Mutex   // held while an outlier is ejected
	compared  comparison

	onHealth atomic.Pointer[func(HealthChange)] // of the newest set that uses the pool

	mu      sync.Mutex // guards the rest
	refs    int
	started bool
	cancel  context.CancelFunc
	running sync.WaitGroup // the janitor and the checkers
}

// NewPool makes a pool outside any Set. It is used by one owner, who calls Start and Close.
func NewPool(cfg config.Upstream, deps Deps) (*Pool, error) {
	if err := deps.fill(); err != nil {
		return nil, err
	}
	client, err := newClient(&cfg, deps.Files)
	if err != nil {
		return nil, err
	}
	deps.Files = nil
	key, err := stickyKey(&cfg)
	if err != nil {
		return nil, err
	}
	return newPool(cfg, client, nil, key, randomKey(), deps)
}

// newClient reads what TLS with the targets needs.
func newClient(cfg *config.Upstream, files tlsconf.Files) (*tlsconf.Client, error) {
	client, err := tlsconf.NewClient(cfg.TLS, files)
	if err != nil {
		return nil, fmt.Errorf("cannot make upstream %s: %w", cfg.ID, err)
	}
	return client, nil
}

// newPool makes a pool that takes over the endpoints of old (may be nil). Key is that of the upstream's key file; spare signs cookies without one.
func newPool(cfg config.Upstream, client *tlsconf.Client, old *Pool, key, spare []byte, deps Deps) (*Pool, error) {
	p := &Pool{cfg: cfg, tls: client, deps: deps, refs: 1, key: key, metrics: deps.Metrics.Upstream(cfg.ID)}
	p.onHealth.Store(&deps.OnHealth)
	for i, tc := range cfg.Targets {
		e, err := p.take(tc.Address, old)
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("cannot make upstream %s: %v", cfg.ID, err)
		}
		p.targets = append(p.targets, newTarget(p, i, tc, e))
		p.members = append(p.members, p.member(tc, e))
	}
	if err := p.choose(spare); err != nil {
		p.Close()
		return nil, fmt.Errorf("cannot make upstream %s: %v", cfg.ID, err)
	}
	return p, nil
}

// take finds or makes the endpoint of an address.
func (p *Pool) take(address string, old *Pool) (*endpoint, error) {
	secure := p.tls.Digest()
	e := p.endpoint(address, secure)                                        // one address listed twice is one endpoint
	if e == nil && old != nil && versionOf(&old.cfg) == versionOf(&p.cfg) { // else its connections begin differently
		e = old.endpoint(address, secure)
	}
	if e != nil && e.retain() {
		return e, nil
	}
	e, err := newEndpoint(p.cfg.ID, address, p.tls, versionOf(&p.cfg), p.deps)
	if err == nil && old != nil {
		e.warmUp(p, time.Now())
	}
	return e, err
}

// member shows the balancers a target. What is not configured is not judged.
func (p *Pool) member(tc config.Target, e *endpoint) balance.Member {
	m := balance.Member{Name: tc.Address, Zone: tc.Zone, Weight: tc.Weight, Active: &e.metrics.Active, Panic: &p.panics, Ramp: &e.ramp, Stats: &e.stats}
	if p.cfg.HealthCheck != nil {
		m.Health = &e.metrics.Health
	}
	if p.cfg.Outliers != nil {
		m.Ejected = &e.outlier.ejected
	}
	if p.cfg.Breaker != nil {
		m.Blocked = &e.circuit.blocked
	}
	return m
}

// choose makes the algorithm and what it needs to know of requests.
func (p *Pool) choose(spare []byte) (err error) {
	kind, err := balance.Find(p.cfg.LoadBalancing)
	if err != nil {
		return err
	}
	if len(p.members) == 0 { // nothing has been discovered yet
		p.balance = balance.Nobody{}
		return nil
	}
	if kind.Counts {
		p.placing.tokens = newTokenEstimate(&p.cfg.Balancing)
		for i := range p.members {
			p.members[i].Queued = &p.targets[i].endpoint.queued
		}
	}
	if p.balance, err = balance.New(kind.Name, p.members, p.cfg.Balancing); err != nil {
		return err
	}
	p.learns = kind.Learns || p.cfg.Outliers != nil
	if kind.Hashes {
		p.placing = newPlacing(p.cfg.Balancing.HashKey)
	}
	if kind.Name == "sticky" {
		key := p.key
		if key == nil {
			key = spare
		}
		p.placing.sticky = newStickyCookie(&p.cfg, key)
	}
	return nil
}

// endpoint finds the endpoint of an address that is spoken to in this way.
func (p *Pool) endpoint(address, secure string) *endpoint {
	if p == nil {
		return nil
	}
	for _, t := range p.targets {
		if t.Address == address && t.endpoint.secure == secure {
			return t.endpoint
		}
	}
	return nil
}

// ID is the name of the upstream.
func (p *Pool) ID() string { return p.cfg.ID }

// Config is what the pool was made from. It must not be changed.
func (p *Pool) Config() *config.Upstream { return &p.cfg }

// Targets are the targets in the order of the configuration. The slice must not be changed.
func (p *Pool) Targets() []*Target { return p.targets }

// Pick chooses a target and reserves it: every successful Pick is followed by exactly one Target.Done. The hint names the targets
// this request has failed on; nil is allowed.
func (p *Pool) Pick(h *balance.Hint) (*Target, error) {
	for range len(p.targets) + 1 {
		i := p.balance.Pick(h)
		if i < 0 {
			break
		}
		t := p.targets[i]
		probe, ok := t.admit()
		switch {
		case probe:
			return t.probe, nil
		case ok:
			return t, nil
		}
		p.members[i].Release(h) // its circuit took its last probe in this moment: it is blocked now
	}
	return nil, ErrNoHealthyTarget
}

// Learns reports whether the pool wants to know how long answers take.
func (p *Pool) Learns() bool { return p.learns }

// Metrics are the counters of the upstream.
func (p *Pool) Metrics() *observe.UpstreamMetrics { return p.metrics }

// retain adds an owner, unless the pool is closed already.
func (p *Pool) retain() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refs == 0 {
		return false
	}
	p.refs++
	return true
}

// Start begins health checks and idle eviction; starting twice does nothing.
func (p *Pool) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started || p.refs == 0 {
		return
	}
	p.started = true
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.forget()
	p.metrics.Panicking.Store(false)
	p.judgePanic(time.Now())
	p.running.Go(func() { p.sweepLoop(ctx) })
	if p.cfg.HealthCheck == nil {
		return
	}
	for _, t := range p.targets {
		p.running.Go(func() { p.checkLoop(ctx, t) })
	}
}

// forget drops what a former configuration has found out about the targets by means that this one does not have.
func (p *Pool) forget() {
	for _, t := range p.targets {
		e := t.endpoint
		if p.cfg.HealthCheck == nil {
			e.metrics.Health.Store(int32(observe.HealthUnknown))
		}
		if p.cfg.Outliers == nil {
			e.outlier.forget(e.metrics)
		}
		if p.cfg.Breaker == nil {
			e.circuit.forget(e.metrics)
		} else if observe.Circuit(e.metrics.Circuit.Load()) == observe.CircuitNone {
			e.metrics.Circuit.Store(int32(observe.CircuitClosed))
		}
	}
}

// Close gives the pool back; the last owner's Close stops it and waits for its goroutines.
func (p *Pool) Close() {
	p.mu.Lock()
	p.refs--
	last, cancel := p.refs == 0, p.cancel
	p.mu.Unlock()
	if !last {
		return
	}
	if cancel != nil {
		cancel()
	}
	p.running.Wait()
	for _, t := range p.targets {
		t.endpoint.release()
	}
	p.metrics.Release()
}
