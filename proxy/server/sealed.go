package server

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
)

// sealing is the part of a wire that exists for TLS; its zero value is a plain wire.
//
// The session never touches the socket. Reading: the callback that the poller runs asks the session for plaintext, and the session asks source for ciphertext,
// which takes from the socket what is there and says ErrAgain instead of waiting. Writing: the ciphertext of what is to be sent is made first, into a pooled
// buffer, and then sent like anything else.
type sealing struct {
	session *tlsconf.Session
	boxes   *sync.Pool // of *[]byte, for ciphertext
	box     *[]byte    // the one in use

	fd    uintptr // of the callback that runs
	dry   bool    // the socket was found empty in this callback: no system call is spent on asking again
	more  bool    // something may have been read from the socket that was not asked for yet
	some  bool    // onOpen returns with nothing rather than wait
	taken *atomic.Int64
}

// boxKeep bounds what a pooled buffer keeps: a large buffer, a head and the records around them.
const boxKeep = largeBuffer + 16<<10

// secure makes everything that follows go through a session. Ciphertext read is counted in taken.
func (w *wire) secure(s *tlsconf.Session, boxes *sync.Pool, taken *atomic.Int64) {
	w.session, w.boxes, w.taken, w.more = s, boxes, taken, true
	s.From((*source)(w))
}

// source is a wire as its session sees it.
type source wire

// Read takes ciphertext from the socket, within a callback.
func (w *source) Read(p []byte) (int, error) {
	if w.dry {
		return 0, tlsconf.ErrAgain
	}
	n, errno := sockRead(w.fd, p)
	switch {
	case errno == syscall.EAGAIN:
		w.dry = true
		return 0, tlsconf.ErrAgain
	case errno != 0:
		return 0, os.NewSyscallError("recv", errno)
	case n == 0:
		return 0, io.EOF
	}
	w.dry = n < len(p) // what comes later wakes us again
	if w.taken != nil {
		w.taken.Add(int64(n))
	}
	return n, nil
}

// enter begins a callback.
func (w *wire) enter(fd uintptr) { w.fd, w.dry = fd, false }

// open reads plaintext, within a callback. ErrAgain means that all that is there has been read.
func (w *wire) open(p []byte) (int, error) {
	n, err := w.session.Open(p)
	w.more = err == nil
	return n, err
}

func (w *wire) onOpen(fd uintptr) bool {
	w.enter(fd)
	n, err := w.open(w.p)
	if errors.Is(err, tlsconf.ErrAgain) {
		if !w.some {
			return false
		}
		err = nil
	}
	w.n, w.rerr = n, err
	return true
}

// readSome reads what is there after await. With a session that may be nothing, 0 without an error: what came was not for us, or only a part.
func (w *wire) readSome(p []byte) (int, error) {
	w.some = true
	n, err := w.read(p)
	w.some = false
	return n, err
}

// seal replaces what was loaded by its ciphertext.
func (w *wire) seal() error {
	box, _ := w.boxes.Get().(*[]byte)
	if box == nil {
		box = new([]byte)
	}
	out, err := w.session.Seal((*box)[:0], w.a, w.b)
	*box = out
	w.a, w.b, w.box = out, nil, box
	if err != nil {
		w.unload()
	}
	return err
}

func (w *wire) giveBox() {
	if cap(*w.box) <= boxKeep {
		w.boxes.Put(w.box)
	}
	w.box = nil
}

// tellSealed may run beside a reader of the same session, not beside a writer.
func (w *wire) tellSealed(p []byte) error {
	out, err := w.session.Seal(nil, p, nil)
	if err != nil {
		return err
	}
	return w.tellRaw(out)
}

// closeWrite sends our end of the stream.
func (w *wire) closeWrite() error {
	w.farewell()
	return w.tcp.CloseWrite()
}

// farewell tells the other side of a session that what it got was all, as far as the socket takes it. Without that it must think that something was cut off.
func (w *wire) farewell() {
	if w.session == nil {
		return
	}
	if out := w.session.Bye(); len(out) > 0 {
		_ = w.raw.Control(func(fd uintptr) { _, _ = sockWrite(fd, out) })
	}
}

// peekSealed is peek for connections with a session: the end of the stream counts even behind bytes, for it follows the ciphertext that announces it.
// Any goroutine may call it.
func (w *wire) peekSealed() peeked {
	p := peekBroken
	if err := w.raw.Control(func(fd uintptr) {
		if p = sockPeek(fd); p == peekData && sockEnded(fd) {
			p = peekEnd
		}
	}); err != nil {
		return peekBroken
	}
	return p
}
