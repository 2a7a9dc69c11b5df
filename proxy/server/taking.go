package server

import (
	"io"
	"os"
	"sync"
	"syscall"
)

// taking is reading from a side of a socket with a buffer that is held only while there is something in it: an idle WebSocket has none.
type taking struct {
	takeFn func(fd uintptr) bool // onTake
	pool   *sync.Pool            // of *[largeBuffer]byte
	buf    *[largeBuffer]byte
	n      int
	err    error
}

// read waits for bytes and gives them to pass. It may return 0 without an error.
func (d *side) read(pool *sync.Pool, pass func(p []byte) error) (n int, err error) {
	d.pool = pool
	if d.wire.raw != nil && d.wire.session == nil {
		if err = d.wire.raw.Read(d.takeFn); err == nil {
			err = d.err
		}
	} else if err = d.wire.await(); err == nil {
		d.borrow()
		d.n, err = d.wire.readSome(d.buf[:])
	}
	defer d.giveBack()
	if err != nil || d.n == 0 {
		return 0, err
	}
	return d.n, pass(d.buf[:d.n])
}

// onTake reads at once, and without a buffer waits until there is something: that is one system call less than to look first.
func (d *side) onTake(fd uintptr) bool {
	d.borrow()
	n, errno := sockRead(fd, d.buf[:])
	switch {
	case errno == syscall.EAGAIN:
		d.giveBack()
		return false
	case errno != 0:
		d.n, d.err = 0, os.NewSyscallError("recv", errno)
	case n == 0:
		d.n, d.err = 0, io.EOF
	default:
		d.n, d.err = n, nil
	}
	return true
}

func (t *taking) borrow() {
	if t.buf == nil {
		if t.buf, _ = t.pool.Get().(*[largeBuffer]byte); t.buf == nil {
			t.buf = new([largeBuffer]byte)
		}
	}
}

func (t *taking) giveBack() {
	if t.buf != nil {
		t.pool.Put(t.buf)
		t.buf = nil
	}
}
