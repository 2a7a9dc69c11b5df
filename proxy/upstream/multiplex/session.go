package multiplex

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http2"
)

// Session is one connection to a target that speaks HTTP/2.
type Session struct {
	conn    net.Conn
	opt     Options
	created time.Time
	ended   chan struct{} // closed with the session
	doubt   chan struct{} // an exchange was given up in silence: is the target still there?
	running sync.WaitGroup
	moved   atomic.Int64 // bytes of bodies in either direction that the reader's budget does not know of

	mu       sync.Mutex // guards the rest
	streams  map[uint32]*Stream
	active   int    // streams opened and not released
	next     uint32 // number of the next stream
	allowed  int    // streams at the same time, by the target
	initial  uint32 // window of a new stream, by the target
	window   http2.SendWindow
	retired  bool // no further streams are opened; those that are go on
	leaving  bool // the target serves no further requests
	tunnels  bool // the target takes WebSockets (RFC 8441 §3)
	err      error
	lastUsed time.Time // when the last stream was released
	heard    time.Time // when the last bytes came
	pinged   bool      // and nothing came since
	asked    time.Time // when that was

	out    []byte // frames to be written
	spare  []byte
	unsent int // bytes in out and in the write under way
	wake   sync.Cond
	closed bool // the writer is to end
}

// Start begins a session on a fresh connection, which it owns from then on. It waits for the target's settings, so that what is no HTTP/2 server is found out here; deadline bounds that.
func Start(conn net.Conn, opt Options, deadline time.Time) (*Session, error) {
	now := time.Now()
	s := &Session{
		conn: conn, opt: opt, created: now, ended: make(chan struct{}), doubt: make(chan struct{}, 1), streams: map[uint32]*Stream{}, next: 1, allowed: opt.MaxStreams, initial: http2.InitialWindow,
		window: http2.NewSendWindow(http2.InitialWindow), lastUsed: now, heard: now,
	}
	s.wake.L = &s.mu
	r := newReader(s)
	s.out = append(s.out, http2.Preface...)
	s.out = http2.AppendSettings(s.out, http2.Setting{ID: http2.EnablePush}, http2.Setting{ID: http2.InitialWindowSize, Value: opt.Window},
		http2.Setting{ID: http2.MaxHeaderListSize, Value: maxList})
	s.out = http2.AppendWindowUpdate(s.out, 0, r.window.Enlarge(connectionWindow))
	_ = conn.SetDeadline(deadline)
	_, err := conn.Write(s.out)
	s.out = s.out[:0]
	if err == nil {
		err = r.meet()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	s.running.Go(func() { s.fail(r.run()) })
	s.running.Go(s.write)
	if opt.PingInterval > 0 {
		s.running.Go(s.listen)
	}
	return s, nil
}

// Open reserves a stream; ErrFull and every other error mean that nothing was sent.
func (s *Session) Open() (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return nil, s.err
	case s.retired || s.active >= min(s.opt.MaxStreams, s.allowed):
		return nil, ErrFull
	}
	s.active++
	st := &Stream{s: s, receive: http2.NewReceiveWindow(s.opt.Window)}
	st.readable.L, st.writable.L = &s.mu, &s.mu
	return st, nil
}

// Retire lets the running streams end and then closes the connection.
func (s *Session) Retire() {
	s.mu.Lock()
	s.retired = true
	s.leave()
	s.changed()
	s.mu.Unlock()
}

// leave closes a retired session without streams. mu is held.
func (s *Session) leave() {
	if s.retired && s.active == 0 && s.err == nil {
		s.end(errClosed, http2.NoError)
	}
}

// Close ends the session and all of its streams at once, and waits for its goroutines.
func (s *Session) Close() {
	s.fail(errClosed)
	s.running.Wait()
}

// Usable reports whether the session may take streams, now or when others have ended.
func (s *Session) Usable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil && !s.retired
}

// Ended is closed when the session is over.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Streams is how many streams are open.
func (s *Session) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}

// Idle is since when there is no stream; ok is false when there is one.
func (s *Session) Idle() (since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastUsed, s.active == 0
}

// RemoteAddr is that of the connection.
func (s *Session) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Created is when the connection was opened.
func (s *Session) Created() time.Time { return s.created }

// Err is why the session is over, nil while it is not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// fail ends the session because of err.
func (s *Session) fail(err error) {
	code := http2.NoError
	var broken *http2.Error
	if errors.As(err, &broken) {
		code, err = broken.Code, &Violation{broken}
	} else if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the target left without saying so; what it had not answered it may have done all the same
	}
	s.mu.Lock()
	s.end(err, code)
	s.mu.Unlock()
}

// end ends every stream and lets the writer say goodbye. mu is held.
func (s *Session) end(err error, code http2.Code) {
	if s.err != nil {
		return
	}
	s.err = err
	for id, st := range s.streams {
		st.broken(err)
		delete(s.streams, id)
	}
	s.out = http2.AppendGoAway(s.out, 0, code)
	s.closed = true
	s.wake.Signal()
	close(s.ended)
	s.changed()
	_ = s.conn.SetWriteDeadline(time.Now().Add(farewell))
}

// changed tells that there may be room for a stream, or less of it. mu is held.
func (s *Session) changed() {
	if s.opt.Changed != nil {
		s.opt.Changed()
	}
}

// listen asks a silent target for a sign of life while there are streams.
func (s *Session) listen() {
	timer := time.NewTimer(s.opt.PingInterval)
	defer timer.Stop()
	for {
		select {
		case <-s.ended:
			return
		case now := <-timer.C:
			timer.Reset(s.ask(now, s.opt.PingInterval))
		case <-s.doubt:
			timer.Reset(s.ask(time.Now(), 0))
		}
	}
}

// ask sends a ping after so much silence, or ends the session when there was no answer to the last one in time. It returns when to look again.
func (s *Session) ask(now time.Time, bearable time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	silent := now.Sub(s.heard)
	switch {
	case s.pinged && now.Sub(s.asked) < s.opt.PingTimeout:
		return s.opt.PingTimeout - now.Sub(s.asked)
	case s.pinged:
		s.end(errSilent, http2.NoError)
		return s.opt.PingInterval
	case s.active == 0 && bearable > 0: // nobody waits, and servers do not like to be asked without a reason
		s.heard = now
		return s.opt.PingInterval
	case silent < bearable:
		return bearable - silent
	}
	s.pinged, s.asked = true, now
	s.control(http2.AppendPing(s.out, [8]byte{'s', 'e', 'n', 't', 'i', 'n', 'e', 'l'}))
	return s.opt.PingTimeout
}
