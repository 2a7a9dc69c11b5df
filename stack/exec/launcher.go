package exec

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec/shim"
)

// startTimeout bounds how long a shim may take to execute the service; only a machine in deep trouble comes near it.
const startTimeout = 10 * time.Second

// StageFork is the step before the shim's.
const StageFork = "fork"

// Launcher forks all services from one thread.
type Launcher struct {
	self   string // path of this program
	thread *Thread
	done   chan struct{} // nil = the thread is another's
	joins  atomic.Bool   // the kernel or a seccomp filter refuses clone3: shims put themselves into their cgroup
}

// NewLauncher starts a thread of its own.
func NewLauncher() *Launcher {
	l := LauncherOn(&Thread{calls: make(chan func())})
	l.done = make(chan struct{})
	go func() { defer close(l.done); l.thread.Serve() }()
	return l
}

// LauncherOn forks on a thread that the caller serves and closes.
func LauncherOn(t *Thread) *Launcher {
	l := &Launcher{self: "/proc/self/exe", thread: t}
	if _, err := os.Stat(l.self); err != nil { // no /proc: a replaced binary would now be started as the shim
		l.self, _ = os.Executable()
	}
	return l
}

// Close ends the launcher's own thread, if it has one. Services that still run die by it.
func (l *Launcher) Close() {
	if l.done != nil {
		l.thread.Close()
		<-l.done
	}
}

// Start runs an instance of p in a session of its own. cgroup is a directory descriptor of the cgroup v2 to start in, or -1; joins are descriptors of
// the cgroup.procs of further groups, of hierarchies of version 1, that the process enters before it runs anything of its own.
// It returns when the service's program has been executed; an *Error tells which step failed. The process must be waited for.
func (l *Launcher) Start(p *Program, out Output, cgroup int, joins ...int) (*Process, Timing, error) {
	if cgroup >= 0 && !l.joins.Load() {
		proc, timing, err := l.start(p, out, cgroup, joins)
		var e *Error
		// A fork straight into a cgroup needs clone3, which systemd's RestrictNamespaces= and many containers answer with ENOSYS.
		if !errors.As(err, &e) || e.Stage != StageFork || e.Errno != unix.ENOSYS {
			return proc, timing, err
		}
		l.joins.Store(true)
	}
	if cgroup >= 0 {
		procs, err := unix.Openat(cgroup, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, Timing{}, fmt.Errorf("cannot open cgroup: %v", err)
		}
		defer unix.Close(procs)
		joins = append(joins[:len(joins):len(joins)], procs)
	}
	return l.start(p, out, -1, joins)
}

// start forks into cgroup when that is not -1, and lets the shim write itself to joins.
func (l *Launcher) start(p *Program, out Output, cgroup int, joins []int) (*Process, Timing, error) {
	var timing Timing
	r, w, err := reportPipe()
	if err != nil {
		return nil, timing, err
	}
	defer r.Close()
	pidfd := -1
	specFD := shim.FirstListenFD + len(p.fds)
	files := make([]uintptr, 0, specFD+2)
	files = append(files, uintptr(out.Stdin), uintptr(out.Stdout), uintptr(out.Stderr))
	files = append(files, p.fds...)
	var forkErr error
	pid := 0
	err = control(p.spec, func(spec uintptr) {
		files = append(files, spec, uintptr(w))
		number := strconv.Itoa(specFD)
		for _, procs := range joins {
			files, number = append(files, uintptr(procs)), number+shim.Join
		}
		attr := &syscall.ProcAttr{
			Env:   []string{shim.Var + "=" + number, "GOMAXPROCS=1", "GOGC=off"}, // less for the shim's runtime to set up
			Files: files,
			Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd, UseCgroupFD: cgroup >= 0, CgroupFD: max(cgroup, 0)},
		}
		l.thread.do(func() {
			timing.Forked = time.Now()
			pid, forkErr = syscall.ForkExec(l.self, []string{"sentinel-stack", "__exec", p.name}, attr)
		})
	})
	unix.Close(w)
	if err = errors.Join(err, forkErr); err != nil {
		errno, _ := forkErr.(syscall.Errno)
		return nil, timing, &Error{Stage: StageFork, Errno: errno, Path: p.path}
	}
	proc, err := newProcess(pid, pidfd)
	if err != nil {
		unix.Kill(pid, unix.SIGKILL) // a child that was never waited for keeps its number
		unix.Wait4(pid, nil, 0, nil)
		return nil, timing, err
	}
	r.SetReadDeadline(time.Now().Add(startTimeout))
	if timing.Skipped, err = readReport(r, p.path); err != nil {
		proc.Kill()
		proc.Wait()
		proc.Reap()
		return nil, timing, err
	}
	timing.Executed = time.Now()
	return proc, timing, nil
}

// reportPipe returns a pollable read end and a plain write end.
func reportPipe() (*os.File, int, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, err
	}
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "report"), fds[1], nil
}

func control(f *os.File, fn func(uintptr)) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Control(fn)
}
