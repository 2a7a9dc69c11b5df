package server

import (
	"io"
	"os"
	"runtime"
	"syscall"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// Long bodies with a known length do not pass through our memory: splice(2) moves them from one socket to the other through a pipe.
const (
	spliceMin  = 256 << 10 // shorter rests are cheaper to copy than a pipe is to fill and drain
	pipeSize   = 256 << 10
	fSetPipeSz = 1031 // F_SETPIPE_SZ, which package syscall does not have
	spliceMove = 1    // SPLICE_F_MOVE
	spliceNow  = 2    // SPLICE_F_NONBLOCK
)

// pipe is a pair of descriptors that is empty between uses.
type pipe struct {
	r, w int
	size int
	held int // bytes in it
}

// newPipe returns nil when the system gives none; the caller copies instead.
func newPipe() *pipe {
	var fds [2]int
	if syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK) != nil {
		return nil
	}
	p := &pipe{r: fds[0], w: fds[1], size: 64 << 10}
	if n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(p.w), fSetPipeSz, pipeSize); errno == 0 {
		p.size = int(n)
	}
	runtime.AddCleanup(p, func(fds [2]int) { // for pipes that the pool lets go
		_ = syscall.Close(fds[0])
		_ = syscall.Close(fds[1])
	}, fds)
	return p
}

// spliceBody relays the rest of a body with a length until less than spliceMin is left. It reports whether the copying relay can go on from there.
func (c *conn) spliceBody(w *work) (res result, ok bool) {
	p, _ := c.s.pipes.Get().(*pipe)
	if p == nil {
		if p = newPipe(); p == nil {
			return result{}, true
		}
	}
	for left := w.reply.Remaining(); left >= spliceMin; left = w.reply.Remaining() {
		c.armUpstream(w)
		n, err := w.up.spliceIn(p, int(min(left, int64(p.size))))
		if err != nil {
			c.s.pipes.Put(p) // nothing came
			return c.cut(err), false
		}
		w.reply.Init(http1.FramingLength, left-int64(n), http1.FromUpstream, &w.gen.head)
		if err := c.spliceOut(p); err != nil {
			return clientGone, false // the pipe is not empty: it is not used again
		}
		w.sent += int64(n)
	}
	c.s.pipes.Put(p)
	return result{}, true
}

func (c *conn) spliceOut(p *pipe) error {
	c.wire.pipe, c.wire.werr = p, nil
	defer func() { c.wire.pipe = nil }()
	if c.inside && c.wire.onSplice(c.fd) {
		return c.wire.werr
	}
	before := c.stage.Load()
	c.arm(stageSend, c.s.now()+int64(c.settings.SendTimeout))
	err := c.wire.raw.Write(c.wire.onSplice)
	c.stage.Store(before)
	if err != nil {
		return err
	}
	return c.wire.werr
}

// onSplice moves what the pipe holds into the socket; it reports whether that is over.
func (w *wire) onSplice(fd uintptr) bool {
	for w.pipe.held > 0 {
		n, errno := splice(w.pipe.r, int(fd), w.pipe.held)
		switch {
		case errno == syscall.EAGAIN:
			return false
		case errno != 0 || n == 0:
			w.werr = os.NewSyscallError("splice", errno)
			if errno == 0 {
				w.werr = io.ErrShortWrite
			}
			return true
		}
		w.pipe.held -= n
		w.total.Add(int64(n))
	}
	return true
}

// spliceIn waits until something can be read and moves up to limit bytes of it into the pipe.
func (w *wire) spliceIn(p *pipe, limit int) (int, error) {
	var n int
	var errno syscall.Errno
	err := w.raw.Read(func(fd uintptr) bool {
		n, errno = splice(int(fd), p.w, limit)
		return errno != syscall.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, os.NewSyscallError("splice", errno)
	case n == 0:
		return 0, io.EOF
	}
	p.held = n
	return n, nil
}

func splice(from, to, n int) (int, syscall.Errno) {
	for {
		k, _, errno := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), spliceMove|spliceNow)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(k), 0
	}
}

// canSplice reports whether the rest of the answer can be relayed by splice: it has a length, and nobody wants to see, frame, open or seal it.
func (c *conn) canSplice(w *work, inspect bool) bool {
	return !inspect && c.stream == nil && c.wire.session == nil && w.up.session == nil && !w.chunked && w.resp.Framing == http1.FramingLength && w.reply.Remaining() >= spliceMin
}
