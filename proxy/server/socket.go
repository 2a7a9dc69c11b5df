package server

import (
	"crypto/rand"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

// closeGrace is how long the two sides of a WebSocket have to answer a close of ours.
const closeGrace = 2 * time.Second

// Reasons for which the proxy ends a WebSocket by itself; those of package websocket come beside them.
const (
	endIdle   = "idle"
	endAge    = "max_age"
	endDrain  = "drain"
	endRate   = "message_rate"
	endFilter = "filter"
)

// socket is a WebSocket that passes through. Each direction has a goroutine that reads; writing to a side is guarded, because a close of ours may come from anywhere.
type socket struct {
	c        *conn
	w        *work
	rules    *config.WebSocket
	metrics  *observe.SocketMetrics
	idle     int64
	oldest   int64 // when it gets too old, on the server's clock; 0 = never
	client   side
	upstream side
	told     atomic.Bool // both sides were sent a close, or will be between two frames
	until    int64       // when it ends whatever the sides do; set before told

	mu      sync.Mutex // guards the rest
	over    bool
	leaving bool // leaveSoon was called
	running sync.WaitGroup
	reason  string // why the proxy ended it, "" = it did not
}

// side is one of the two peers, as a place to write to.
type side struct {
	wire   *wire
	masked bool // frames of ours are those of a client
	taking      // reading from it

	mu     sync.Mutex // guards the rest, and writing to wire
	at     websocket.Boundary
	parts  bool   // whole frames are written, so that it is always between two
	bye    []byte // our close, which waits for the end of a frame
	closed bool   // a close frame was sent: nothing may follow (RFC 6455 §5.5.1)
	heard  bool   // it has sent one
	out    []byte // scratch for frames
}

func newSocket(c *conn, w *work) *socket {
	s := &socket{c: c, w: w, rules: w.route.WebSocket, metrics: &w.route.Metrics.Sockets, idle: int64(w.route.WebSocket.Idle)}
	if s.idle == 0 {
		s.idle = int64(w.route.Timeouts.TunnelIdle)
	}
	if age := int64(s.rules.MaxAge); age > 0 {
		s.oldest = c.s.now() + age
	}
	s.client.wire = &c.wire
	s.upstream.wire, s.upstream.masked = &w.up, true
	s.client.takeFn, s.upstream.takeFn = s.client.onTake, s.upstream.onTake
	s.metrics.Total.Add(1)
	return s
}

// run moves bytes both ways until both sides have ended, one has failed, or the proxy ends it. fromClient and fromUpstream are what came behind the heads.
func (s *socket) run(fromClient, fromUpstream []byte) {
	up, down := s.copyBytes, s.copyBytes
	if s.w.route.looksAtMessages() {
		g := newGuard(s)
		up, down = g.copyMessages, g.copyMessages
	}
	s.c.socket.Store(s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.w.received += up(&s.upstream, &s.client, fromClient)
	}()
	s.w.sent += down(&s.client, &s.upstream, fromUpstream)
	<-done
	s.c.socket.Store(nil)
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.running.Wait()
	if s.reason != "" {
		s.w.refusal = "websocket_" + s.reason
	}
}

// each reads what comes from one side and gives it to pass, with the pieces that were read before it began. It holds a buffer only while there is something to pass. The end
// of the stream is passed on as such; a failure ends the other direction as well.
func (s *socket) each(to, from *side, early []byte, pass func(p []byte) error) (n int64) {
	n = int64(len(early))
	err := error(nil)
	if len(early) > 0 {
		err = pass(early)
	}
	for err == nil {
		s.arm()
		var k int
		k, err = from.read(&s.c.s.large, pass)
		n += int64(k)
	}
	if errors.Is(err, io.EOF) && to.closeWrite() == nil {
		return n
	}
	s.cut()
	return n
}

// cut ends both directions at once.
func (s *socket) cut() {
	_ = s.client.wire.tcp.SetDeadline(past)
	_ = s.upstream.wire.tcp.SetDeadline(past)
}

// copyBytes passes bytes on as they are, and follows the frames in them.
func (s *socket) copyBytes(to, from *side, early []byte) int64 {
	return s.each(to, from, early, func(p []byte) error {
		err := to.pass(p)
		if to.ended() {
			s.hear(from)
		}
		return err
	})
}

// arm allows another while without anything to pass.
func (s *socket) arm() {
	deadline := s.c.s.now() + s.idle
	if s.oldest != 0 {
		deadline = min(deadline, s.oldest)
	}
	s.c.arm(stageTunnel, deadline)
	if s.told.Load() {
		s.c.arm(stageTunnel, s.until)
	}
}

// overdue is called by the sweeper when the deadline has passed.
func (s *socket) overdue(now int64) {
	srv := s.c.s
	switch {
	case s.told.Load():
		s.c.abort()
	case s.oldest != 0 && now > s.oldest:
		if s.leaveSoon(endAge) {
			srv.metrics.Process.Hit(observe.LimitSocketAge)
		}
	case s.leaveSoon(endIdle):
		srv.reached(observe.LimitTunnelIdle, s.c.peer.Addr())
	}
}

// lookDrain tells the sides of a drain at some moment within the time they are given.
func (s *socket) lookDrain(k *sweeping, now int64) {
	if k.leaves == 0 {
		k.leaves = now + int64(mathrand.Float64()*float64(s.rules.Drain)) + 1
	}
	if now >= k.leaves {
		s.leaveSoon(endDrain)
	}
}

// leaveSoon says goodbye to both sides without making the caller wait. It reports whether that begins now.
func (s *socket) leaveSoon(reason string) (begins bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if begins = !s.over && !s.leaving; begins {
		s.leaving = true
		s.running.Go(func() { s.leave(reason, websocket.CloseGoingAway, websocket.CloseGoingAway, "") })
	}
	return begins
}

// leave ends the WebSocket: each side is sent a close, between two frames, and nothing else; what they still send is not passed on. They have a moment to close in turn.
func (s *socket) leave(reason string, toClient, toUpstream int, text string) {
	s.mu.Lock()
	if s.told.Load() {
		s.mu.Unlock()
		return
	}
	s.reason, s.until = reason, s.c.s.now()+int64(closeGrace)
	s.told.Store(true)
	s.mu.Unlock()
	s.metrics.Closes.Add(reason)
	s.c.arm(stageTunnel, s.until)
	a := s.client.say(toClient, text)
	b := s.upstream.say(toUpstream, text)
	if a != nil || b != nil {
		s.cut()
		return
	}
	s.hear(nil)
}

// hear notes that a side has sent its close. When the proxy has said goodbye, and both sides have answered, there is nothing left to wait for.
func (s *socket) hear(from *side) {
	if from != nil {
		from.mu.Lock()
		from.heard = true
		from.mu.Unlock()
	}
	if s.told.Load() && s.client.finished() && s.upstream.finished() {
		s.cut()
	}
}

// pass writes bytes of the other side, and our close when it waits for the end of a frame.
func (d *side) pass(p []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		d.at.Pass(p) // to know when the other side has closed
		return nil
	case d.bye == nil:
		d.at.Pass(p)
		return d.wire.write(p, nil)
	}
	n := d.at.PassFrame(p)
	var bye []byte
	if d.at.Between() {
		bye, d.closed = d.bye, true
	}
	err := d.wire.write(p[:n], bye)
	d.at.Pass(p[n:])
	return err
}

// ended reports whether the bytes passed to this side had a close frame among them.
func (d *side) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at.Closed()
}

// frame writes a whole frame.
func (d *side) frame(o websocket.Opcode, payload []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = o == websocket.Close
	return d.send(o, payload)
}

// send writes a frame with mu held.
func (d *side) send(o websocket.Opcode, payload []byte) error {
	d.out = d.append(d.out[:0], o, payload)
	err := d.wire.write(d.out, nil)
	if cap(d.out) > readBuffer {
		d.out = nil
	}
	return err
}

func (d *side) append(dst []byte, o websocket.Opcode, payload []byte) []byte {
	if !d.masked {
		return websocket.AppendFrame(dst, true, o, nil, payload)
	}
	var key [4]byte
	_, _ = rand.Read(key[:]) // never fails
	return websocket.AppendFrame(dst, true, o, &key, payload)
}

// say sends a close, now or at the end of the frame that is being passed on.
func (d *side) say(code int, text string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || !d.parts && d.at.Closed() {
		d.closed = true
		return nil
	}
	payload := websocket.AppendClose(nil, code, text)
	if d.parts || d.at.Between() {
		d.closed = true
		return d.send(websocket.Close, payload)
	}
	d.bye = d.append(nil, websocket.Close, payload)
	return nil
}

// finished reports that the side has sent and got a close.
func (d *side) finished() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.heard && d.closed
}

// closeWrite passes the end of a stream on.
func (d *side) closeWrite() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wire.closeWrite()
}
