package server

import (
	"errors"
	"os"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// isPreface reports whether what a client has sent first is the beginning of HTTP/2 with prior knowledge (RFC 9113 §3.3); sure = enough has come to say so.
func isPreface(b []byte) (is, sure bool) {
	n := min(len(b), len(http2.Preface))
	if string(b[:n]) != http2.Preface[:n] {
		return false, true
	}
	return true, n == len(http2.Preface)
}

// switchToHTTP2 goes on with a plain connection whose client began so.
func (c *conn) switchToHTTP2() {
	w := c.w
	early := append([]byte(nil), w.in[w.start:w.end]...)
	c.w = nil
	c.s.putWork(w)
	c.serveHTTP2(early)
}

// serveStream serves a stream of HTTP/2. It does not wait.
func (c *conn) serveStream(st *stream) {
	st.c = c.substream(st)
	c.s.enroll(st.c)
	c.s.serveStreamConn(st.c)
}

// substream makes a conn for a stream, which shares what is known of its connection.
func (c *conn) substream(st substream) *conn {
	sc := &conn{
		s: c.s, ln: c.ln, peer: c.peer, local: c.local, stripe: c.stripe, settings: c.settings, generation: c.generation, names: c.names, tls: c.tls, secured: c.secured,
		stream: st,
	}
	sc.minRate.Store(c.settings.MinBodyRate)
	sc.sendTimeout.Store(int64(c.settings.SendTimeout))
	sc.wire.tcp = st
	return sc
}

// serveOne serves the one request of a stream.
func (c *conn) serveOne() {
	defer c.end()
	c.configure(c.s.generation.Load())
	c.arm(stageHead, c.s.now()+int64(c.settings.HeaderTimeout))
	w := c.s.getWork()
	c.w = w
	r, err := c.begun()
	switch {
	case err != nil:
		c.late(w, err)
		return
	case r != nil:
		c.s.countRefusal(r)
		c.runRefused(w, r.Status, r.Code)
		return
	}
	for c.requests == 0 {
		n, err := c.readBody(w.room(), c.deadline.Load(), nil)
		if err != nil {
			c.late(w, err)
			return
		}
		w.end += n
		c.received(n)
		if c.next = c.progress(w); c.next == wantBlock {
			c.block()
		}
	}
}

// begun waits until the stream knows what to serve. A kick that was not meant for it is shrugged off.
func (c *conn) begun() (*http1.Refusal, error) {
	for {
		r, err := c.stream.begin()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || kick(c.kicked.Load()) == kickAbort || c.s.now() >= c.deadline.Load() {
			return r, err
		}
		if err := c.wire.tcp.SetReadDeadline(time.Time{}); err != nil {
			return nil, err
		}
	}
}

// late answers when the rest of a request did not come in time.
func (c *conn) late(w *work, err error) {
	why := kick(c.kicked.Swap(uint32(kickNone)))
	if !errors.Is(err, os.ErrDeadlineExceeded) || why == kickAbort || c.wire.tcp.SetReadDeadline(time.Time{}) != nil {
		return
	}
	c.refuseLate(w, why)
}

// enroll lets the sweeper look after a stream's conn.
func (s *Server) enroll(c *conn) {
	s.mu.Lock()
	c.index = len(s.streams)
	s.streams = append(s.streams, c)
	s.mu.Unlock()
	c.stream.open().Add(1)
}

// dismiss is enroll undone.
func (s *Server) dismiss(c *conn) {
	s.mu.Lock()
	last := len(s.streams) - 1
	s.streams[c.index] = s.streams[last]
	s.streams[c.index].index = c.index
	s.streams[last] = nil
	s.streams = s.streams[:last]
	s.mu.Unlock()
	c.stream.open().Add(-1)
}

// lookSession judges a connection that speaks HTTP/2.
func (s *Server) lookSession(c *conn, h *session, now int64) {
	k := &c.sweeping
	if until := h.sending.Load(); until != 0 && now > until {
		if sent := c.wire.total.Load(); sent != k.sent {
			k.sent = sent
			h.sending.CompareAndSwap(until, now+c.sendTimeout.Load())
		} else {
			s.metrics.Process.Hit(observe.LimitSendTimeout)
			c.kickSend()
		}
	}
	s.lookDrain(c, now)
}

// lookDrain tells a connection of several streams that the end has come: at first that it is near, and a second later that it is here.
func (s *Server) lookDrain(c *conn, now int64) {
	k := &c.sweeping
	if !s.draining.Load() {
		return
	}
	switch {
	case k.drained == 0:
		k.drained = now
		c.kick(kickDrain)
	case now-k.drained > int64(drainGrace) && k.ended == 0:
		k.ended = now
		c.kick(kickDrain)
	}
}
