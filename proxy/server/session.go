package server

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http2"
)

// session is a connection that speaks HTTP/2. The connection's goroutine reads its frames; every stream is served by a conn of its own, which reads from and
// writes to a stream as if that were a socket on which a client speaks HTTP/1.1 (see stream.go). So everything that holds for an exchange holds here too.
//
// Who has frames to send appends them to out; the first one who finds nobody writing writes, for all. What the peer does not take is bounded: data by the windows
// and by outMax, answers to control frames by the budget.
type session struct {
	c        *conn
	settings *Listener
	decoder  *http2.Decoder
	budget   http2.Budget
	moved    atomic.Int64 // bytes of bodies in either direction that the budget does not know of

	// Of the reading goroutine.
	greeted bool   // the preface has come
	settled bool   // and SETTINGS behind it
	rest    []byte // part of a frame
	block   uint32 // stream whose header block is not complete, 0 = none
	ending  bool   // the block ends its stream
	lastID  uint32 // of the last stream begun
	begun   int    // streams so far

	sending atomic.Int64 // until when the peer must have taken something, on the server's clock; 0 = nothing is being sent

	mu       sync.Mutex    // guards everything below; never held while waiting
	partial  int64         // since when a frame or a header block is incomplete, on the server's clock; 0 = none is
	patience time.Duration // how long it may be
	streams  map[uint32]*stream
	running  int    // conns at work, those of reset streams included
	resets   resets // streams that we reset
	initial  int64  // window of a new stream for sending
	send     http2.SendWindow
	receive  http2.ReceiveWindow
	out      []byte
	spare    []byte
	writing  bool
	broken   bool      // the socket takes nothing any more
	err      error     // why the session is over
	done     sync.Cond // running is 0, or after the end nobody writes
	leaving  bool      // a final GOAWAY is sent: no new streams
	farewell bool      // a first GOAWAY is sent: new streams are served
}

const (
	outMax   = 128 << 10 // data frames wait when so much is to be sent
	outSpare = 256 << 10 // a larger buffer is not kept
)

// resets remembers the last streams that we have reset: what is still on its way for them is not an error.
type resets struct {
	ids  [64]uint32
	next int
}

func (r *resets) add(id uint32) {
	r.ids[r.next%len(r.ids)] = id
	r.next++
}

// forget is for a stream that the peer has ended, too: what comes behind that is an error.
func (r *resets) forget(id uint32) {
	for i, known := range r.ids {
		if known == id {
			r.ids[i] = 0
		}
	}
}

func (r *resets) has(id uint32) bool {
	for _, known := range r.ids {
		if known == id {
			return true
		}
	}
	return false
}

func newSession(c *conn) *session {
	l, limits := c.settings, c.s.generation.Load().Limits
	s := &session{
		c: c, settings: l, decoder: http2.NewDecoder(limits.MaxHeaderSize, limits.MaxHeaderCount), budget: http2.Budget{Size: int64(l.HTTP2.AbuseBudget)},
		streams: map[uint32]*stream{}, initial: http2.InitialWindow, send: http2.NewSendWindow(http2.InitialWindow), receive: http2.NewReceiveWindow(http2.InitialWindow),
	}
	s.done.L = &s.mu
	return s
}

// serveHTTP2 serves the connection from the client's preface on, of which early is what has been read.
func (c *conn) serveHTTP2(early []byte) {
	s := newSession(c)
	defer s.end()
	s.partial, s.patience = c.s.now(), s.settings.HeaderTimeout
	s.greet()
	c.session.Store(s)
	for on := s.feed(early); on && s.wait(); {
		on = s.read()
	}
	if s.refused() { // or what is unread would reset the connection, and take away what the client is told
		c.lingerFor(lingerShort)
	}
}

// refused reports whether the connection ends because of what the client did, once it was told so.
func (s *session) refused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err *http2.Error
	if !errors.As(s.err, &err) {
		return false
	}
	s.written() // before the connection is closed for writing
	return true
}

// greet sends our settings and opens the connection's window.
func (s *session) greet() {
	h := &s.settings.HTTP2
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = http2.AppendSettings(s.out, http2.Setting{ID: http2.MaxConcurrentStreams, Value: uint32(h.MaxConcurrentStreams)},
		http2.Setting{ID: http2.InitialWindowSize, Value: uint32(h.StreamWindow)}, http2.Setting{ID: http2.MaxHeaderListSize, Value: uint32(s.decoder.MaxList)}, http2.Setting{ID: http2.EnableConnectProtocol, Value: 1})
	if more := s.receive.Enlarge(uint32(h.ConnectionWindow)); more > 0 {
		s.out = http2.AppendWindowUpdate(s.out, 0, more)
	}
	s.flush()
	s.rearm()
}

// wait waits until there is something to read. It reports false when the connection is over.
func (s *session) wait() bool {
	err := s.c.wire.await()
	if err == nil {
		return true
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	why := kick(s.c.kicked.Swap(uint32(kickNone)))
	if why == kickAbort || s.c.wire.tcp.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch why {
	case kickTimeout:
		if until := s.c.deadline.Load(); until != 0 && s.c.s.now() >= until {
			s.leave(http2.NoError)
			return false
		}
	case kickDrain:
		s.sayGoodbye()
	}
	return s.err == nil && !(s.leaving && s.running == 0)
}

// sayGoodbye announces the end, in two steps: streams that the client begins before it has heard of the first are still served.
func (s *session) sayGoodbye() {
	if !s.farewell {
		s.farewell = true
		s.out = http2.AppendGoAway(s.out, http2.MaxStreamID, http2.NoError)
		s.flush()
		return
	}
	s.leave(http2.NoError)
}

// leave sends the final GOAWAY. It is called with mu held.
func (s *session) leave(code http2.Code) {
	if s.leaving {
		return
	}
	s.leaving, s.farewell = true, true
	s.out = http2.AppendGoAway(s.out, s.lastID, code)
	s.flush()
}

// read takes what is there and handles it. It reports false when the connection is over.
func (s *session) read() bool {
	c := s.c
	buf := c.s.large.Get().(*[largeBuffer]byte)
	defer c.s.large.Put(buf)
	have := copy(buf[:], s.rest)
	n, err := c.wire.readSome(buf[have:])
	if err != nil {
		return errors.Is(err, os.ErrDeadlineExceeded) // wait finds out why
	}
	s.credit(n)
	return s.feed(buf[:have+n])
}

// credit counts bytes of a frame that is not complete yet for the stream whose body they belong to, so that a slow client is not taken for one that stalls.
func (s *session) credit(n int) {
	if len(s.rest) < http2.FrameHeader || http2.Type(s.rest[3]) != http2.Data {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.streams[binary.BigEndian.Uint32(s.rest[5:])&http2.MaxStreamID]; st != nil {
		st.c.got.Add(int64(n))
	}
}

// feed handles all frames that are complete in b and keeps the rest.
func (s *session) feed(b []byte) bool {
	left, err := s.frames(b)
	if err != nil {
		s.fail(err)
		return false
	}
	if s.rest = append(s.rest[:0], left...); len(left) == 0 && cap(s.rest) > 1<<10 {
		s.rest = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.time(left, len(left) < len(b))
	s.flush()
	if s.settings.KeepaliveMaxRequests > 0 && s.begun >= s.settings.KeepaliveMaxRequests {
		s.leave(http2.NoError)
	}
	s.rearm()
	return s.err == nil && !(s.leaving && s.running == 0)
}

// time, called with mu held, notes since when something is incomplete, and how long that may be: a header block, or the beginning of a connection, has to come within the header timeout
// from its first byte to its last; so has a frame, but a piece of a body may take longer, for the minimum rate watches over it.
func (s *session) time(left []byte, moved bool) {
	block := s.block != 0 || !s.settled
	switch {
	case !block && len(left) == 0:
		s.partial = 0
		return
	case s.partial == 0, moved && !block:
		s.partial = s.c.s.now()
	}
	s.patience = s.settings.HeaderTimeout
	if !block && len(left) >= http2.FrameHeader && http2.Type(left[3]) == http2.Data {
		s.patience = s.settings.RequestTimeout
	}
}

// frames handles the frames at the start of b and returns what is behind them.
func (s *session) frames(b []byte) ([]byte, *http2.Error) {
	if !s.greeted {
		n := min(len(b), len(http2.Preface))
		if string(b[:n]) != http2.Preface[:n] {
			return nil, &http2.Error{Code: http2.ProtocolError, Reason: "preface"}
		}
		if n < len(http2.Preface) {
			return b, nil
		}
		s.greeted, b = true, b[n:]
	}
	var f http2.Frame
	for {
		n, err := http2.ParseFrame(b, &f)
		if n == 0 {
			return b, err
		}
		b = b[n:]
		if err == nil {
			err = s.frame(&f)
		}
		if err != nil && err.Stream == 0 {
			return nil, err
		}
		if err != nil {
			s.count(err)
			s.reset(err.Stream, err.Code)
		}
	}
}

// fail ends the connection because of what the client did.
func (s *session) fail(err *http2.Error) {
	s.count(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving, s.farewell = true, true
	s.out = http2.AppendGoAway(s.out, s.lastID, err.Code)
	s.flush()
	if s.err == nil {
		s.err = err
	}
}

// count notes what a client did wrong.
func (s *session) count(err *http2.Error) {
	s.c.s.metrics.Process.HTTP2Errors.Add(err.Reason)
	s.c.s.log.Debug("HTTP/2 error", "listener", s.c.ln.id, "client", s.c.peer, "error", err)
}

// rearm notes until when the session may go on as it is. It is called with mu held.
func (s *session) rearm() {
	now := s.c.s.now()
	switch {
	case s.partial != 0:
		s.c.arm(stageSession, s.partial+int64(s.patience))
	case s.running == 0:
		s.c.arm(stageSession, now+int64(s.settings.KeepaliveTimeout))
	default:
		s.c.arm(stageSession, 0)
	}
}

// end lets every stream end.
func (s *session) end() {
	s.mu.Lock()
	if s.err == nil {
		s.err = errGone
	}
	var left []*conn
	for _, st := range s.streams {
		st.kill()
		left = append(left, st.c)
	}
	s.mu.Unlock()
	for _, c := range left {
		c.abort()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.running > 0 {
		s.done.Wait()
	}
	s.written()
}
