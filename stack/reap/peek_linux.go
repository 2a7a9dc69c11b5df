package reap

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// childInfo is the head of siginfo_t as waitid fills it in on 64-bit Linux.
type childInfo struct {
	signo, errno, code, _ int32
	pid                   int32
}

// peek returns a child that has ended, without reaping it.
func peek() (pid int, ok bool) {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		child := (*childInfo)(unsafe.Pointer(&info))
		return int(child.pid), err == nil && child.signo != 0
	}
}
