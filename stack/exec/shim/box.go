package shim

import (
	"syscall"
	"unsafe"
)

// Box is what a process may not do; its zero value is no restriction. The steps are done in the order of the fields. One that this host refuses altogether (it lacks the feature, or forbids it) is left out and reported,
// unless Strict says that the service is then not to run.
type Box struct {
	Strict bool

	// A view of the file system of its own: with ReadOnly nothing can be written to but Writable, what is Hidden cannot be opened, and directories in Cover (both lists in the order of their paths), with PrivateTmp also those for
	// temporary files, are empty but for what is below them and in Keep.
	View       bool
	ReadOnly   bool
	Cover      []string
	PrivateTmp bool
	Writable   []string
	Hidden     []string
	Keep       []string

	NoNetwork bool // a network of its own, without any interface that is up

	Switch   bool // to User and Group, without further groups
	User     uint32
	Group    uint32
	DropCaps bool
	KeepCaps uint64 // bits of the capabilities that stay

	NoNewPrivs bool

	Access Access // Landlock
	Filter []byte // seccomp: instructions of classic BPF, 8 bytes each
}

// Access is a set of rules of Landlock: what is handled is refused but where a rule allows it.
type Access struct {
	FS, Net, Scoped uint64
	Paths           []PathRule
}

// PathRule allows something below a path, or for a file.
type PathRule struct {
	Path   string
	Access uint64
}

// Names of the layers in reports.
const (
	LayerView         = "view"
	LayerNetwork      = "network"
	LayerUser         = "user"
	LayerCapabilities = "capabilities"
	LayerNoNewPrivs   = "no-new-privileges"
	LayerLandlock     = "landlock"
	LayerSeccomp      = "seccomp"
)

// Numbers of the kernel that package syscall does not have. Those of system calls above 424 are the same on every architecture.
const (
	cloneNewNS  = 0x20000
	cloneNewNet = 0x40000000

	msRDOnly  = 1
	msNoSuid  = 2
	msNoDev   = 4
	msRec     = 0x4000
	msBind    = 0x1000
	msPrivate = 1 << 18

	sysMountSetattr = 442
	mountRDOnly     = 1
	atFDCWD         = -100
	atRecursive     = 0x8000
	oPath           = 0x200000

	sysLandlockCreate   = 444
	sysLandlockAdd      = 445
	sysLandlockRestrict = 446
	landlockPathBeneath = 1

	prSetNoNewPrivs = 38
	prCapBSetDrop   = 24
	prCapAmbient    = 47
	prCapAmbientUp  = 2
	prSetSeccomp    = 22
	seccompFilter   = 2
	prSetKeepCaps   = 8
	capVersion3     = 0x20080522
	lastCap         = 40
	maxSkipped      = 16
)

// skips are the layers that this host does not have.
type skips struct {
	names  [maxSkipped]string
	errnos [maxSkipped]syscall.Errno
	n      int
}

func (s *skips) add(name string, errno syscall.Errno) {
	if s.n < maxSkipped {
		s.names[s.n], s.errnos[s.n] = name, errno
		s.n++
	}
}

// lacking reports whether an error means that the host does not do this for anybody like us.
func lacking(e syscall.Errno) bool {
	return e == syscall.EPERM || e == syscall.ENOSYS || e == syscall.EOPNOTSUPP || e == syscall.EINVAL || e == syscall.EACCES || e == syscall.ENOSPC || e == syscall.EUSERS
}

// confine does what must come before the death signal is set, and returns the first layer that failed in a way that cannot be left out.
func (b *Box) confine(skipped *skips) (layer string, errno syscall.Errno) {
	if b.View {
		if e := b.view(); e != 0 && !b.may(LayerView, e, skipped) {
			return LayerView, e
		}
	}
	if b.NoNetwork {
		if e := call(syscall.SYS_UNSHARE, cloneNewNet, 0, 0); e != 0 && !b.may(LayerNetwork, e, skipped) {
			return LayerNetwork, e
		}
	}
	if b.Switch || b.DropCaps {
		if e := b.become(); e != 0 {
			if b.Switch || !b.may(LayerCapabilities, e, skipped) { // another user was asked for: never run as this one
				return LayerUser, e
			}
		}
	}
	return "", 0
}

// seal does what comes last: after it even the shim can do little.
func (b *Box) seal(skipped *skips) (layer string, errno syscall.Errno) {
	if b.NoNewPrivs {
		if e := call(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0); e != 0 && !b.may(LayerNoNewPrivs, e, skipped) {
			return LayerNoNewPrivs, e
		}
	}
	if b.Access.FS|b.Access.Net|b.Access.Scoped != 0 {
		if e := b.Access.restrict(); e != 0 && !b.may(LayerLandlock, e, skipped) {
			return LayerLandlock, e
		}
	}
	if len(b.Filter) > 0 {
		if e := b.filter(); e != 0 && !b.may(LayerSeccomp, e, skipped) {
			return LayerSeccomp, e
		}
	}
	return "", 0
}

func (b *Box) may(layer string, e syscall.Errno, skipped *skips) bool {
	if b.Strict || !lacking(e) {
		return false
	}
	skipped.add(layer, e)
	return true
}

func call(number, a, b, c uintptr) syscall.Errno {
	_, _, e := syscall.RawSyscall(number, a, b, c)
	return e
}

// become changes user and capabilities. The bounding set goes first, while that is still allowed.
func (b *Box) become() syscall.Errno {
	if b.DropCaps {
		for c := uintptr(0); c <= lastCap; c++ {
			if b.KeepCaps&(1<<c) != 0 {
				continue
			}
			// EINVAL: this kernel does not have it. EPERM: who may not take it from himself has none either, and no-new-privileges sees to it that he gains none.
			if e := call(syscall.SYS_PRCTL, prCapBSetDrop, c, 0); e != 0 && e != syscall.EINVAL && e != syscall.EPERM {
				return e
			}
		}
	}
	if b.Switch {
		if b.KeepCaps != 0 {
			call(syscall.SYS_PRCTL, prSetKeepCaps, 1, 0)
		}
		if e := call(syscall.SYS_SETGROUPS, 0, 0, 0); e != 0 {
			return e
		}
		if e := call(syscall.SYS_SETRESGID, uintptr(b.Group), uintptr(b.Group), uintptr(b.Group)); e != 0 {
			return e
		}
		if e := call(syscall.SYS_SETRESUID, uintptr(b.User), uintptr(b.User), uintptr(b.User)); e != 0 {
			return e
		}
	}
	if !b.DropCaps {
		return 0
	}
	header := [2]uint32{capVersion3, 0}
	low, high := uint32(b.KeepCaps), uint32(b.KeepCaps>>32)
	data := [6]uint32{low, low, low, high, high, high}                                                                                // effective, permitted, inheritable, twice
	if e := call(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0); e != 0 && !b.hasNoMore() { // a filter may refuse what need not be done
		return e
	}
	for c := uintptr(0); c <= lastCap; c++ {
		if b.KeepCaps&(1<<c) != 0 {
			if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, prCapAmbient, prCapAmbientUp, c, 0, 0, 0); e != 0 {
				return e
			}
		}
	}
	return 0
}

// hasNoMore reports whether the process has no other capabilities than it is to keep.
func (b *Box) hasNoMore() bool {
	header := [2]uint32{capVersion3, 0}
	var data [6]uint32
	if e := call(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0); e != 0 {
		return false
	}
	low, high := ^uint32(b.KeepCaps), ^uint32(b.KeepCaps>>32)
	return (data[0]|data[1])&low == 0 && (data[3]|data[4])&high == 0
}

// restrict makes the rules of Landlock those of this thread, which is the one that executes the service.
func (a *Access) restrict() syscall.Errno {
	attr := [3]uint64{a.FS, a.Net, a.Scoped}
	size := uintptr(8)
	if a.Net != 0 {
		size = 16
	}
	if a.Scoped != 0 {
		size = 24
	}
	ruleset, _, e := syscall.RawSyscall(sysLandlockCreate, uintptr(unsafe.Pointer(&attr)), size, 0)
	if e != 0 {
		return e
	}
	for i := range a.Paths {
		if e := a.Paths[i].add(int(ruleset)); e != 0 {
			return e
		}
	}
	if e := call(sysLandlockRestrict, ruleset, 0, 0); e != 0 {
		return e
	}
	syscall.Close(int(ruleset))
	return 0
}

// add adds a rule. A path that is not there allows nothing, which is no failure.
func (r *PathRule) add(ruleset int) syscall.Errno {
	fd, err := syscall.Open(r.Path, oPath|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	var st syscall.Stat_t
	access := r.Access
	if err := syscall.Fstat(fd, &st); err == nil && st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		access &= fileAccess
	}
	attr := struct {
		access uint64
		fd     int32
	}{access, int32(fd)}
	_, _, e := syscall.RawSyscall6(sysLandlockAdd, uintptr(ruleset), landlockPathBeneath, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	syscall.Close(fd)
	return e
}

// fileAccess is what can be allowed for a file: execute, write, read, truncate, ioctl.
const fileAccess = 1 | 2 | 4 | 1<<14 | 1<<15

func (b *Box) filter() syscall.Errno {
	program := struct {
		n   uint16
		_   [6]byte
		ins *byte
	}{n: uint16(len(b.Filter) / 8), ins: &b.Filter[0]}
	return call(syscall.SYS_PRCTL, prSetSeccomp, seccompFilter, uintptr(unsafe.Pointer(&program)))
}
