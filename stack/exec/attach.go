package exec

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrGone says that a process to attach to has ended; its number may be a stranger's by now.
var ErrGone = errors.New("the process has ended")

// Attach takes hold of a running process that an earlier supervisor, or this one before it replaced its program, has started. startTime is what StartTime said of it then.
func Attach(pid int, startTime uint64) (*Process, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrGone, err)
	}
	// Whoever has the number is held now, so what /proc says is about the process that the pidfd reaches.
	if now, err := StartTime(pid); err != nil || now != startTime {
		unix.Close(pidfd)
		return nil, ErrGone
	}
	p, err := newProcess(pid, pidfd)
	if err != nil {
		return nil, err
	}
	var info unix.Siginfo
	err = unix.Waitid(unix.P_PIDFD, pidfd, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	p.alien = errors.Is(err, unix.ECHILD)
	return p, nil
}

// Alien says that another process is its parent: it can be watched and signalled, and nobody keeps its number for us when it has ended.
func (p *Process) Alien() bool { return p.alien }

// Detach lets go of the process; it runs on.
func (p *Process) Detach() { p.pidfd.Close() }

// StartTime is when a process was started, in clock ticks since boot. Together with the number it names a process once and for all.
func StartTime(pid int) (uint64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	const field = 19 // counted from the state, which follows the name; the name may hold anything
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) <= field {
		return 0, fmt.Errorf("cannot read start time of process %d", pid)
	}
	return strconv.ParseUint(f[field], 10, 64)
}

// readable says whether the process of a pidfd has ended.
func readable(pidfd int) (bool, error) {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
		if err != unix.EINTR {
			return n > 0, err
		}
	}
}

// BootTime is the time since boot, suspensions included. Unlike the runtime's clock it means the same in every process.
func BootTime() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
