package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream/multiplex"
)

// streams is what an endpoint has besides connections when HTTP/2 is spoken with its target: sessions, which many exchanges share.
type streams struct {
	tls   *tls.Config  // for targets that have to speak HTTP/2, nil = plain
	both  *tls.Config  // for those that choose
	plain atomic.Int64 // until when a target that chose HTTP/1.1 is not asked again, in Unix nanoseconds

	bell    atomic.Pointer[chan struct{}] // closed and replaced when there may be room
	waiting atomic.Int64

	mu       sync.Mutex // guards the rest
	sessions []*multiplex.Session
	dialing  *dialing
}

// dialing is a dial under way, whose end several exchanges may wait for.
type dialing struct {
	done chan struct{}
	err  error // valid once done is closed
}

// askAgain is for how long a target that chose HTTP/1.1 is taken at its word.
const askAgain = 5 * time.Minute

var (
	errChoseHTTP1 = errors.New("the target chose HTTP/1.1")
	errNoHTTP2    = errors.New("the target does not speak HTTP/2")
	errNoTunnel   = errors.New("the target does not take WebSockets over HTTP/2, and HTTP/1.1 is not spoken with this upstream (http-version.min-version)")
)

func (s *streams) init(conf *tls.Config) {
	bell := make(chan struct{})
	s.bell.Store(&bell)
	if conf == nil {
		return
	}
	s.tls, s.both = conf.Clone(), conf.Clone()
	s.tls.NextProtos = []string{"h2"}
	s.both.NextProtos = []string{"h2", "http/1.1"}
}

// ring tells those who wait that there may be room. It takes no lock.
func (s *streams) ring() {
	if s.waiting.Load() > 0 {
		bell := make(chan struct{})
		close(*s.bell.Swap(&bell))
	}
}

// multiplexes reports whether exchanges with the target are streams now.
func (t *Target) multiplexes() bool {
	h := &t.pool.cfg.HTTP
	return h.Max == 2 && (h.Min == 2 || t.endpoint.streams.plain.Load() < time.Now().UnixNano())
}

// openStream returns a stream on a session that has room, or on a new one.
func (t *Target) openStream(deadline time.Time) (*Conn, bool, error) {
	if c, _, _ := t.tryStream(false); c != nil {
		return c, true, nil
	}
	m := &t.endpoint.streams
	limits := &t.endpoint.deps.Metrics.Process
	if m.waiting.Add(1) > int64(t.limits.maxWait) {
		m.waiting.Add(-1)
		limits.Hit(observe.LimitUpstreamQueue)
		return nil, false, t.fail(observe.FailurePoolFull, errQueueFull)
	}
	defer m.waiting.Add(-1)
	deadline = t.bound(deadline)
	patience := deadline
	if t.limits.queue > 0 {
		if until := time.Now().Add(t.limits.queue); until.Before(patience) {
			patience = until
		}
	}
	timer := time.NewTimer(time.Until(patience))
	defer timer.Stop()
	for {
		bell := *m.bell.Load() // before looking, so that nothing is missed
		c, d, mine := t.tryStream(true)
		switch {
		case c != nil:
			return c, !mine, nil
		case mine:
			c, err := t.dialStream(d, deadline)
			return c, false, err
		}
		var dialed chan struct{}
		if d != nil {
			dialed = d.done
		} else {
			limits.Hit(observe.LimitUpstreamConnections)
		}
		select {
		case <-dialed:
			if d.err != nil {
				return nil, false, d.err
			}
		case <-bell:
		case <-timer.C:
			limits.Hit(observe.LimitUpstreamQueueTime)
			return nil, false, t.fail(observe.FailurePoolFull, errPoolFull)
		}
	}
}

// tryStream opens a stream if a session has room. Else, with dial, it returns the dial under way, or begins one (mine) if the pool has room for a connection.
func (t *Target) tryStream(dial bool) (c *Conn, d *dialing, mine bool) {
	e := t.endpoint
	m := &e.streams
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		if l := t.limits.lifetime; l > 0 && time.Since(s.Created()) >= l {
			s.Retire()
			continue
		}
		if st, err := s.Open(); err == nil {
			e.metrics.Reused.Add(1)
			return t.streamConn(st, s), nil, false
		}
	}
	if !dial || m.dialing != nil {
		return nil, m.dialing, false
	}
	m.prune(e)
	if !e.reserve(t) {
		return nil, nil, false
	}
	m.dialing = &dialing{done: make(chan struct{})}
	return nil, m.dialing, true
}

func (t *Target) streamConn(st *multiplex.Stream, s *multiplex.Session) *Conn {
	return &Conn{TCP: st, stream: st, target: t, endpoint: t.endpoint, created: s.Created().UnixNano()}
}

// prune forgets the sessions that are over. mu is held.
func (s *streams) prune(e *endpoint) {
	s.sessions = slices.DeleteFunc(s.sessions, func(x *multiplex.Session) bool {
		err := x.Err()
		if err == nil {
			return false
		}
		var v *multiplex.Violation
		if errors.As(err, &v) {
			e.metrics.Violations.Add(1)
			e.noteError(err)
			e.deps.Logger.Warn("connection to target ended", "upstream", e.metrics.Upstream, "target", e.address, "reason", v.Err.Reason)
		}
		e.unreserve()
		return true
	})
	e.metrics.Sessions.Store(int64(len(s.sessions)))
}

// dialStream makes the session that d announces and opens a stream on it.
func (t *Target) dialStream(d *dialing, deadline time.Time) (*Conn, error) {
	e := t.endpoint
	m := &e.streams
	start := time.Now()
	s, err := t.dialSession(deadline)
	var c *Conn
	m.mu.Lock()
	m.dialing = nil
	if err == nil {
		e.metrics.Connects.Observe(time.Since(start))
		m.sessions = append(m.sessions, s)
		e.metrics.Sessions.Store(int64(len(m.sessions)))
		var st *multiplex.Stream
		if st, err = s.Open(); err == nil {
			c = t.streamConn(st, s)
		}
		if e.closed() {
			s.Retire()
		}
	} else {
		e.unreserve()
	}
	m.mu.Unlock()
	if err != nil && !errors.Is(err, errChoseHTTP1) {
		err = t.fail(dialFailure(err), err)
	}
	d.err = err
	close(d.done)
	return c, err
}

func (t *Target) dialSession(deadline time.Time) (*multiplex.Session, error) {
	e, h := t.endpoint, &t.pool.cfg.HTTP
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	conn, err := e.reachHTTP2(ctx, h.Min == 2)
	if err != nil {
		return nil, err
	}
	opt := multiplex.Options{
		Secure: e.tls != nil, MaxStreams: max(h.MaxStreams, 1), Window: uint32(max(h.StreamWindow, minWindow)), WriteTimeout: t.pool.cfg.Timeouts.Write, PingInterval: h.PingInterval,
		PingTimeout: h.PingTimeout, Changed: e.streams.ring,
	}
	if opt.WriteTimeout <= 0 {
		opt.WriteTimeout = defaultConnect
	}
	return multiplex.Start(conn, opt, deadline)
}

const minWindow = 16 << 10

// reachHTTP2 connects for HTTP/2. With must a target that chooses something else is no target.
func (e *endpoint) reachHTTP2(ctx context.Context, must bool) (net.Conn, error) {
	tcp, err := e.reach(ctx, nil)
	if err != nil || e.tls == nil {
		return tcp, err
	}
	conf := e.streams.both
	if must {
		conf = e.streams.tls
	}
	conn := tls.Client(tcp, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = tcp.Close()
		return nil, &handshakeError{err}
	}
	state := conn.ConnectionState()
	resumed := 0
	if state.DidResume {
		resumed = 1
	}
	e.metrics.Shakes[resumed].Add(1)
	switch {
	case state.NegotiatedProtocol == "h2":
		return conn, nil
	case must:
		err = &handshakeError{errNoHTTP2}
	default:
		e.streams.plain.Store(time.Now().Add(askAgain).UnixNano())
		err = errChoseHTTP1
	}
	_ = conn.Close()
	return nil, err
}

// sweepStreams ends sessions that were idle or alive too long.
func (t *Target) sweepStreams(now time.Time) {
	l, e := &t.limits, t.endpoint
	e.retireSessions(func(s *multiplex.Session) bool {
		since, idle := s.Idle()
		return idle && l.idle > 0 && now.Sub(since) >= l.idle || l.lifetime > 0 && now.Sub(s.Created()) >= l.lifetime
	})
}

// retireSessions lets the sessions that f chooses end with their last stream.
func (e *endpoint) retireSessions(f func(*multiplex.Session) bool) {
	m := &e.streams
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		if f(s) {
			s.Retire()
		}
	}
	m.prune(e)
}
