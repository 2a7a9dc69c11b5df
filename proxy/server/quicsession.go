package server

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/http3"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// quicSession is a connection that speaks HTTP/3. QUIC does what a session of HTTP/2 has to do itself: streams, windows, sending. What is left is to begin requests, each
// served by a conn of its own (see quicstream.go), to watch over the control stream, and to end in order.
//
// For the conn of the connection it is the socket: deadlines that have passed wake the goroutine that serves it.
type quicSession struct {
	c    *conn
	q    *http3.Conn
	wake chan struct{} // somebody has kicked the conn
	our  *http3.SendStream

	mu       sync.Mutex // guards the fields below; never held while waiting
	budget   http2.Budget
	opened   [4]bool
	running  int    // conns at work
	begun    int    // requests so far
	next     uint64 // number behind that of the last request
	limit    uint64 // requests from this number on are not served; 0 = none is said
	leaving  bool   // a final GOAWAY is sent
	farewell bool   // a first GOAWAY is sent
	done     sync.Cond
}

// serveQUIC serves the connection to its end.
func (c *conn) serveQUIC(h *quicSession) {
	defer c.end()
	if c.secureQUIC(h.q) != nil {
		return
	}
	h.budget.Size = int64(c.settings.HTTP3.AbuseBudget)
	ctx := h.q.Context()
	var err error
	if h.our, err = h.q.OpenUniStream(); err != nil {
		return
	}
	limits := &c.s.generation.Load().Limits
	if _, err := h.our.Write(http3.AppendGreeting(nil, limits.MaxHeaderSize)); err != nil {
		return
	}
	h.rearm()
	var helpers sync.WaitGroup
	helpers.Go(func() { h.acceptRequests(ctx) })
	helpers.Go(func() { h.acceptOthers(ctx, &helpers) })
	for on := true; on; {
		select {
		case <-ctx.Done():
			on = false
		case <-h.wake:
			on = h.kicked()
		}
	}
	if h.left() {
		h.linger(ctx)
	}
	h.close(http3.NoError)
	helpers.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.running > 0 {
		h.done.Wait()
	}
}

// left reports whether the connection has been ended in order.
func (h *quicSession) left() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leaving && h.running == 0
}

// linger leaves the client time to get the end of the last answer, and to close the connection itself: to end it takes away what has not arrived.
func (h *quicSession) linger(ctx context.Context) {
	end := time.NewTimer(lingerQuiet)
	defer end.Stop()
	for kick(h.c.kicked.Load()) != kickAbort {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-h.wake:
		}
	}
}

// kicked does what the conn was kicked for. It reports false when the connection is over.
func (h *quicSession) kicked() bool {
	why := kick(h.c.kicked.Swap(uint32(kickNone)))
	h.mu.Lock()
	defer h.mu.Unlock()
	switch why {
	case kickAbort:
		return false
	case kickTimeout:
		if until := h.c.deadline.Load(); until != 0 && h.c.s.now() >= until && h.running == 0 {
			h.leave()
			return false
		}
	case kickDrain:
		if h.farewell {
			h.leave()
		} else {
			h.farewell = true
			h.say(http3.MaxStreamID)
		}
	}
	return !(h.leaving && h.running == 0)
}

// leave says that no further request is served. It is called with mu held.
func (h *quicSession) leave() {
	if h.leaving {
		return
	}
	h.leaving, h.farewell, h.limit = true, true, h.next
	h.say(h.next)
}

// say sends GOAWAY. The stream takes a few bytes without waiting, whatever the client does.
func (h *quicSession) say(id uint64) { _, _ = h.our.Write(http3.AppendGoAway(nil, id)) }

// rearm notes until when the connection may go on without a request. It is called with mu held, or before anybody else can.
func (h *quicSession) rearm() {
	if h.running == 0 {
		h.c.arm(stageSession, h.c.s.now()+int64(h.c.settings.KeepaliveTimeout))
	} else {
		h.c.arm(stageSession, 0)
	}
}

// acceptRequests begins requests as their streams come.
func (h *quicSession) acceptRequests(ctx context.Context) {
	for {
		q, err := h.q.AcceptStream(ctx)
		if err != nil {
			return
		}
		h.begin(q)
	}
}

func (h *quicSession) begin(q *http3.Stream) {
	id, c := uint64(q.StreamID()), h.c
	h.mu.Lock()
	full := h.running >= c.settings.HTTP3.MaxConcurrentStreams
	if h.leaving && id >= h.limit || full {
		h.mu.Unlock()
		http3.Stop(q, true, true, http3.RequestRejected)
		if full {
			c.s.reached(observe.LimitStreams, c.peer.Addr())
			h.spend(http2.PriceReset)
		}
		return
	}
	h.running++
	h.begun++
	h.next = max(h.next, id+4)
	if most := c.settings.KeepaliveMaxRequests; most > 0 && h.begun >= most {
		h.leave()
	}
	h.rearm()
	h.mu.Unlock()
	st := &quicStream{h: h, q: q}
	st.c = c.substream(st)
	st.gone = context.AfterFunc(q.Context(), st.dropped)
	c.s.enroll(st.c)
	c.s.serveStreamConn(st.c)
}

// ended is called when the conn of a request is done.
func (h *quicSession) ended() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running--; h.running > 0 {
		return
	}
	h.rearm()
	h.done.Broadcast()
	if h.leaving {
		_ = h.SetDeadline(past)
	}
}

// spend pays for what the client did; who cannot is disconnected.
func (h *quicSession) spend(price int64) {
	h.mu.Lock()
	ok := h.budget.Spend(price, h.c.s.now())
	h.mu.Unlock()
	if !ok {
		h.fail(http3.Fatal(http3.ExcessiveLoad, "flood"))
	}
}

// earn counts bytes of bodies.
func (h *quicSession) earn(n int) {
	h.mu.Lock()
	h.budget.Earn(int64(n))
	h.mu.Unlock()
}

// fail ends the connection because of what the client did.
func (h *quicSession) fail(err *http3.Error) {
	h.count(err)
	h.close(err.Code)
}

// count notes what a client did wrong.
func (h *quicSession) count(err *http3.Error) {
	h.c.s.metrics.Process.HTTP3Errors.Add(err.Reason)
	h.c.s.log.Debug("HTTP/3 error", "listener", h.c.ln.id, "client", h.c.peer, "error", err)
}

func (h *quicSession) close(code http3.Code) { http3.End(h.q, code) }

// Close ends the connection; what was said last reaches the client first, for QUIC sends it with the end.
func (h *quicSession) Close() error {
	h.close(http3.NoError)
	return nil
}

// SetDeadline wakes the connection's goroutine when t has passed.
func (h *quicSession) SetDeadline(t time.Time) error {
	if t.Equal(past) {
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// SetReadDeadline is SetDeadline.
func (h *quicSession) SetReadDeadline(t time.Time) error { return h.SetDeadline(t) }

// SetWriteDeadline does nothing: streams are written to, not the connection.
func (h *quicSession) SetWriteDeadline(time.Time) error { return nil }

// Read fails: there is nothing to read but streams.
func (h *quicSession) Read([]byte) (int, error) { return 0, os.ErrInvalid }

// Write fails like Read.
func (h *quicSession) Write([]byte) (int, error) { return 0, os.ErrInvalid }

// CloseWrite fails: a connection has no halves.
func (h *quicSession) CloseWrite() error { return errGone }

// LocalAddr is the address the client has reached.
func (h *quicSession) LocalAddr() net.Addr { return h.q.LocalAddr() }

// RemoteAddr is the client's.
func (h *quicSession) RemoteAddr() net.Addr { return h.q.RemoteAddr() }

// SyscallConn fails: there is no descriptor of its own.
func (h *quicSession) SyscallConn() (syscall.RawConn, error) { return nil, errGone }
