package reap

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec"
)

// maxWalks bounds how often /proc is walked for processes that were forked while the last walk ran.
const maxWalks = 50

// killMarked kills every process whose environment says that it descends from leader.
func killMarked(leader int) int {
	return killWhere(func(env []byte) bool { return hasVar(env, exec.LeaderVar, strconv.Itoa(leader)) })
}

// KillLeftovers kills the processes that an earlier supervisor of the runtime directory left behind and returns how many there were. It finds them by
// their environment; the caller holds the directory's lock, so no other supervisor owns them.
func KillLeftovers(runtimeDirVar, runtimeDir string) int {
	return killWhere(func(env []byte) bool {
		return hasVar(env, runtimeDirVar, runtimeDir) && hasVar(env, exec.LeaderVar, "")
	})
}

// killWhere kills matching processes until a walk finds none. Each is held by a pidfd before it is looked at, so no stranger is hit.
func killWhere(match func(env []byte) bool) int {
	killed := 0
	for range maxWalks {
		n := 0
		for _, pid := range processes() {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue
			}
			env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
			if err == nil && pid != os.Getpid() && match(env) && alive(pid) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
				n++
			}
			unix.Close(fd)
		}
		if n == 0 {
			break
		}
		killed += n
	}
	return killed
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

// alive says whether pid runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(stat, ')')
	return i > 0 && i+2 < len(stat) && stat[i+2] != 'Z' && stat[i+2] != 'X'
}
