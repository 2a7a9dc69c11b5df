package upstream

import (
	"syscall"
	"unsafe"
)

// quiet reports whether the socket is open and has nothing to read. The call never blocks, so it needs not tell the scheduler.
func quiet(fd uintptr) bool {
	var b [1]byte
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	return errno == syscall.EAGAIN
}
