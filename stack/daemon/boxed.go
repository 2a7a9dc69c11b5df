package daemon

import (
	"os"
	"strconv"
	"strings"
)

// boxed reports whether a peer is a process in a sandbox of ours, which may not command the stack whatever its user may: it descends from the supervisor, and has more seccomp filters than that.
// Filters are inherited and cannot be taken off, and who loses its parents becomes the supervisor's child. A peer that cannot be looked at, because it has ended, is taken for one: a process in a
// box could leave its connection to another and end. Number 0 is somebody of another process namespace, which no box can make.
func boxed(pid int) bool {
	if pid == 0 {
		return false
	}
	own := statusField("self", "Seccomp_filters")
	its := statusField(strconv.Itoa(pid), "Seccomp_filters")
	return its < 0 && statusField(strconv.Itoa(pid), "PPid") < 0 || its > max(own, 0) && descends(pid)
}

// descends reports whether a process is a descendant of this one.
func descends(pid int) bool {
	self := os.Getpid()
	for range 1000 { // deeper than any tree
		parent := statusField(strconv.Itoa(pid), "PPid")
		switch {
		case parent == self:
			return true
		case parent < 0: // it has ended meanwhile
			return true
		case parent <= 1:
			return false
		}
		pid = parent
	}
	return true
}

// statusField is a number of /proc/PID/status, -1 = it cannot be read or is not there.
func statusField(pid, name string) int {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				return n
			}
		}
	}
	return -1
}
