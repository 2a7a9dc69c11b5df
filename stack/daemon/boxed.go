package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/sentinel-stack/sentinel/stack/sandbox"
)

// boxed reports whether a peer is a process in a sandbox of ours, which may not command the stack whatever its user may: it descends from the supervisor, and has more seccomp filters than that.
// Filters are inherited and cannot be taken off, and who loses its parents becomes the supervisor's child. Of our own user that is also taken for one that has ended, since a process in a box could
// leave its connection to another and end, and one that is hidden from us (ProtectProc=) unless the cgroups of the services, of which root is the parent, say that it is in none of them. Other
// users' may be hidden; they are nobody whom we run, for these may do nothing here anyway. Number 0 is somebody of another process namespace, which no box can make.
func boxed(pid int, uid uint32, root string) bool {
	its := sandbox.Status(pid) // once: between two looks it could end
	switch {
	case pid == 0:
		return false
	case len(its) > 0:
		return number(its["Seccomp_filters"]) > number(sandbox.Status(os.Getpid())["Seccomp_filters"]) && descends(its)
	case uid != uint32(os.Geteuid()):
		return false
	case errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || root == "":
		return true
	}
	groups, err := filepath.Glob(filepath.Join(root, "*", "cgroup.procs"))
	for _, g := range groups {
		list, bad := os.ReadFile(g)
		if errors.Is(bad, fs.ErrNotExist) || errors.Is(bad, syscall.ENODEV) { // the last one has left it
			bad = nil
		}
		if err = errors.Join(err, bad); slices.Contains(strings.Fields(string(list)), strconv.Itoa(pid)) {
			return true
		}
	}
	return err != nil
}

// descends reports whether a process is a descendant of this one.
func descends(status map[string]string) bool {
	self := os.Getpid()
	for range 1000 { // deeper than any tree
		parent := number(status["PPid"])
		switch {
		case len(status) == 0: // it has ended meanwhile
			return true
		case parent == self:
			return true
		case parent <= 1:
			return false
		}
		status = sandbox.Status(parent)
	}
	return true
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}
