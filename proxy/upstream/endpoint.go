package upstream

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/proxyproto"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
	"github.com/sentinel-stack/sentinel/proxy/upstream/multiplex"
)

// endpoint is one address of one upstream with all that outlives a configuration: connections, health, counters. Targets of successive
// pools share it and bring their own limits.
type endpoint struct {
	address  string
	deps     Deps
	resolver resolver
	version  proxyproto.Version // what connections begin with
	tls      *tls.Config        // nil = plain
	secure   string             // digest of the settings behind tls; endpoints are shared by pools with the same ones only
	metrics  *observe.TargetMetrics
	now      atomic.Int64 // Unix nanoseconds, moved on by the janitor; good enough for idle times and saves a clock reading per exchange

	lastError atomic.Pointer[string]
	lastKind  atomic.Uint32 // a Failure that came after lastError, 0 = none
	check     checkState
	window    rateWindow
	stats     balance.Stats
	queued    atomic.Int64 // tokens of exchanges now, for who counts them
	outlier   outlier
	circuit   circuit
	streams   streams
	ramp      atomic.Int64 // when its slow start began, in Unix nanoseconds; 0 = it is warm

	mu      sync.Mutex // guards the rest
	refs    int
	idle    *Conn // stack: the most recently used connection is on top
	idleN   int
	open    int // connections, idle and busy, and dials under way
	waiters waitQueue
}

func newEndpoint(upstream, address string, client *tlsconf.Client, version proxyproto.Version, deps Deps) (*endpoint, error) {
	e := &endpoint{address: address, version: version, deps: deps, tls: client.Target(address), secure: client.Digest(), refs: 1}
	e.streams.init(e.tls)
	if SocketPath(address) == "" {
		if err := e.resolver.init(address, deps.Resolver); err != nil {
			return nil, err
		}
	}
	e.metrics = deps.Metrics.Target(upstream, address)
	e.now.Store(time.Now().UnixNano())
	return e, nil
}

// warmUp begins the slow start of an endpoint that comes back, or is new among others.
func (e *endpoint) warmUp(p *Pool, now time.Time) {
	if p.cfg.Balancing.SlowStart > 0 {
		e.ramp.Store(now.UnixNano())
	}
}

// retain adds an owner, unless the endpoint is closed already.
func (e *endpoint) retain() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refs == 0 {
		return false
	}
	e.refs++
	return true
}

// release gives the endpoint back; the last owner's closes the idle connections, busy ones follow when they are released.
func (e *endpoint) release() {
	e.mu.Lock()
	e.refs--
	last := e.refs == 0
	e.mu.Unlock()
	if last {
		e.dropIdle(func(*Conn) bool { return true })
		e.retireSessions(func(*multiplex.Session) bool { return true })
		e.metrics.Release()
	}
}

// closed reports whether the last owner has gone: then nothing is kept any more.
func (e *endpoint) closed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refs == 0
}

// pop takes the most recently used idle connection. Without one it reserves a place for a new one (nil, true), or reports that the pool is full (nil, false).
func (e *endpoint) pop(t *Target) (*Conn, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.idle; c != nil {
		e.idle, c.next = c.next, nil
		e.idleN--
		e.metrics.Idle.Store(int64(e.idleN))
		c.target = t
		return c, true
	}
	return nil, e.reserveLocked(t)
}

// reserve takes a place for a new connection, closing an idle one if that makes the room.
func (e *endpoint) reserve(t *Target) bool {
	e.mu.Lock()
	var victim *Conn
	if t.limits.maxOpen > 0 && e.open >= t.limits.maxOpen && e.idle != nil {
		victim, e.idle = e.idle, e.idle.next
		e.idleN--
		e.metrics.Idle.Store(int64(e.idleN))
		e.open--
	}
	ok := e.reserveLocked(t)
	e.mu.Unlock()
	if victim != nil {
		victim.close()
	}
	return ok
}

func (e *endpoint) reserveLocked(t *Target) bool {
	if t.limits.maxOpen > 0 && e.open >= t.limits.maxOpen {
		return false
	}
	e.open++
	e.metrics.Open.Store(int64(e.open))
	return true
}

// unreserve gives back the place of a connection that is gone or never came to be, to the first in the queue if there is one.
func (e *endpoint) unreserve() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unreserveLocked()
}

func (e *endpoint) unreserveLocked() {
	e.open--
	if w := e.waiters.first(); w != nil && e.reserveLocked(w.target) {
		e.waiters.remove(w)
		e.metrics.Waiting.Store(int64(e.waiters.n))
		w.grant <- nil
	}
	e.metrics.Open.Store(int64(e.open))
}

// put takes a connection back and reports whether it stays open; if not, the caller closes it.
func (e *endpoint) put(c *Conn, reusable bool) bool {
	l := &c.target.limits
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now.Load()
	if !reusable || e.version != proxyproto.None || e.refs == 0 || l.lifetime > 0 && now-c.created > int64(l.lifetime) {
		e.unreserveLocked()
		return false
	}
	if w := e.waiters.first(); w != nil {
		e.waiters.remove(w)
		e.metrics.Waiting.Store(int64(e.waiters.n))
		c.target = w.target
		w.grant <- c
		return true
	}
	if e.idleN >= l.maxIdle {
		e.unreserveLocked()
		return false
	}
	c.lastUsed = now
	c.next, e.idle = e.idle, c
	e.idleN++
	e.metrics.Idle.Store(int64(e.idleN))
	return true
}

// dropIdle closes the idle connections that f chooses.
func (e *endpoint) dropIdle(f func(*Conn) bool) {
	e.mu.Lock()
	var gone *Conn
	for at := &e.idle; *at != nil; {
		c := *at
		if !f(c) {
			at = &c.next
			continue
		}
		*at = c.next
		c.next, gone = gone, c
		e.idleN--
		e.unreserveLocked()
	}
	e.metrics.Idle.Store(int64(e.idleN))
	e.mu.Unlock()
	for gone != nil {
		c := gone
		gone, c.next = c.next, nil
		c.close()
	}
}

// noteError remembers the latest failure for the admin API.
func (e *endpoint) noteError(err error) {
	s := err.Error()
	e.lastError.Store(&s)
	e.lastKind.Store(0)
}

// noteKind remembers a failure that has no text of its own; those of Acquire have noted theirs.
func (e *endpoint) noteKind(kind observe.Failure) {
	switch kind {
	case observe.FailureWrite, observe.FailureRead, observe.FailureTimeout, observe.FailureProtocol, observe.FailureStatus:
		e.lastKind.Store(uint32(kind))
	}
}

func (e *endpoint) lastErrorText() string {
	switch observe.Failure(e.lastKind.Load()) {
	case observe.FailureWrite:
		return "the connection broke while sending"
	case observe.FailureRead:
		return "the connection broke before the answer was complete"
	case observe.FailureTimeout:
		return "no answer in time"
	case observe.FailureProtocol:
		return "the answer broke HTTP"
	case observe.FailureStatus:
		return "the answer was a server error"
	}
	if s := e.lastError.Load(); s != nil {
		return *s
	}
	return ""
}
