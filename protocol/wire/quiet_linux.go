package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// quiet is a Unix stream socket whose reader sleeps until there is something to read.
//
// The runtime's poller asks for every kind of event on a socket at once, and a Unix socket reports that it can be written to each time the peer has read something.
// So a process that waits for an answer is woken when the peer takes the question, finds nothing and goes back to sleep, and one that has answered is woken
// when the answer is taken: each call costs a context switch more on either side. The poller therefore does not get the socket but, for each direction, an epoll
// instance that has it as its only member and reports that one direction; the one for writing only when somebody waits for it.
type quiet struct {
	local, remote net.Addr
	in, out       gate

	mu sync.RWMutex // shared while fd is used, held to close it
	fd int          // -1 = closed
}

// gate is where a direction waits.
type gate struct {
	file *os.File // epoll instance
	raw  syscall.RawConn
	q    *quiet
	try  func(fd uintptr) bool // what the one who waits wants to do
	step func(uintptr) bool    // gate.once or gate.onceThenArm, made once
	err  error
}

// Quiet returns a connection that takes the place of conn, which must not be used any more, and costs fewer wake-ups; or conn when it is no Unix socket.
// Reading is for one goroutine at a time, and so is writing.
func Quiet(conn net.Conn) net.Conn {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return conn
	}
	q, err := newQuiet(u)
	if err != nil { // no more descriptors: the ordinary connection works as well
		return conn
	}
	_ = u.Close() // the socket lives on in q
	return q
}

func newQuiet(u *net.UnixConn) (*quiet, error) {
	fd, err := duplicate(u)
	if err != nil {
		return nil, err
	}
	q := &quiet{local: u.LocalAddr(), remote: u.RemoteAddr(), fd: fd}
	q.in.step, q.out.step = q.in.once, q.out.onceThenArm
	if err = q.in.open(q, syscall.EPOLLIN|syscall.EPOLLRDHUP); err == nil {
		if err = q.out.open(q, 0); err == nil {
			return q, nil
		}
		q.in.file.Close()
	}
	syscall.Close(fd)
	return nil, err
}

// duplicate returns another descriptor of the same socket, which the runtime knows nothing of.
func duplicate(u *net.UnixConn) (int, error) {
	raw, err := u.SyscallConn()
	if err != nil {
		return -1, err
	}
	var fd uintptr
	var errno syscall.Errno
	if err := raw.Control(func(old uintptr) {
		fd, _, errno = syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, err
	}
	if errno != 0 {
		return -1, os.NewSyscallError("fcntl", errno)
	}
	return int(fd), nil
}

func (g *gate) open(q *quiet, events uint32) error {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, q.fd, &syscall.EpollEvent{Events: events}); err != nil {
		syscall.Close(ep)
		return os.NewSyscallError("epoll_ctl", err)
	}
	if err := syscall.SetNonblock(ep, true); err != nil { // how the runtime recognises what its poller is for
		syscall.Close(ep)
		return os.NewSyscallError("fcntl", err)
	}
	g.q, g.file = q, os.NewFile(uintptr(ep), "epoll")
	if g.raw, err = g.file.SyscallConn(); err == nil {
		err = g.file.SetDeadline(time.Time{}) // fails when the poller does not take it
	}
	if err != nil {
		g.file.Close()
	}
	return err
}

// wait calls try until it returns true, each time the direction is ready.
func (g *gate) wait(try func(fd uintptr) bool) error {
	g.try, g.err = try, nil
	err := g.raw.Read(g.step)
	g.try = nil
	if err == nil {
		err = g.err
	}
	if err != nil && g.q.closed() {
		return net.ErrClosed
	}
	return err
}

func (g *gate) once(uintptr) bool {
	g.q.mu.RLock()
	defer g.q.mu.RUnlock()
	return g.attempt()
}

func (g *gate) attempt() bool {
	if g.q.fd < 0 {
		g.err = net.ErrClosed
		return true
	}
	return g.try(uintptr(g.q.fd))
}

// onceThenArm asks for one event when there is something to wait for.
func (g *gate) onceThenArm(ep uintptr) bool {
	g.q.mu.RLock()
	defer g.q.mu.RUnlock()
	if g.attempt() {
		return true
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLOUT | syscall.EPOLLONESHOT}
	if err := syscall.EpollCtl(int(ep), syscall.EPOLL_CTL_MOD, g.q.fd, &event); err != nil {
		g.err = os.NewSyscallError("epoll_ctl", err)
		return true
	}
	return false
}

// SyscallConn returns q itself.
func (q *quiet) SyscallConn() (syscall.RawConn, error) { return (*rawQuiet)(q), nil }

// rawQuiet gives access to the descriptor with the waiting of q.
type rawQuiet quiet

func (r *rawQuiet) Control(f func(fd uintptr)) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(r.fd))
	return nil
}

func (r *rawQuiet) Read(f func(fd uintptr) bool) error  { return r.in.wait(f) }
func (r *rawQuiet) Write(f func(fd uintptr) bool) error { return r.out.wait(f) }

// Read is io.Reader's.
func (q *quiet) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	var errno syscall.Errno
	err = q.in.wait(func(fd uintptr) bool {
		n, errno = rawRead(fd, b)
		return errno != syscall.EAGAIN && errno != syscall.EINTR
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, os.NewSyscallError("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write is io.Writer's.
func (q *quiet) Write(b []byte) (n int, err error) {
	var errno syscall.Errno
	err = q.out.wait(func(fd uintptr) bool {
		for n < len(b) {
			var k int
			if k, errno = rawWrite(fd, b[n:]); errno == syscall.EAGAIN {
				return false
			}
			if errno != 0 && errno != syscall.EINTR {
				return true
			}
			n += max(k, 0)
		}
		errno = 0
		return true
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("write", errno)
	}
	return n, err
}

func (q *quiet) closed() bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.fd < 0
}

// Close ends both directions and whoever waits in them.
func (q *quiet) Close() error {
	q.mu.Lock()
	fd := q.fd
	q.fd = -1
	q.mu.Unlock()
	if fd < 0 {
		return fmt.Errorf("close: %w", net.ErrClosed)
	}
	return errors.Join(q.in.file.Close(), q.out.file.Close(), os.NewSyscallError("close", syscall.Close(fd)))
}

func (q *quiet) LocalAddr() net.Addr                { return q.local }
func (q *quiet) RemoteAddr() net.Addr               { return q.remote }
func (q *quiet) SetReadDeadline(t time.Time) error  { return q.in.file.SetReadDeadline(t) }
func (q *quiet) SetWriteDeadline(t time.Time) error { return q.out.file.SetReadDeadline(t) }

// SetDeadline sets both.
func (q *quiet) SetDeadline(t time.Time) error {
	return errors.Join(q.SetReadDeadline(t), q.SetWriteDeadline(t))
}
