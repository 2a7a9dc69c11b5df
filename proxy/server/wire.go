package server

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// wire is a stream socket, TCP or Unix, as the request path uses it: one goroutine reads, one (usually the same) writes. All waiting happens in it, through the callbacks of
// syscall.RawConn that are made once per connection, so an operation allocates nothing and a connection that waits holds no buffer.
//
// Deadlines are not its business: whoever watches the connection ends an operation by setting the deadline of the net.Conn to the past.
//
// A wire without raw is not on a socket but on a stream of HTTP/2 or HTTP/3, which waits by itself (see stream.go).
//
// With a session (see sealed.go) the same operations read and write plaintext, and the socket carries ciphertext.
type wire struct {
	tcp upstream.Stream
	raw syscall.RawConn
	sealing

	// Reading.
	p       []byte
	n       int
	rerr    error
	readFn  func(uintptr) bool
	callFn  func(uintptr) bool
	awaitFn func(uintptr) bool
	calling bool

	// Writing.
	a, b    []byte
	wrote   int          // since the last write or call began
	total   atomic.Int64 // bytes written, for the sweeper
	werr    error
	head    sendHeader
	pipe    *pipe // what onSplice empties
	writeFn func(uintptr) bool
}

func (w *wire) init(tcp upstream.Stream) error {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	w.use(tcp, raw)
	w.bind()
	return nil
}

// bind makes the callbacks; once for the life of w.
func (w *wire) bind() {
	w.readFn, w.callFn, w.writeFn, w.awaitFn = w.onRead, w.onCall, w.onWrite, w.onAwait
}

// use makes w work on another socket.
func (w *wire) use(tcp upstream.Stream, raw syscall.RawConn) {
	w.tcp, w.raw, w.sealing = tcp, raw, sealing{}
}

// speak makes w work on a connection to a target.
func (w *wire) speak(conn *upstream.Conn, boxes *sync.Pool) {
	w.use(conn.TCP, conn.Raw())
	if conn.Session != nil {
		w.secure(conn.Session, boxes, nil)
	}
}

// read waits until something can be read into p and returns how much it was; io.EOF at the end of the stream.
func (w *wire) read(p []byte) (int, error) {
	if w.raw == nil {
		return w.tcp.Read(p)
	}
	w.p = p
	err := w.raw.Read(w.readFn)
	w.p = nil
	if err != nil {
		return 0, err
	}
	return w.n, w.rerr
}

func (w *wire) onRead(fd uintptr) bool {
	if w.session != nil {
		return w.onOpen(fd)
	}
	n, errno := sockRead(fd, w.p)
	switch {
	case errno == syscall.EAGAIN:
		return false
	case errno != 0:
		w.n, w.rerr = 0, os.NewSyscallError("recv", errno)
	case n == 0:
		w.n, w.rerr = 0, io.EOF
	default:
		w.n, w.rerr = n, nil
	}
	return true
}

// write sends all of a and then all of b.
func (w *wire) write(a, b []byte) error {
	if err := w.load(a, b); err != nil {
		return err
	}
	return w.flush()
}

// load notes what to send; with a session that is the ciphertext of it. What follows is flush, or push and unload.
func (w *wire) load(a, b []byte) error {
	w.a, w.b, w.wrote, w.werr = a, b, 0, nil
	if w.session != nil {
		return w.seal()
	}
	return nil
}

// unload forgets what was to be sent.
func (w *wire) unload() {
	w.a, w.b = nil, nil
	if w.box != nil {
		w.giveBox()
	}
}

// flush waits until what a write began is sent.
func (w *wire) flush() error {
	if w.raw == nil {
		return w.flushStream()
	}
	err := w.raw.Write(w.writeFn)
	w.unload()
	if err != nil {
		return err
	}
	return w.werr
}

// flushStream is flush for a stream.
func (w *wire) flushStream() (err error) {
	a, b := w.a, w.b
	w.unload()
	if len(a) > 0 {
		_, err = w.tcp.Write(a)
	}
	if err == nil && len(b) > 0 {
		_, err = w.tcp.Write(b)
	}
	return err
}

func (w *wire) onWrite(fd uintptr) bool { return w.push(fd) }

// push writes what the socket takes; it reports whether writing is over, by success or failure.
func (w *wire) push(fd uintptr) bool {
	for len(w.a)+len(w.b) > 0 {
		var n int
		var errno syscall.Errno
		switch {
		case len(w.b) == 0:
			n, errno = sockWrite(fd, w.a)
		case len(w.a) == 0:
			n, errno = sockWrite(fd, w.b)
		default:
			n, errno = sockWrite2(fd, &w.head, w.a, w.b)
		}
		if errno == syscall.EAGAIN {
			return false
		}
		if errno != 0 {
			w.werr = os.NewSyscallError("send", errno)
			return true
		}
		w.wrote += n
		w.total.Add(int64(n))
		k := min(n, len(w.a))
		w.a, w.b = w.a[k:], w.b[n-k:]
	}
	return true
}

// call sends a and b and then waits for the first bytes of the answer. That is cheaper than write and read: the poller is armed before the request is
// sent, so the read that would only learn that the answer is not there yet is saved. Bytes that arrived before the call are found too, but only together
// with the next ones; a peer that has nothing to say before it is asked is what call is for.
// The error of writing is in sent: when it is not nil, reading was not tried.
func (w *wire) call(a, b, p []byte) (n int, sent, err error) {
	if w.raw == nil {
		sent = w.write(a, b)
		n, err = w.read(p)
		if sent != nil && n > 0 { // the rest of the request was not wanted: here is the answer
			sent = nil
		}
		return n, sent, err
	}
	if err := w.load(a, b); err != nil {
		return 0, err, nil
	}
	w.p = p
	w.calling = true
	err = w.raw.Read(w.callFn)
	if w.calling && err == nil { // the socket did not take everything at once
		w.calling = false
		err = w.raw.Write(w.writeFn)
		w.unload()
		if err != nil || w.werr != nil {
			w.p = nil
			if err == nil {
				err = w.werr
			}
			return 0, err, nil
		}
		n, err = w.read(p)
		return n, nil, err
	}
	w.p = nil
	w.unload()
	switch {
	case w.werr != nil:
		return 0, w.werr, nil
	case err != nil && w.calling:
		w.calling = false
		return 0, err, nil
	case err != nil:
		return 0, nil, err
	}
	return w.n, nil, w.rerr
}

func (w *wire) onCall(fd uintptr) bool {
	if !w.calling {
		return w.onRead(fd)
	}
	if !w.push(fd) {
		return true
	}
	w.calling = false
	return w.werr != nil
}

// tell writes a few bytes directly, beside a writer that is known to be quiet.
func (w *wire) tell(p []byte) error {
	if w.session != nil {
		return w.tellSealed(p)
	}
	return w.tellRaw(p)
}

func (w *wire) tellRaw(p []byte) error {
	if w.raw == nil {
		_, err := w.tcp.Write(p)
		return err
	}
	var errno syscall.Errno
	err := w.raw.Write(func(fd uintptr) bool {
		var n int
		n, errno = sockWrite(fd, p)
		p = p[max(n, 0):]
		return len(p) == 0 || errno != 0 && errno != syscall.EAGAIN
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("send", errno)
	}
	return err
}

// await waits until there is something to read, the end of the stream included, without needing a buffer.
func (w *wire) await() error {
	if w.raw == nil {
		return w.tcp.(interface{ Await() error }).Await()
	}
	return w.raw.Read(w.awaitFn)
}

func (w *wire) onAwait(fd uintptr) bool { return w.more || sockPeek(fd) != peekNothing }

// peek looks whether the peer is still there; any goroutine may call it.
func (w *wire) peek() peeked {
	p := peekBroken
	if err := w.raw.Control(func(fd uintptr) { p = sockPeek(fd) }); err != nil {
		return peekBroken
	}
	return p
}
