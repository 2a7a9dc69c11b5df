package sandbox

import (
	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec/shim"
)

// Rights of Landlock (https://docs.kernel.org/userspace-api/landlock.html), by the version that brought them.
const (
	rightExecute    = unix.LANDLOCK_ACCESS_FS_EXECUTE
	rightRead       = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	rightWriteFile  = unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	rightMake       = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	rightMakeDevice = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
	rightRefer      = unix.LANDLOCK_ACCESS_FS_REFER
	rightTruncate   = unix.LANDLOCK_ACCESS_FS_TRUNCATE
	rightIoctl      = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

	rightTCP    = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	scopeAll    = 1 | 2 // abstract Unix sockets, signals
	scopeSignal = 2
)

// landlockVersion is 0 where there is no Landlock.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// handled are the rights that this version can refuse.
func handled(version int) uint64 {
	rights := uint64(rightExecute | rightRead | rightWriteFile | rightMake | rightMakeDevice)
	if version >= 2 {
		rights |= rightRefer
	}
	if version >= 3 {
		rights |= rightTruncate
	}
	if version >= 5 {
		rights |= rightIoctl
	}
	return rights
}

// systemPlaces are programs, libraries, and what libraries look for.
var systemPlaces = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store"}

// systemFiles may be read by everybody, and tell nothing that is secret.
var systemFiles = []string{
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/localtime", "/etc/timezone", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/ca-certificates.conf",
	"/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/passwd", "/etc/group", "/etc/mime.types", "/etc/alternatives", "/etc/os-release",
	"/etc/locale.conf", "/etc/default/locale", "/etc/machine-id", "/proc", "/sys", "/run/systemd/resolve",
}

var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}

// access makes the rules.
func (h Host) access(p *Policy, n *Needs) shim.Access {
	all := handled(h.Landlock)
	a := shim.Access{FS: all}
	if p.Network == NetworkNone && h.Landlock >= 4 {
		a.Net = rightTCP
	}
	if h.Landlock >= 6 {
		if a.Scoped = scopeSignal; p.Network == NetworkNone {
			a.Scoped = scopeAll
		}
	}
	allow := func(rights uint64, paths ...string) {
		for _, path := range paths {
			if path != "" {
				a.Paths = append(a.Paths, shim.PathRule{Path: path, Access: rights & all})
			}
		}
	}
	write := rightRead | rightWriteFile | rightMake | rightRefer | rightTruncate
	allow(rightExecute|rightRead, systemPlaces...)
	allow(rightExecute|rightRead, n.Program)
	allow(rightRead, systemFiles...)
	allow(rightRead|rightWriteFile|rightTruncate|rightIoctl, devices...)
	allow(rightExecute|rightRead, p.Read...)
	allow(uint64(write), p.Write...)
	if p.PrivateTmp && h.Root { // else the directories are everybody's
		allow(uint64(write), "/tmp", "/var/tmp")
	}
	return a
}
