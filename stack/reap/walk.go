package reap

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec"
)

// walkFor bounds how long processes are looked for again: some were forked while the last walk ran, some take a moment to die.
const walkFor = 3 * time.Second

// repeat calls walk until it finds nothing. walk reports the living processes it has just signalled. The result counts each once.
func repeat(walk func() []int) int {
	seen := map[int]bool{}
	pause := time.Millisecond
	for end := time.Now().Add(walkFor); ; {
		found := walk()
		for _, pid := range found {
			seen[pid] = true
		}
		if len(found) == 0 || !time.Now().Before(end) {
			return len(seen)
		}
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// killMarked kills every process whose environment says that it descends from leader.
func killMarked(leader int) int {
	return killWhere(func(env []byte) bool { return hasVar(env, exec.LeaderVar, strconv.Itoa(leader)) })
}

// KillLeftovers kills the processes that an earlier supervisor of the runtime directory left behind and returns how many there were. It finds them by
// their environment; the caller holds the directory's lock, so no other supervisor owns them. Those that descend from one of the leaders in spare are left alone.
func KillLeftovers(runtimeDirVar, runtimeDir string, spare ...int) int {
	return killWhere(func(env []byte) bool {
		for _, leader := range spare {
			if hasVar(env, exec.LeaderVar, strconv.Itoa(leader)) {
				return false
			}
		}
		return hasVar(env, runtimeDirVar, runtimeDir) && hasVar(env, exec.LeaderVar, "")
	})
}

// killWhere kills matching processes until a walk finds none. Each is held by a pidfd before it is looked at, so no stranger is hit.
func killWhere(match func(env []byte) bool) int {
	return repeat(func() (found []int) {
		for _, pid := range processes() {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue
			}
			env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
			if err == nil && pid != os.Getpid() && match(env) && alive(pid) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
				found = append(found, pid)
			}
			unix.Close(fd)
		}
		return found
	})
}

// hasVar says whether env holds name=value; an empty value means any.
func hasVar(env []byte, name, value string) bool {
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if rest, ok := bytes.CutPrefix(v, []byte(name+"=")); ok && (value == "" || string(rest) == value) {
			return true
		}
	}
	return false
}

func processes() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	pids := make([]int, 0, len(names))
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Alive says whether pid runs; a zombie does not.
func Alive(pid int) bool { return alive(pid) }

// alive says whether pid runs; a zombie does not.
func alive(pid int) bool {
	f := statFields(pid)
	return len(f) > 0 && f[0] != "Z" && f[0] != "X"
}

// parentOf is the pid of the parent, 0 when pid is gone.
func parentOf(pid int) int {
	f := statFields(pid)
	if len(f) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(f[1])
	return parent
}

// statFields are those of /proc/PID/stat that follow the name, which may hold anything: state, parent and so on.
func statFields(pid int) []string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
}
