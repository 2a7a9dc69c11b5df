package server

import (
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

const (
	sweepEvery     = 250 * time.Millisecond
	halfCloseGrace = 2 * time.Second // how long an exchange may go on for a client that sent its end
	drainGrace     = time.Second     // how long a drain waits for the next request of a connection: it may be on its way
	rateGrace      = 5 * time.Second // how long a client may be slower than the minimum rate
)

// sweeping is what the sweeper remembers of a connection from one round to the next. Only the sweeper touches it.
type sweeping struct {
	deadline int64 // seen last time: an equal one means that the connection has been waiting since
	stage    stage
	looked   int64 // deadline of the idle period in which the socket was looked at
	ended    int64 // when the client's end was first seen in this exchange, 0 = not
	leaves   int64 // when a WebSocket or another stream is to end in a drain, 0 = not yet known
	drained  int64 // when the connection was first seen waiting for a request in a drain, 0 = not
	slowIn   stage // stageBody or stageSend
	slow     int64 // how long the client has been waited for
	base     int64 // bytes moved when slow began
	sent     int64 // bytes sent when a send was last overdue
}

// sweep looks at every connection again and again, as long as there are any, until Shutdown.
func (s *Server) sweep() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	var batch []*conn
	var burst settling
	for {
		s.mu.Lock()
		if len(s.conns) == 0 {
			ticker.Stop()
			s.hands.thin(1)
			for len(s.conns) == 0 && !s.closed {
				s.changed.Wait()
			}
			ticker.Reset(sweepEvery)
		}
		if s.closed {
			s.mu.Unlock()
			return
		}
		batch = append(append(batch[:0], s.conns...), s.streams...)
		s.mu.Unlock()
		now := s.now()
		for _, c := range batch {
			s.look(c, now)
		}
		clear(batch)
		s.hands.thin(8)
		if burst.over(s.opened.Load()) {
			s.sweeping.Go(settle)
		}
		<-ticker.C
	}
}

// look judges one connection.
func (s *Server) look(c *conn, now int64) {
	k := &c.sweeping
	if h := c.session.Load(); h != nil {
		s.lookSession(c, h, now)
	}
	if c.quic {
		s.lookDrain(c, now)
	}
	if u := c.upload.Load(); u != nil {
		s.lookUpload(c, u, now)
	}
	deadline, st := c.deadline.Load(), stage(c.stage.Load())
	if deadline != 0 && now > deadline {
		s.expire(c, st, deadline)
		return
	}
	waited := deadline == k.deadline && st == k.stage
	was := k.stage
	k.deadline, k.stage = deadline, st
	switch st {
	case stageIdle, stageFirst, stagePreface, stageHandshake:
		k.ended = 0
		switch {
		case s.draining.Load():
			if k.drained == 0 || st != was && (was == stageHandshake || was == stagePreface) {
				k.drained = now
			} else if now-k.drained > int64(drainGrace) {
				c.kick(kickDrain)
			}
		case st == stageIdle && waited && k.looked != deadline:
			k.looked = deadline // once per idle period
			c.lookAgain()
		}
	case stageUpstream, stageWork:
		if st == stageUpstream && c.streaming.Load() && s.draining.Load() {
			s.lookStreamDrain(c, now, deadline)
		}
		if waited {
			s.lookGone(c, now, deadline)
		}
	case stageHead:
		if waited {
			c.lookAgain()
		}
	case stageBody:
		if waited {
			c.lookAgain()
		}
		s.lookRate(c, st)
	case stageSend:
		s.lookRate(c, st)
	case stageTunnel:
		if t := c.socket.Load(); t != nil && s.draining.Load() {
			t.lookDrain(k, now)
		}
	}
}

// lookAgain wakes a connection that has something to read. It is needed for one case: a client's end that came together with its last bytes makes no event
// of its own, and the callback, which stops reading when the socket seems empty, has not seen it.
func (c *conn) lookAgain() {
	if c.stream == nil && c.wire.peek() != peekNothing {
		c.kick(kickLook)
	}
}

// expire ends what is overdue.
func (s *Server) expire(c *conn, st stage, deadline int64) {
	switch st {
	case stageUpstream:
		c.kickUpstream(kickTimeout, deadline)
	case stageSend:
		if sent := c.wire.total.Load(); sent != c.sweeping.sent { // slow, but it moves: the minimum rate judges that
			c.sweeping.sent = sent
			c.deadline.Store(s.now() + int64(c.sendTimeout.Load()))
			return
		}
		s.metrics.Process.Hit(observe.LimitSendTimeout)
		c.kickSend()
	case stageTunnel:
		if t := c.socket.Load(); t != nil {
			t.overdue(s.now())
		}
	default:
		switch st {
		case stageIdle, stageFirst, stageSession:
			s.metrics.Process.Hit(observe.LimitIdleTimeout)
		case stageHandshake:
			s.metrics.Process.Hit(observe.LimitHandshakeTimeout)
			c.kickHandshake()
			return
		}
		c.kick(kickTimeout)
	}
}

// lookUpload judges the second goroutine of a connection.
func (s *Server) lookUpload(c *conn, u *upload, now int64) {
	deadline := u.deadline.Load()
	overdue := deadline != 0 && now > deadline
	switch stage(u.stage.Load()) {
	case stageBody:
		if overdue {
			c.kick(kickTimeout)
		} else {
			s.lookRate(c, stageBody)
		}
	case stageSend:
		if overdue {
			c.kickUpstream(kickTimeout, c.deadline.Load())
		}
	}
}

// lookGone cancels an exchange whose client has left.
func (s *Server) lookGone(c *conn, now, deadline int64) {
	k := &c.sweeping
	if u := c.upload.Load(); u != nil && !u.complete.Load() {
		return // the upload reads, and sees it
	}
	switch c.peek() {
	case peekBroken:
		c.kickUpstream(kickGone, deadline)
	case peekEnd:
		if k.ended == 0 {
			k.ended = now
		} else if now-k.ended > int64(halfCloseGrace) {
			k.ended = 0
			c.kickUpstream(kickGone, deadline)
		}
	}
}

// peek looks whether the client is still there.
func (c *conn) peek() peeked {
	if c.stream != nil {
		return c.stream.peek()
	}
	if c.tls != nil {
		return c.wire.peekSealed()
	}
	return c.wire.peek()
}

// lookRate ends a connection whose client sends, or takes, less than the minimum rate. Time is only counted while the client is what is waited for.
func (s *Server) lookRate(c *conn, st stage) {
	k := &c.sweeping
	rate := c.minRate.Load()
	if rate <= 0 {
		return
	}
	moved := c.got.Load()
	if st == stageSend {
		moved = c.wire.total.Load()
	}
	if k.slow == 0 || st != k.slowIn {
		k.slowIn = st
		k.slow, k.base = int64(sweepEvery), moved
		return
	}
	k.slow += int64(sweepEvery)
	if k.slow < int64(rateGrace) {
		return
	}
	if moved-k.base < rate*k.slow/int64(time.Second) {
		k.slow = 0
		if st == stageSend {
			s.metrics.Process.Hit(observe.LimitBodyRate)
			c.kickSend()
		} else {
			c.kick(kickRate)
		}
		return
	}
	k.slow, k.base = 0, moved
}
