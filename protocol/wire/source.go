package wire

import (
	"io"
	"net"
	"os"
	"syscall"
)

// source reads from a socket without telling the scheduler about each system call: the socket is nonblocking, so a read takes a microsecond, and being told
// makes the runtime wake its monitor thread whenever the process has been idle, which costs more than the read. Waiting is the runtime poller's, as usual.
type source struct {
	raw  syscall.RawConn
	read func(fd uintptr) bool // made once
	into []byte
	n    int
	err  syscall.Errno
}

// Source returns a reader on conn for NewReader. It is used by one goroutine at a time.
func Source(conn net.Conn) io.Reader {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return conn
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return conn
	}
	s := &source{raw: raw}
	s.read = s.once
	return s
}

// once tries to read; false means that there is nothing yet.
func (s *source) once(fd uintptr) bool {
	for {
		s.n, s.err = rawRead(fd, s.into)
		if s.err != syscall.EINTR {
			return s.err != syscall.EAGAIN
		}
	}
}

func (s *source) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	s.into = b
	err := s.raw.Read(s.read)
	s.into = nil
	switch {
	case err != nil:
		return 0, err
	case s.err != 0:
		return 0, os.NewSyscallError("read", s.err)
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}
