package upstream

import (
	"errors"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
)

// Target is one server of a pool.
type Target struct {
	Index   int // in the pool, for balance.Hint.Tried
	Address string
	Weight  int

	pool     *Pool
	endpoint *endpoint
	limits   limits
	probe    *Target // the same target as a probe of its half-open circuit gets it
	isProbe  bool
}

// limits are the bounds this pool's configuration puts on the endpoint.
type limits struct {
	maxOpen  int           // connections, idle and busy; 0 = unlimited
	maxIdle  int           // kept
	maxWait  int           // requests that may wait for a connection
	connect  time.Duration // for waiting and dialing together
	queue    time.Duration // for waiting alone; 0 = connect
	idle     time.Duration // 0 = unlimited
	lifetime time.Duration // 0 = unlimited
}

// defaultConnect bounds waiting and dialing when the configuration does not.
const defaultConnect = 10 * time.Second

// minQueue is the least number of requests that may wait for a connection when none is configured; otherwise as many as there are connections.
const minQueue = 16

func newTarget(p *Pool, i int, tc config.Target, e *endpoint) *Target {
	l := limits{
		maxOpen: p.cfg.Pool.MaxConnections, maxIdle: p.cfg.Pool.MaxIdle,
		maxWait: p.cfg.Pool.QueueLength, queue: p.cfg.Pool.QueueTimeout,
		connect: p.cfg.Timeouts.Connect, idle: p.cfg.Pool.IdleTimeout, lifetime: p.cfg.Pool.MaxLifetime,
	}
	if l.connect <= 0 {
		l.connect = defaultConnect
	}
	if l.maxWait <= 0 {
		l.maxWait = max(minQueue, l.maxOpen)
	}
	t := &Target{Index: i, Address: tc.Address, Weight: tc.Weight, pool: p, endpoint: e, limits: l}
	twin := *t
	twin.isProbe = true
	t.probe = &twin
	return t
}

// Pool is the pool the target belongs to.
func (t *Target) Pool() *Pool { return t.pool }

// Metrics are the counters of the target.
func (t *Target) Metrics() *observe.TargetMetrics { return t.endpoint.metrics }

// Healthy reports whether the target may get new requests as far as checks are concerned.
func (t *Target) Healthy() bool {
	return t.pool.cfg.HealthCheck == nil || observe.Health(t.endpoint.metrics.Health.Load()) != observe.HealthUnhealthy
}

// Acquire returns a connection: a pooled one (reused is true) or a new one. It waits until deadline, at most the configured connect timeout, for
// a free place in the pool and for the dial together; the zero deadline means the connect timeout alone. The error is an *Error.
//
// A pooled connection that the peer has closed, or on which it has sent bytes nobody asked for, is not returned. A peer can still close it between this
// check and the request's arrival; only the driver can know whether retrying is safe then.
func (t *Target) Acquire(deadline time.Time) (c *Conn, reused bool, err error) {
	return t.AcquireFor(deadline, nil)
}

// AcquireFor is Acquire for a pool that introduces clients to its targets. A nil origin is the proxy itself.
func (t *Target) AcquireFor(deadline time.Time, o *Origin) (c *Conn, reused bool, err error) {
	if t.multiplexes() {
		c, reused, err = t.openStream(deadline)
		if !errors.Is(err, errChoseHTTP1) {
			return c, reused, err
		}
	}
	return t.acquire(deadline, o)
}

// AcquireTunnel is AcquireFor for a request to be upgraded: that needs HTTP/1.1, or a target that takes WebSockets over HTTP/2 where nothing else is spoken.
func (t *Target) AcquireTunnel(deadline time.Time, o *Origin) (c *Conn, reused bool, err error) {
	if t.pool.cfg.HTTP.Min < 2 {
		return t.acquire(deadline, o)
	}
	c, reused, err = t.openStream(deadline)
	if err == nil && !c.stream.Tunnels() {
		c.Release(false)
		return nil, false, t.fail(observe.FailureConnect, errNoTunnel)
	}
	return c, reused, err
}

func (t *Target) acquire(deadline time.Time, o *Origin) (c *Conn, reused bool, err error) {
	e := t.endpoint
	for {
		c, ok := e.pop(t)
		if c == nil {
			if !ok {
				return t.wait(deadline, o)
			}
			c, err = t.dial(deadline, o)
			return c, false, err
		}
		if c.alive() {
			e.metrics.Reused.Add(1)
			return c, true, nil
		}
		e.metrics.Stale.Add(1)
		c.Release(false)
	}
}

// Dial returns a new connection even if pooled ones are free, for a retry after a pooled one failed; an idle one makes room if the pool is full.
// Pools that introduce clients have no pooled connections.
func (t *Target) Dial(deadline time.Time) (*Conn, error) {
	if t.multiplexes() { // a session that failed is not used again
		c, _, err := t.openStream(deadline)
		if !errors.Is(err, errChoseHTTP1) {
			return c, err
		}
	}
	return t.dialHTTP1(deadline)
}

// DialTunnel is Dial for what AcquireTunnel gave a connection to.
func (t *Target) DialTunnel(deadline time.Time) (*Conn, error) {
	if t.pool.cfg.HTTP.Min < 2 {
		return t.dialHTTP1(deadline)
	}
	c, _, err := t.AcquireTunnel(deadline, nil)
	return c, err
}

func (t *Target) dialHTTP1(deadline time.Time) (*Conn, error) {
	if t.endpoint.reserve(t) {
		return t.dial(deadline, nil)
	}
	c, reused, err := t.wait(deadline, nil)
	if !reused {
		return c, err
	}
	c.Release(false) // gives its place back; take it unless another request was faster
	if t.endpoint.reserve(t) {
		return t.dial(deadline, nil)
	}
	return nil, t.fail(observe.FailurePoolFull, errPoolFull)
}

// Observe tells how long an attempt took until the head of its answer or its failure. Only pools that learn want to know.
func (t *Target) Observe(took time.Duration, failed bool) {
	t.endpoint.stats.Observe(took, failed)
	if decay := t.pool.cfg.Balancing.Decay; decay > 0 {
		if failed { // a target that refuses at once is not a fast one
			took = max(took, failurePenalty)
		}
		t.endpoint.stats.ObservePeak(time.Now(), took, decay)
	}
}

// failurePenalty is the least latency that a failure counts as.
const failurePenalty = time.Second

// Return gives back what Pick reserved, for a target that is not asked after all.
func (t *Target) Return(h *balance.Hint) {
	t.pool.members[t.Index].Release(h)
	t.count(false, true)
}

// Done ends what Pick began, with the hint that Pick got. Kind is how the attempt ended, FailureNone for an answer.
func (t *Target) Done(kind observe.Failure, h *balance.Hint) {
	m := t.endpoint.metrics
	t.pool.members[t.Index].Release(h)
	m.Requests.Add(1)
	if kind != observe.FailureNone {
		m.Failures[kind].Add(1)
		if kind != observe.FailureCanceled {
			t.endpoint.noteKind(kind)
		}
	}
	ours := kind == observe.FailureCanceled || kind == observe.FailurePoolFull // says nothing about the target
	t.count(kind != observe.FailureNone, ours)
	if !ours {
		t.countOutlier(kind != observe.FailureNone)
	}
}
