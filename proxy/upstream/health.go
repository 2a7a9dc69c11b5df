package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream/multiplex"
)

const (
	firstCheckWithin = 250 * time.Millisecond // checks of many targets do not all start at once
	defaultInterval  = 10 * time.Second
	defaultTimeout   = 5 * time.Second
)

// checkState is what checks know of an endpoint.
type checkState struct {
	mu   sync.Mutex // guards the rest and makes a change of health one step
	ok   int        // checks in a row that passed
	bad  int        // that failed
	last time.Time
}

// checkLoop checks one target until ctx is done. Each target has its own loop, so that one that hangs until the timeout does not delay the others.
func (p *Pool) checkLoop(ctx context.Context, t *Target) {
	hc := p.cfg.HealthCheck
	interval, timeout := hc.Interval, hc.Timeout
	if interval <= 0 {
		interval = defaultInterval
	}
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	run := func(ctx context.Context) error { return t.endpoint.runProbe(ctx, tcpProbe) }
	switch hc.Type {
	case "http":
		probe := newHTTPProbe(hc, t.Address)
		run = func(ctx context.Context) error { return t.endpoint.runProbe(ctx, probe) }
	case "grpc":
		run = func(ctx context.Context) error { return t.endpoint.probeGRPC(ctx, hc.Service) }
	}
	timer := time.NewTimer(rand.N(min(firstCheckWithin, interval)))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := within(ctx, timeout, run)
		if ctx.Err() != nil {
			return
		}
		p.report(t, err, time.Now())
		timer.Reset(jittered(interval, hc.Jitter))
	}
}

// jittered is the interval, up to so many percent longer or shorter.
func jittered(d time.Duration, percent int) time.Duration {
	return time.Duration(float64(d) * (1 + float64(percent)/100*(2*rand.Float64()-1)))
}

// probe is one check over a connection of its own.
type probe func(ctx context.Context, conn net.Conn) error

func within(ctx context.Context, timeout time.Duration, run func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return run(ctx)
}

// runProbe makes a connection, with TLS where it is spoken, and checks on it.
func (e *endpoint) runProbe(ctx context.Context, check probe) error {
	conn, err := e.reach(ctx, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if e.tls == nil {
		return check(ctx, conn)
	}
	secure := tls.Client(conn, e.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	return check(ctx, secure)
}

// tcpProbe is content with a connection.
func tcpProbe(context.Context, net.Conn) error { return nil }

// report counts a check and ejects or restores the target when a threshold is reached. The first check that passes makes an
// unknown target healthy.
func (p *Pool) report(t *Target, failure error, at time.Time) {
	e, hc := t.endpoint, p.cfg.HealthCheck
	c := &e.check
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = at
	state := observe.Health(e.metrics.Health.Load())
	if failure != nil {
		c.ok = 0
		c.bad++
		e.metrics.CheckFails.Add(1)
		e.noteError(fmt.Errorf("health check: %w", failure))
		p.deps.Logger.Debug("health check failed", "upstream", p.cfg.ID, "target", t.Address, "failed_checks", c.bad, "error", failure)
		if state != observe.HealthUnhealthy && c.bad >= max(1, hc.UnhealthyThreshold) {
			p.eject(t, failure, at)
		}
		return
	}
	c.bad = 0
	c.ok++
	p.deps.Logger.Debug("health check passed", "upstream", p.cfg.ID, "target", t.Address, "passed_checks", c.ok)
	switch {
	case state == observe.HealthUnknown:
		e.metrics.Health.Store(int32(observe.HealthHealthy))
	case state == observe.HealthUnhealthy && c.ok >= max(1, hc.HealthyThreshold):
		e.warmUp(p, at)
		e.metrics.Health.Store(int32(observe.HealthHealthy))
		e.metrics.Restores.Add(1)
		p.deps.Logger.Info("target restored", slog.String("upstream", p.cfg.ID), slog.String("target", t.Address), slog.Int("checks", c.ok))
		p.tell(HealthChange{Upstream: p.cfg.ID, Address: t.Address, Healthy: true, Action: "restore", Reason: fmt.Sprintf("%d checks passed", c.ok), At: at})
		p.judgePanic(at)
	}
}

// eject takes the target out of use and drops its idle connections, which lead to a server that no longer answers.
func (p *Pool) eject(t *Target, failure error, at time.Time) {
	e := t.endpoint
	e.metrics.Health.Store(int32(observe.HealthUnhealthy))
	e.metrics.Ejections.Add(1)
	e.dropIdle(func(*Conn) bool { return true })
	e.retireSessions(func(*multiplex.Session) bool { return true })
	p.deps.Logger.Warn("target ejected", slog.String("upstream", p.cfg.ID), slog.String("target", t.Address),
		slog.Int("failed_checks", e.check.bad), slog.String("error", failure.Error()))
	p.tell(HealthChange{Upstream: p.cfg.ID, Address: t.Address, Action: "eject", Reason: failure.Error(), At: at})
	p.judgePanic(at)
}

func (p *Pool) tell(c HealthChange) {
	if f := *p.onHealth.Load(); f != nil {
		f(c)
	}
}

func (e *endpoint) lastCheck() time.Time {
	e.check.mu.Lock()
	defer e.check.mu.Unlock()
	return e.check.last
}
