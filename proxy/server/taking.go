package server

import "sync"

// taking is reading from a side of a socket with a buffer that is held only while there is something in it: an idle WebSocket has none.
type taking struct {
	takeFn func(fd uintptr) bool // onTake
	pool   *sync.Pool            // of *[largeBuffer]byte
	buf    *[largeBuffer]byte
}

// read waits for bytes and gives them to pass.
func (d *side) read(pool *sync.Pool, pass func(p []byte) error) (n int, err error) {
	d.pool = pool
	defer d.giveBack()
	w := d.wire
	if w.raw != nil {
		if err = w.raw.Read(d.takeFn); err == nil {
			n, err = w.n, w.rerr
		}
	} else if err = w.await(); err == nil {
		d.borrow()
		n, err = w.read(d.buf[:])
	}
	if n == 0 {
		return 0, err
	}
	return n, pass(d.buf[:n])
}

// onTake reads at once, and waits without a buffer until there is something: that is one system call less than to look first.
func (d *side) onTake(fd uintptr) bool {
	d.borrow()
	d.wire.p = d.buf[:]
	done := d.wire.onRead(fd)
	d.wire.p = nil
	if !done {
		d.giveBack()
	}
	return done
}

func (t *taking) borrow() {
	if t.buf == nil {
		t.buf = t.pool.Get().(*[largeBuffer]byte)
	}
}

func (t *taking) giveBack() {
	if t.buf != nil {
		t.pool.Put(t.buf)
		t.buf = nil
	}
}
