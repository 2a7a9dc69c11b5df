package shim

import (
	"syscall"
	"unsafe"
)

// view gives the process a mount namespace in which it can write to little. Whatever fails before the namespace is there changes nothing; after it the process is not to run.
func (b *Box) view() syscall.Errno {
	if e := call(syscall.SYS_UNSHARE, cloneNewNS, 0, 0); e != 0 {
		return e
	}
	syscall.Umask(0) // directories that lead to what is kept are for everybody; the service's own is set later
	if err := syscall.Mount("", "/", "", msRec|msPrivate, ""); err != nil {
		return fatal(err)
	}
	kept := b.openKept() // in the new namespace: a mount of another one cannot be bound here
	for _, path := range b.Hidden {
		if e := hide(path); e != 0 {
			return e
		}
	}
	if b.PrivateTmp {
		for _, dir := range tmpDirs {
			if err := syscall.Mount("tmpfs", dir, "tmpfs", msNoSuid|msNoDev, "mode=1777,size=64m"); err != nil && err != syscall.ENOENT {
				return fatal(err)
			}
		}
	}
	if e := b.coverAndKeep(kept); e != 0 {
		return e
	}
	if !b.ReadOnly {
		return 0
	}
	for _, path := range b.Writable { // a mount of its own each, so that it can differ
		if err := syscall.Mount(path, path, "", msBind|msRec, ""); err != nil && err != syscall.ENOENT {
			return fatal(err)
		}
	}
	if e := setReadOnly("/", true, atRecursive); e != 0 {
		return fatal(e)
	}
	for _, path := range b.Writable {
		if e := setReadOnly(path, false, 0); e != 0 && e != syscall.ENOENT {
			return fatal(e)
		}
	}
	if b.PrivateTmp {
		for _, dir := range tmpDirs {
			if e := setReadOnly(dir, false, 0); e != 0 && e != syscall.ENOENT {
				return fatal(e)
			}
		}
	}
	return 0
}

// coverAndKeep goes through both lists in the order of their paths, in which a directory comes before what is in it: something that is kept may hold something that is covered, and the other way round.
func (b *Box) coverAndKeep(kept []int) syscall.Errno {
	for c, k := 0, 0; c < len(b.Cover) || k < len(b.Keep); {
		if k == len(b.Keep) || c < len(b.Cover) && b.Cover[c] <= b.Keep[k] {
			// ENOENT: it was below one that is covered.
			if err := syscall.Mount("tmpfs", b.Cover[c], "tmpfs", msNoSuid|msNoDev, "mode=0755,size=64k"); err != nil && err != syscall.ENOENT {
				return fatal(err)
			}
			c++
			continue
		}
		if kept[k] >= 0 {
			if e := bindKept(kept[k], b.Keep[k]); e != 0 {
				return e
			}
		}
		k++
	}
	return 0
}

var tmpDirs = [...]string{"/tmp", "/var/tmp"}

// fatal keeps an error from being taken for one that only means that the host lacks something: half a view is worse than none.
func fatal(err error) syscall.Errno {
	if e := asErrno(err); !lacking(e) {
		return e
	}
	return syscall.EIO
}

// openKept opens what will be covered by empty directories.
func (b *Box) openKept() []int {
	fds := make([]int, len(b.Keep))
	for i, path := range b.Keep {
		fd, err := syscall.Open(path, oPath|syscall.O_CLOEXEC, 0)
		if err != nil {
			fd = -1
		}
		fds[i] = fd
	}
	return fds
}

// bindKept puts it back at its place.
func bindKept(fd int, path string) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return fatal(err)
	}
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			if err := syscall.Mkdir(path[:i], 0o755); err != nil && err != syscall.EEXIST && err != syscall.EROFS {
				return fatal(err)
			}
		}
	}
	if st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		if err := syscall.Mkdir(path, 0o755); err != nil && err != syscall.EEXIST {
			return fatal(err)
		}
	} else {
		at, err := syscall.Open(path, syscall.O_CREAT|syscall.O_EXCL|syscall.O_WRONLY|syscall.O_CLOEXEC, 0o600)
		if err == nil {
			syscall.Close(at)
		} else if err != syscall.EEXIST { // it is there when its directory is kept, too; then it is not to be opened for writing: it may be running
			return fatal(err)
		}
	}
	if err := syscall.Mount("/proc/self/fd/"+digits(fd), path, "", msBind|msRec, ""); err != nil {
		return fatal(err)
	}
	syscall.Close(fd)
	return 0
}

// hide covers a path by something that nobody may open. What is not there needs no cover.
func hide(path string) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil || st.Mode&syscall.S_IFMT == syscall.S_IFLNK {
		return 0
	}
	if st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		if err := syscall.Mount("tmpfs", path, "tmpfs", msNoSuid|msNoDev|msRDOnly, "mode=000,size=4k"); err != nil {
			return fatal(err)
		}
		return 0
	}
	// /dev/null with nodev cannot be opened by anybody.
	if err := syscall.Mount("/dev/null", path, "", msBind, ""); err != nil {
		return fatal(err)
	}
	if err := syscall.Mount("", path, "", 0x20|msBind|msNoDev|msNoSuid|msRDOnly|8, ""); err != nil { // remount; 8 = noexec
		return fatal(err)
	}
	return 0
}

// setReadOnly changes a mount, and with atRecursive those below it.
func setReadOnly(path string, on bool, flags uintptr) syscall.Errno {
	var attr struct{ set, clear, propagation, userns uint64 }
	if on {
		attr.set = mountRDOnly
	} else {
		attr.clear = mountRDOnly
	}
	p, err := syscall.BytePtrFromString(path)
	if err != nil {
		return syscall.EINVAL
	}
	cwd := atFDCWD
	_, _, e := syscall.RawSyscall6(sysMountSetattr, uintptr(cwd), uintptr(unsafe.Pointer(p)), flags, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	return e
}
