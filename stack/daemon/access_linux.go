package daemon

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxGroups is the kernel's bound on supplementary groups.
const maxGroups = 65536

// peerGroups returns the supplementary groups the peer had when it connected (SO_PEERGROUPS, Linux 4.13); none when the kernel does not tell.
func peerGroups(fd int) []uint32 {
	for n := 64; n <= maxGroups; {
		groups := make([]uint32, n)
		size := uint32(n * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch errno {
		case 0:
			return groups[:size/4]
		case unix.ERANGE:
			n = max(int(size/4), 2*n)
		default:
			return nil
		}
	}
	return nil
}
