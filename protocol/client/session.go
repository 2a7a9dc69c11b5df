package client

import (
	"context"
	"errors"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// Session is one exchange as one agent sees it: every event carries the same correlation id and goes over the same connection to the same instance, so that the pieces
// of a body stay in order. It is used by one goroutine at a time. Once a call of a session has failed, the agent has seen an incomplete exchange
// and an answer may still be on its way; further calls fail with ErrLost without asking. End must be called.
type Session struct {
	c       *Client // of the instance; nil = none was chosen
	pool    *Pool   // nil = there is one instance
	id      string
	conn    *conn
	lost    bool
	resends int     // of the call under way
	avoid   *Client // the instance that the call under way left
}

// Session returns a session for the exchange with this correlation id, which must be unique among those under way, and at most protocol.MaxCorrelationID long.
func (c *Client) Session(id string) Session { return Session{c: c, id: id} }

// ID is the correlation id.
func (s *Session) ID() string { return s.id }

// Capabilities returns what the session's instance, or without one any, said in its last handshake; false when there was none yet.
func (s *Session) Capabilities() (protocol.Capabilities, bool) {
	if s.c == nil && s.pool != nil {
		return s.pool.Capabilities()
	}
	return s.c.Capabilities()
}

// Waiter is who a call is made for. Its context is asked for only when the answer does not come at once, because making one may cost as much as a call.
type Waiter interface {
	Context() context.Context
}

// Call sends event m, which carries the session's correlation id, and waits for the answer until deadline or until x's context ends (x nil: never; it may be noticed some
// milliseconds late). Without an error resp holds a verdict. The views in m are not used after Call has returned.
func (s *Session) Call(m any, deadline time.Time, x Waiter, resp *protocol.Response) error {
	if s.lost {
		return ErrLost
	}
	s.resends, s.avoid = 0, nil
	err := errMove
	for err == errMove {
		if s.pool != nil && s.unplaced(m) {
			s.unbind()
			s.c = s.pool.choose(s.avoid)
		}
		err = s.attempt(m, deadline, x, resp)
		s.avoid = s.c
	}
	s.lost = err != nil
	return err
}

// errMove says that another instance is to take the call: this one cannot, or died of it or before it.
var errMove = errors.New("another instance takes the call")

// attempt makes the call with the instance that was chosen.
func (s *Session) attempt(m any, deadline time.Time, x Waiter, resp *protocol.Response) error {
	c := s.c
	start := time.Now()
	probe, err := c.breaker.allow()
	if err != nil {
		if s.mayMove(m, deadline) {
			return errMove // somebody else's call became the probe
		}
		c.stats.rejected.Add(1)
		return err
	}
	if err = c.bulk.acquire(deadline, x); err != nil {
		c.breaker.done(probe, neutral)
		c.stats.overload.Add(1)
		return err
	}
	c.stats.calls.Add(1)
	err = s.exchange(m, deadline, x, resp)
	c.bulk.release()
	if err == errMove {
		c.breaker.done(probe, neutral)
		return err
	}
	if err == nil && resp.Error != "" {
		err = &AgentError{resp.Error}
	}
	c.breaker.done(probe, judge(m, err))
	c.stats.record(time.Since(start), err, resp)
	if err != nil {
		c.failed(err)
	}
	return err
}

// unplaced reports whether any instance may take m: none has seen the exchange, or the one that has is gone and m can be judged without it.
func (s *Session) unplaced(m any) bool {
	return s.conn == nil || startsAfresh(m) && s.conn.isDead()
}

// mayMove reports whether another instance can take m now.
func (s *Session) mayMove(m any, deadline time.Time) bool {
	return s.pool != nil && s.unplaced(m) && time.Now().Before(deadline) && s.pool.other(s.c)
}

// judge says what the end of a call tells about the agent.
func judge(m any, err error) outcome {
	switch {
	case err == nil:
		return good
	case errors.Is(err, ErrLost) && !startsAfresh(m):
		return neutral // a restart in the middle of a body; one that could be sent again and still got lost is another matter
	case errors.Is(err, ErrCanceled), errors.Is(err, ErrOverload), errors.Is(err, wire.ErrTooLong), errors.Is(err, ErrClosed):
		return neutral
	}
	return bad
}

// maxResends bounds how often one call is sent again because its connection died: it may be what kills the agent.
const maxResends = 2

func (s *Session) exchange(m any, deadline time.Time, x Waiter, resp *protocol.Response) error {
	for {
		cn, err := s.pick(m, deadline, x)
		if err != nil {
			return err
		}
		err = cn.call(s.id, m, deadline, x, resp)
		if !errors.Is(err, ErrLost) || !startsAfresh(m) || s.resends == maxResends || !time.Now().Before(deadline) {
			return err
		}
		if !errors.Is(err, errUnsent) {
			s.resends++
		}
		s.c.stats.resent.Add(1)
		if s.mayMove(m, deadline) {
			return errMove
		}
	}
}

// startsAfresh reports whether an agent can judge m without having seen what came before.
func startsAfresh(m any) bool {
	switch m.(type) {
	case *wire.RequestView, *wire.ResponseView, *protocol.RequestHeaders, *protocol.ResponseHeaders, *protocol.WebSocketFrame:
		return true
	}
	return false
}

// pick returns the connection for m: the session's own, else the instance's with the least under way. It waits when there is none now, of any instance.
func (s *Session) pick(m any, deadline time.Time, x Waiter) (*conn, error) {
	for {
		var others <-chan struct{}
		if s.pool != nil {
			others = s.pool.changing() // taken before looking, so that no change is missed
		}
		changed, err := s.tryPick(m)
		if err == nil && changed == nil {
			return s.conn, nil
		}
		if s.mayMove(m, deadline) {
			return nil, errMove
		}
		if err != nil {
			return nil, err
		}
		timer := time.NewTimer(time.Until(deadline))
		select {
		case <-changed:
		case <-others:
		case <-timer.C:
			err = ErrUnavailable
		case <-doneOf(x):
			err = ErrCanceled
		case <-s.c.ctx.Done():
			err = ErrClosed
		}
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// doneOf is the end of x's context; nil when there is no x.
func doneOf(x Waiter) <-chan struct{} {
	if x == nil {
		return nil
	}
	return x.Context().Done()
}

// tryPick binds the session to a connection, or returns what to wait for.
func (s *Session) tryPick(m any) (wait <-chan struct{}, err error) {
	if s.usable() {
		return nil, nil
	}
	if s.conn != nil && !startsAfresh(m) && s.conn.isDead() {
		return nil, ErrLost
	}
	s.c.mu.Lock()
	wait = s.c.changed // taken before looking, so that no change is missed
	s.c.mu.Unlock()
	if s.conn != nil && !s.conn.isDead() {
		if s.usable() {
			return nil, nil
		}
		return wait, nil // paused
	}
	best, unwell := s.c.leastBusy()
	if best != nil && s.bind(best) {
		return nil, nil
	}
	if best == nil && unwell {
		return nil, ErrUnavailable
	}
	return wait, nil
}

// usable reports whether the session's connection, or without one the best, can take an event at once.
func (s *Session) usable() bool {
	if s.conn != nil {
		return !s.conn.isDead() && !s.conn.paused.Load()
	}
	best, _ := s.c.leastBusy()
	return best != nil && s.bind(best)
}

// leastBusy returns the connection with the least under way; unwell reports that there are connections, but the agent wants no work.
func (c *Client) leastBusy() (best *conn, unwell bool) {
	least := int32(1<<31 - 1)
	for _, cn := range *c.ready.Load() {
		if cn.unwell.Load() {
			unwell = true
			continue
		}
		if n := cn.inflight.Load(); n < least && !cn.paused.Load() && !cn.draining.Load() {
			best, least = cn, n
		}
	}
	return best, unwell
}

// bind makes cn the session's connection.
func (s *Session) bind(cn *conn) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.dead != nil {
		return false
	}
	s.unbind()
	cn.sessions++
	s.conn = cn
	return true
}

func (s *Session) unbind() {
	if cn := s.conn; cn != nil {
		s.conn = nil
		cn.mu.Lock()
		cn.sessions--
		cn.checkDrained()
		cn.mu.Unlock()
	}
}

// Tell sends the news that the exchange is over; nobody waits for an answer. It does nothing when the agent has not seen the exchange or is gone.
func (s *Session) Tell(m *protocol.RequestComplete) {
	if s.conn == nil || s.lost || s.conn.isDead() {
		return
	}
	_ = s.conn.tell(s.id, m)
}

// Cancel tells the agent that the verdicts of this session no longer matter.
func (s *Session) Cancel(why protocol.CancelReason) {
	if s.conn != nil && !s.conn.isDead() {
		s.conn.cancel(s.id, why)
	}
}

// End releases the connection. The session is not used afterwards.
func (s *Session) End() { s.unbind() }

func (cn *conn) isDead() bool {
	select {
	case <-cn.gone:
		return true
	default:
		return false
	}
}
