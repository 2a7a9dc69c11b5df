package server

import (
	"syscall"
	"unsafe"
)

// These calls never wait (the sockets are non-blocking), so they skip the scheduler's bookkeeping around system calls: RawSyscall costs about 100 ns less
// and cannot lose its processor to another thread in the middle of a request.

// sockRead reads what is there. It returns EAGAIN when nothing is, and 0 without an error at the end of the stream.
func sockRead(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

// sockWrite writes as much as fits.
func sockWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

// sockWrite2 writes as much of a followed by b as fits, with one system call. The message header lives in h so that it needs no allocation.
func sockWrite2(fd uintptr, h *sendHeader, a, b []byte) (int, syscall.Errno) {
	h.iov[0].Base, h.iov[1].Base = unsafe.SliceData(a), unsafe.SliceData(b)
	h.iov[0].SetLen(len(a))
	h.iov[1].SetLen(len(b))
	h.msg.Iov = &h.iov[0]
	h.msg.Iovlen = 2
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&h.msg)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
		if errno == syscall.EINTR {
			continue
		}
		h.iov[0].Base, h.iov[1].Base = nil, nil
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

// sendHeader is the scratch space of sockWrite2.
type sendHeader struct {
	msg syscall.Msghdr
	iov [2]syscall.Iovec
}

// peeked is what sockPeek found.
type peeked uint8

const (
	peekNothing peeked = iota // open, nothing to read
	peekData                  // something to read
	peekEnd                   // the peer sent its end
	peekBroken                // the connection is reset
)

// sockPeekAt is sockRead for who leaves what it read in the socket.
func sockPeekAt(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_PEEK, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

// sockPeek looks at a socket without taking anything from it.
func sockPeek(fd uintptr) peeked {
	var b [1]byte
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1, syscall.MSG_DONTWAIT|syscall.MSG_PEEK, 0, 0)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return peekNothing
	case errno != 0:
		return peekBroken
	case n == 0:
		return peekEnd
	}
	return peekData
}

// pollRDHUP is POLLRDHUP, which package syscall does not have.
const pollRDHUP = 0x2000

// sockEnded reports whether the peer has sent its end, whatever is still to be read before it.
func sockEnded(fd uintptr) bool {
	p := struct {
		fd              int32
		events, revents int16
	}{fd: int32(fd), events: pollRDHUP}
	var now syscall.Timespec
	n, _, _ := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return n == 1
}
