package server

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// stage is what a connection waits for.
type stage uint32

const (
	stageIdle      stage = iota // the next request
	stageFirst                  // the first request of a connection, nothing of which has come
	stageHead                   // the rest of a head
	stageBody                   // the rest of a request body
	stageWork                   // filters, agents, a place in the upstream's pool
	stageUpstream               // the upstream
	stageSend                   // the client to take what is sent
	stageTunnel                 // either side of a tunnel
	stageLinger                 // the client to stop sending
	stageHandshake              // the client's part of a TLS handshake, or a turn to begin it
	stagePreface                // the header of the PROXY protocol
	stageSession                // frames of HTTP/2, or requests of HTTP/3
)

// kick is why the sweeper, or a drain, ended a wait.
type kick uint32

const (
	kickNone    kick = iota
	kickTimeout      // the deadline passed
	kickRate         // slower than the minimum rate
	kickDrain        // the server drains and the connection was idle
	kickLook         // there is something to read after all
	kickGone         // the client went away
	kickAbort        // the server is closed
	kickLeave        // the server drains and a stream has had its time
)

// outcome is how serving what is in the buffer ended.
type outcome uint8

const (
	wantMore    outcome = iota // the next request, or the rest of one
	wantBlock                  // a request that needs blocking reads is parsed and waits in work
	wantClose                  // the connection is over
	wantLinger                 // it is over, but the client may still be sending: see linger
	wantSession                // it speaks HTTP/2
)

// past is a deadline that ends every wait.
var past = time.Unix(1, 0)

// conn is one client connection. Its fields belong to its goroutine, except the atomics and what mu guards.
type conn struct {
	s        *Server
	ln       *served
	wire     wire
	peer     netip.AddrPort
	local    netip.AddrPort
	proxied  *config.ProxyProtocol // how it is said whose connection this is, nil = it is the peer's; set once
	index    int                   // in Server.conns; guarded by Server.mu
	counted  netip.Addr            // the client it counts for, invalid = none yet; guarded by Server.mu
	stripe   uint32
	requests int // served so far

	settings   *Listener // of generation
	generation uint64
	names      addressNames
	tls        *tlsconf.Server         // how the connection speaks TLS, nil = it does not; set once
	secured    *secured                // what the handshake found out
	plainHTTP2 bool                    // a client may begin with the preface of HTTP/2
	truncated  bool                    // an answer was cut off: there is no farewell
	stream     substream               // what it serves instead of a socket, nil = a socket
	session    atomic.Pointer[session] // when it speaks HTTP/2
	quic       bool                    // it speaks HTTP/3
	socket     atomic.Pointer[socket]  // while it is a WebSocket
	streaming  atomic.Bool             // the answer has no end in sight

	ready  func(fd uintptr) bool
	fd     uintptr // valid while inside
	inside bool    // inside the readiness callback: the socket may be written to directly
	next   outcome
	w      *work // nil while idle

	// What the connection waits for, for the sweeper.
	stage       atomic.Uint32
	deadline    atomic.Int64 // on the server's clock; 0 = none
	kicked      atomic.Uint32
	upload      atomic.Pointer[upload] // the second goroutine, while there is one
	minRate     atomic.Int64           // of settings, bytes per second
	sendTimeout atomic.Int64           // of settings
	got         atomic.Int64           // bytes read from the client, ciphertext where there is any

	mu       sync.Mutex       // guards the four below
	aborted  bool             // the server is closed, or the stream reset: nothing may be begun
	touched  bool             // somebody has set a deadline of up: it is not for others any more
	up       upstream.Stream  // the upstream connection in use
	exchange *filter.Exchange // whose Context may be waited for

	sweeping sweeping // the sweeper's notes
}

func newConn(s *Server, l *served, tcp upstream.Stream) (*conn, error) {
	c := &conn{s: s, ln: l, peer: addrPort(tcp.RemoteAddr()), local: addrPort(tcp.LocalAddr()), stripe: s.opened.Add(1)}
	if _, local := tcp.(*net.UnixConn); !local && !c.peer.IsValid() {
		return nil, errors.New("cannot serve connection: no peer address")
	}
	if err := c.wire.init(tcp); err != nil {
		return nil, err
	}
	if settings := s.generation.Load().listener(l.id); settings != nil {
		c.tls = settings.TLS
		c.proxied = settings.ProxyProtocol
		c.plainHTTP2 = settings.TLS == nil && settings.HTTP2.PriorKnowledge
	}
	c.ready = c.onReady
	c.names.init(c.peer, c.local)
	return c, nil
}

// arm notes what the connection waits for next and until when.
func (c *conn) arm(st stage, deadline int64) {
	c.deadline.Store(deadline)
	c.stage.Store(uint32(st))
}

// serve is the connection's goroutine. Its frame stays shallow, because an idle connection keeps exactly this stack.
func (c *conn) serve() {
	defer c.end()
	c.configure(c.s.generation.Load())
	if c.proxied != nil && !c.meet() {
		return
	}
	if c.tls != nil && !c.handshake() {
		return
	}
	if c.secured != nil {
		if c.secured.http2 {
			c.serveHTTP2(nil)
			return
		}
		if c.settings.HTTP2.Only { // a client without ALPN chooses nothing
			return
		}
	}
	c.arm(stageFirst, c.s.now()+int64(c.settings.HeaderTimeout))
	for {
		c.next = wantMore
		c.inside = true
		err := c.wire.raw.Read(c.ready)
		c.inside = false
		switch {
		case err != nil:
			if !c.awaken(err) {
				return
			}
			continue
		case c.next == wantBlock:
			c.block()
		}
		switch c.next {
		case wantClose:
			return
		case wantLinger:
			c.linger()
			return
		case wantSession:
			c.switchToHTTP2()
			return
		}
	}
}

// end leaves no trace of the connection. A panic that got here is a bug of ours; it costs this connection only.
func (c *conn) end() {
	if p := recover(); p != nil {
		c.s.log.Error("connection failed", "panic", p, "stack", stack())
	}
	if c.w != nil {
		c.s.putWork(c.w)
		c.w = nil
	}
	if !c.truncated {
		c.wire.farewell()
	}
	_ = c.wire.tcp.Close()
	if c.stream != nil {
		c.s.dismiss(c)
	} else {
		c.s.forget(c)
	}
}

// configure takes over the settings of a generation.
func (c *conn) configure(g *Generation) {
	if l := g.listener(c.ln.id); l != nil {
		c.settings = l
		c.minRate.Store(l.MinBodyRate)
		c.sendTimeout.Store(int64(l.SendTimeout))
	}
	c.generation = g.Number
}

// onReady is called by the poller when the socket may have something to read, and first of all when waiting begins. It returns true to leave the wait.
func (c *conn) onReady(fd uintptr) bool {
	c.fd = fd
	w := c.w
	if w == nil {
		w = c.s.getWork()
		c.w = w
	}
	for {
		room := w.room()
		n, errno := sockRead(fd, room)
		switch {
		case errno == syscall.EAGAIN:
			c.pause()
			return false
		case errno != 0 || n == 0:
			c.next = wantClose
			return true
		}
		w.end += n
		c.got.Add(int64(n))
		if c.next = c.progress(w); c.next != wantMore {
			return true
		}
		if n < len(room) { // the socket is empty; what comes later wakes us again
			c.pause()
			return false
		}
	}
}

// onReadySealed is onReady for a connection with a session.
func (c *conn) onReadySealed(fd uintptr) bool {
	c.fd = fd
	c.wire.enter(fd)
	w := c.w
	if w == nil {
		w = c.s.getWork()
		c.w = w
	}
	for {
		n, err := c.wire.open(w.room())
		switch {
		case errors.Is(err, tlsconf.ErrAgain):
			c.pause()
			return false
		case err != nil:
			c.next = wantClose
			return true
		}
		w.end += n
		if c.next = c.progress(w); c.next != wantMore {
			return true
		}
	}
}

// pause gives the buffers back when nothing is in them.
func (c *conn) pause() {
	if c.w != nil && c.w.end == 0 {
		c.s.putWork(c.w)
		c.w = nil
	}
}

// awaken decides what to do after a wait was ended from outside. It reports whether to go on.
func (c *conn) awaken(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	why := kick(c.kicked.Swap(uint32(kickNone)))
	if why == kickAbort || c.wire.tcp.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	switch {
	case why == kickLook || why == kickNone || why == kickTimeout && c.s.now() < c.deadline.Load():
		return true // the wait that was meant is over
	case c.w == nil || c.w.end == 0:
		return c.wire.peek() == peekData // what arrived in this very moment is served: no request is lost to a drain or to the idle timeout
	case why == kickDrain:
		return true
	}
	c.refuseLate(c.w, why)
	c.linger()
	return false
}

// kick ends the present wait for the client.
func (c *conn) kick(why kick) {
	c.kicked.Store(uint32(why))
	_ = c.wire.tcp.SetReadDeadline(past)
}

// kickSend ends the present wait for the client to take what is sent.
// Closing then resets the connection: an orderly close would leave megabytes of unsent answer in the kernel, for minutes, for a client that does not read.
func (c *conn) kickSend() {
	if tcp, ok := c.wire.tcp.(*net.TCPConn); ok { // a Unix socket keeps nothing for a reader that has gone
		_ = tcp.SetLinger(0)
	}
	_ = c.wire.tcp.SetWriteDeadline(past)
}

// abort ends everything at once.
func (c *conn) abort() {
	c.kicked.Store(uint32(kickAbort))
	c.mu.Lock()
	c.aborted = true
	c.endUpstream()
	if c.exchange != nil {
		c.exchange.Cancel(errGone)
	}
	c.mu.Unlock()
	_ = c.wire.tcp.SetDeadline(past)
}

// kickUpstream ends the wait for the upstream that has this deadline; if that wait is over, nothing happens.
func (c *conn) kickUpstream(why kick, deadline int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deadline.Load() != deadline {
		return
	}
	c.kicked.Store(uint32(why))
	c.endUpstream()
	if c.exchange != nil && why != kickTimeout {
		c.exchange.Cancel(errGone)
	}
}

// received counts body bytes for the minimum rate; a session counts its ciphertext itself.
func (c *conn) received(n int) {
	if c.wire.session == nil {
		c.got.Add(int64(n))
	}
}

// readBody reads outside the callback. A kick that was meant for an earlier wait is shrugged off, unless stopping says that the reader is no longer wanted.
func (c *conn) readBody(p []byte, deadline int64, stopping *atomic.Bool) (int, error) {
	for {
		n, err := c.wire.read(p)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		switch kick(c.kicked.Load()) {
		case kickTimeout:
			if c.s.now() >= deadline {
				return n, err
			}
		case kickRate, kickAbort:
			return n, err
		}
		if c.wire.tcp.SetReadDeadline(time.Time{}) != nil || stopping != nil && stopping.Load() {
			return n, err
		}
	}
}

// errGone is the cause with which the context of an exchange ends when its client does.
var errGone = errors.New("client went away")

// endUpstream ends every wait for the upstream. It is called with mu held.
func (c *conn) endUpstream() {
	if c.up != nil {
		c.touched = true
		_ = c.up.SetDeadline(past)
	}
}

// attach makes the upstream connection known to the sweeper.
func (c *conn) attach(up upstream.Stream) {
	c.mu.Lock()
	c.up, c.touched = up, false
	if c.aborted {
		c.endUpstream()
	}
	c.mu.Unlock()
}

// detach takes it away, after which nobody touches it any more. It reports whether somebody has: in the very moment in which an exchange ended well, the sweeper may
// have given up on it, and the connection's next user would find its time over.
func (c *conn) detach() (touched bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up = nil
	return c.touched
}

// send writes a and b to the client.
func (c *conn) send(a, b []byte) error {
	if !c.inside {
		before := c.stage.Load()
		c.arm(stageSend, c.s.now()+int64(c.settings.SendTimeout))
		err := c.wire.write(a, b)
		c.stage.Store(before)
		return err
	}
	if err := c.wire.load(a, b); err != nil {
		return err
	}
	if c.wire.push(c.fd) {
		c.wire.unload()
		return c.wire.werr
	}
	c.arm(stageSend, c.s.now()+int64(c.settings.SendTimeout))
	return c.wire.flush()
}

// block serves requests outside the callback, where reading may wait, until one needs nothing but the callback.
func (c *conn) block() {
	w := c.w
	for c.next == wantBlock {
		c.run(w)
		w.settle()
		if c.next = w.next; c.next == wantMore {
			c.next = c.progress(w)
		}
	}
	c.pause()
}

const (
	lingerTime  = 10 * time.Second // in all
	lingerQuiet = 2 * time.Second  // without anything from the client
	lingerShort = time.Second      // in all, for who has to read but a few bytes
)

// linger lets the client read an answer it gets while it is still sending: closing at once would reset the connection and could take the answer away.
// What comes is thrown away, however much it is: a client that writes all of its body before it reads would else never see why it was refused.
func (c *conn) linger() { c.lingerFor(lingerTime) }

func (c *conn) lingerFor(most time.Duration) {
	if c.wire.closeWrite() != nil {
		return
	}
	if c.w == nil {
		c.w = c.s.getWork()
	}
	now := c.s.now()
	for end := now + int64(most); now < end; now = c.s.now() {
		deadline := min(now+int64(lingerQuiet), end)
		c.arm(stageLinger, deadline)
		if _, err := c.readBody(c.w.in, deadline, nil); err != nil {
			return
		}
	}
}
