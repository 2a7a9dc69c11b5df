package exec

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one instance of a service. Its pid stays its own until Reap, so the process group of that number may be signalled until then.
type Process struct {
	pid   int
	pidfd *os.File // pollable
	alien bool     // another process is its parent
}

// Exit is how a process ended.
type Exit struct {
	Status  syscall.WaitStatus
	Unknown bool          // only its parent was told the status
	CPU     time.Duration // user and system
}

// String is "exit 1" or "signal KILL".
func (e Exit) String() string {
	if e.Unknown {
		return "ended, exit status unknown: it was adopted"
	}
	if e.Status.Signaled() {
		name := unix.SignalName(e.Status.Signal())
		if len(name) > 3 {
			name = name[3:] // without SIG
		}
		if e.Status.CoreDump() {
			name += " (core dumped)"
		}
		return "signal " + name
	}
	return fmt.Sprintf("exit %d", e.Status.ExitStatus())
}

// Success says that the process ended by itself with status 0.
func (e Exit) Success() bool { return !e.Unknown && e.Status.Exited() && e.Status.ExitStatus() == 0 }

func newProcess(pid, pidfd int) (*Process, error) {
	if pidfd < 0 {
		return nil, fmt.Errorf("cannot watch process %d: the kernel gives no pidfd", pid)
	}
	// Non-blocking lets the runtime's poller wait for the exit: a thousand services take no thread.
	if err := unix.SetNonblock(pidfd, true); err != nil {
		unix.Close(pidfd)
		return nil, fmt.Errorf("cannot watch process %d: %v", pid, err)
	}
	return &Process{pid: pid, pidfd: os.NewFile(uintptr(pidfd), "pidfd")}, nil
}

// PID is the process's number, for people and for comparing credentials.
func (p *Process) PID() int { return p.pid }

// Signal sends sig by pidfd, which never reaches a stranger. A process that has ended is not an error.
func (p *Process) Signal(sig syscall.Signal) error {
	var errno error
	err := control(p.pidfd, func(fd uintptr) {
		errno = unix.PidfdSendSignal(int(fd), sig, nil, 0)
	})
	if err == nil {
		err = errno
	}
	if err == unix.ESRCH {
		return nil
	}
	return err
}

// Kill sends KILL to the process alone.
func (p *Process) Kill() error { return p.Signal(unix.SIGKILL) }

// Wait returns when the process has ended. It is not reaped yet.
func (p *Process) Wait() error {
	rc, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var waitErr error
	err = rc.Read(func(fd uintptr) bool {
		if p.alien {
			var ended bool
			ended, waitErr = readable(int(fd))
			return ended || waitErr != nil
		}
		var info unix.Siginfo
		for {
			waitErr = unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
			if waitErr != unix.EINTR {
				break
			}
		}
		if waitErr == unix.EAGAIN {
			return false
		}
		return waitErr != nil || info.Signo != 0
	})
	if err == nil {
		err = waitErr
	}
	return err
}

// Reap collects the status after Wait and gives the pid back to the system. The Process must not be used afterwards.
func (p *Process) Reap() (Exit, error) {
	defer p.pidfd.Close()
	if p.alien {
		return Exit{Unknown: true}, nil
	}
	var e Exit
	var usage unix.Rusage
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(p.pid, &status, 0, &usage)
		if err == unix.EINTR {
			continue
		}
		e.Status = syscall.WaitStatus(status)
		e.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		return e, err
	}
}
