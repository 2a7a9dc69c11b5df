package daemon

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// duplicateOf is another descriptor of a file or socket, closed when a program is executed.
func duplicateOf(v any) (int, error) {
	c, ok := v.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("cannot duplicate a %T", v)
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	if err := rc.Control(func(n uintptr) { fd, dupErr = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	return fd, dupErr
}

// listenerOf accepts on a descriptor that stays the caller's.
func listenerOf(fd int) (net.Listener, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot take over a socket: %v", err)
	}
	f := os.NewFile(uintptr(dup), "listener")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("cannot take over a socket: %v", err)
	}
	return ln, nil
}
