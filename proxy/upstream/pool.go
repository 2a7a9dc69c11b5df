package upstream

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/proxy/api"
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
	balance balance.Algorithm

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
	return newPool(cfg, client, nil, deps)
}

// newClient reads what TLS with the targets needs.
func newClient(cfg *config.Upstream, files tlsconf.Files) (*tlsconf.Client, error) {
	client, err := tlsconf.NewClient(cfg.TLS, files)
	if err != nil {
		return nil, fmt.Errorf("cannot make upstream %s: %w", cfg.ID, err)
	}
	return client, nil
}

func newPool(cfg config.Upstream, client *tlsconf.Client, old *Pool, deps Deps) (*Pool, error) {
	p := &Pool{cfg: cfg, tls: client, deps: deps, refs: 1}
	p.onHealth.Store(&deps.OnHealth)
	members := make([]balance.Member, len(cfg.Targets))
	for i, tc := range cfg.Targets {
		e := p.endpoint(tc.Address, client.Digest()) // one address listed twice is one endpoint
		if e == nil {
			e = old.endpoint(tc.Address, client.Digest())
		}
		if e == nil || !e.retain() {
			var err error
			if e, err = newEndpoint(cfg.ID, tc.Address, client, deps); err != nil {
				p.Close()
				return nil, fmt.Errorf("cannot make upstream %s: %v", cfg.ID, err)
			}
		}
		p.targets = append(p.targets, newTarget(p, i, tc, e))
		members[i] = balance.Member{Weight: tc.Weight, Active: &e.metrics.Active}
		if cfg.HealthCheck != nil {
			members[i].Health = &e.metrics.Health
		}
	}
	var err error
	if p.balance, err = balance.New(cfg.LoadBalancing, members); err != nil {
		p.Close()
		return nil, fmt.Errorf("cannot make upstream %s: %v", cfg.ID, err)
	}
	return p, nil
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
	i := p.balance.Pick(h)
	if i < 0 {
		return nil, ErrNoHealthyTarget
	}
	return p.targets[i], nil
}

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
	p.running.Go(func() { p.sweepLoop(ctx) })
	if p.cfg.HealthCheck == nil {
		for _, t := range p.targets { // what a former configuration's checks said no longer counts
			t.endpoint.metrics.Health.Store(int32(observe.HealthUnknown))
		}
		return
	}
	for _, t := range p.targets {
		p.running.Go(func() { p.checkLoop(ctx, t) })
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
}

// Snapshot is the pool as the admin API shows it.
func (p *Pool) Snapshot() api.Upstream {
	u := api.Upstream{ID: p.cfg.ID, LoadBalancing: p.cfg.LoadBalancing, Targets: make([]api.Target, 0, len(p.targets))}
	for _, t := range p.targets {
		m := t.endpoint.metrics
		s := api.Target{
			Address: t.Address, Weight: t.Weight, Status: observe.HealthUnknown.String(),
			Active: m.Active.Load(), Idle: m.Idle.Load(),
			Requests: m.Requests.Load(), Failures: m.FailureTotal(), FailureRate: t.endpoint.failureRate(),
		}
		if p.cfg.HealthCheck != nil {
			s.Status = observe.Health(m.Health.Load()).String()
			s.LastCheck = t.endpoint.lastCheck()
		}
		s.LastError = t.endpoint.lastErrorText()
		u.Targets = append(u.Targets, s)
	}
	return u
}
