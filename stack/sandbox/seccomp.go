package sandbox

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// Instructions of classic BPF (seccomp(2)).
const (
	loadWord = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jumpEq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGe   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jumpAny  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	ret      = unix.BPF_RET | unix.BPF_K

	offsetNumber = 0 // in struct seccomp_data
	offsetArch   = 4
	offsetArg0   = 16 // low half: both architectures are little-endian

	allow  = 0x7fff0000
	refuse = 0x00050000 // with an errno in the low half
)

// namespaces are the flags of clone and unshare that make namespaces.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME

// refusedCalls are those that no service of ours needs: they look into other processes, change the machine or who one is, or have been the way out of many a box.
var refusedCalls = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_MOVE_PAGES, unix.SYS_MIGRATE_PAGES,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
	sysOpenTreeAttr, sysQuotactlFD, unix.SYS_SETNS, unix.SYS_UNSHARE,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETGROUPS, unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_CAPSET,
	unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_ACCT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_REBOOT, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_QUOTACTL, unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE,
}

// Numbers that are the same on every architecture and too new for the library.
const (
	sysQuotactlFD   = 443
	sysOpenTreeAttr = 467
)

// families are the kinds of sockets that a service with this network may make.
func families(network string) []uint32 {
	if network == NetworkNone {
		return []uint32{unix.AF_UNIX}
	}
	return []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
}

// program is a filter in the making.
type program []unix.SockFilter

func (p *program) add(code uint16, k uint32, yes, no uint8) {
	*p = append(*p, unix.SockFilter{Code: code, K: k, Jt: yes, Jf: no})
}

func errno(e unix.Errno) uint32 { return refuse | uint32(e) }

// filter makes the program. Everything is allowed that is not refused: a filter that lists what is allowed breaks with the next release of a library, and is then switched off.
func filter(sockets []uint32) []byte {
	var p program
	p.add(loadWord, offsetArch, 0, 0)
	p.add(jumpEq, auditArch, 1, 0)
	p.add(ret, errno(unix.EPERM), 0, 0)
	p.add(loadWord, offsetNumber, 0, 0)
	if foreignCalls != 0 { // those of another interface on the same machine
		p.add(jumpGe, foreignCalls, 0, 1)
		p.add(ret, errno(unix.ENOSYS), 0, 0)
	}
	for _, n := range slices.Concat(refusedCalls, moreRefusedCalls) {
		p.add(jumpEq, n, 0, 1)
		p.add(ret, errno(unix.EPERM), 0, 0)
	}
	p.add(jumpEq, unix.SYS_CLONE3, 0, 1) // its flags are in memory, where a filter cannot look; libraries then use clone
	p.add(ret, errno(unix.ENOSYS), 0, 0)
	p.add(jumpEq, unix.SYS_CLONE, 0, 4)
	p.add(loadWord, offsetArg0, 0, 0)
	p.add(jumpAny, namespaces, 0, 1)
	p.add(ret, errno(unix.EPERM), 0, 0)
	p.add(ret, allow, 0, 0)
	p.add(jumpEq, unix.SYS_SOCKET, 1, 0)
	p.add(ret, allow, 0, 0)
	p.add(loadWord, offsetArg0, 0, 0)
	for _, family := range sockets {
		p.add(jumpEq, family, 0, 1)
		p.add(ret, allow, 0, 0)
	}
	p.add(ret, errno(unix.EAFNOSUPPORT), 0, 0)
	out := make([]byte, 0, 8*len(p))
	for _, i := range p {
		out = binary.NativeEndian.AppendUint16(out, i.Code)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out
}
