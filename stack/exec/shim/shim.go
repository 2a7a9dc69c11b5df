// Package shim is the child's half of starting a service: it runs between fork and the service's own program and prepares the process.
//
// A service is started by executing the supervisor's own program once more with the variable Var set. This package notices the variable while the
// program is being initialised, does its work and executes the service; main is never reached. That early moment matters: the supervisor links
// libraries whose initialisation takes 20 ms, and the shim stands on the path of every restart. The Go linker initialises packages as soon as their own
// imports are, so this package imports nothing but syscall and unsafe (a test keeps it so), and the whole detour costs about one millisecond.
//
// Steps, in order; the first that fails is reported by name: cgroup, spec, rlimit …, the first layers of the box (view, network, user), parent, umask, chdir, fds, the last layers (no-new-privileges, landlock, seccomp), exec.
// Everything that binds one thread binds the service, because the Go runtime keeps initialisation on the main thread, and that is the one that executes.
package shim

import (
	"syscall"
	"unsafe"
)

// Var carries the number of the descriptor that holds the encoded Spec; the next descriptor is the pipe for the report. For each Join
// behind the number one more descriptor follows: the cgroup.procs of a group the shim has to put itself into, because the kernel could not do it at the fork.
const Var = "SENTINEL_STACK_EXEC"

// Join is the mark behind the number in Var.
const Join = "+"

// LeaderVar is set to the pid of the service's first process. Whatever that process spawns inherits it, so a survivor can be found by its
// environment where there are no cgroups.
const LeaderVar = "SENTINEL_LEADER"

// FirstListenFD is where inherited sockets begin, as systemd's protocol says.
const FirstListenFD = 3

// exitShim is the exit status of a shim that could not execute the service (as of a shell that cannot execute a command).
const exitShim = 126

// Names of the steps in reports.
const (
	StageCgroup = "cgroup"
	StageSpec   = "spec"
	StageRlimit = "rlimit" // followed by the limit's name
	StageParent = "parent"
	StageUmask  = "umask"
	StageChdir  = "chdir"
	StageFDs    = "fds"
	StageExec   = "exec"
)

const (
	sysCloseRange  = 436 // the same number on every architecture
	prSetPdeathsig = 1
	maxSpec        = 4 << 20 // far above what execve takes
)

// This is the one package whose initialisation acts; see the package comment for why it cannot be called from main.
var _ = run()

func run() bool {
	value, ok := syscall.Getenv(Var)
	if !ok {
		return false
	}
	fd, joins := 0, 0
	for n := len(value) - 1; n >= 0 && value[n:] == Join; n-- {
		value, joins = value[:n], joins+1
	}
	for _, c := range []byte(value) {
		if c < '0' || c > '9' || fd > 1<<20 {
			syscall.Exit(exitShim)
		}
		fd = fd*10 + int(c-'0')
	}
	report := fd + 1
	for i := range joins {
		if _, err := syscall.Write(report+1+i, []byte("0")); err != nil {
			tell(report, StageCgroup, asErrno(err))
			syscall.Exit(exitShim)
		}
	}
	stage, errno := prepare(fd, report)
	tell(report, stage, errno)
	syscall.Exit(exitShim)
	return true
}

// prepare returns only when a step failed.
func prepare(specFD, reportFD int) (stage string, errno syscall.Errno) {
	raw, errno := readAll(specFD)
	if errno != 0 {
		return StageSpec, errno
	}
	spec, ok := Decode(raw)
	if !ok {
		return StageSpec, syscall.EINVAL
	}
	for _, l := range spec.Limits {
		// Not by a raw call: syscall would give back the number of open files it found when the shim began.
		if err := syscall.Setrlimit(int(l.Resource), &syscall.Rlimit{Cur: l.Value, Max: l.Value}); err != nil {
			return StageRlimit + " " + l.Name, asErrno(err)
		}
	}
	var skipped skips
	if layer, errno := spec.Box.confine(&skipped); errno != 0 {
		return layer, errno
	}
	// After the change of user, which would undo it. The parent may have died before the kernel knew what to do then, so it is checked after prctl.
	if !spec.Survives {
		if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, prSetPdeathsig, uintptr(syscall.SIGKILL), 0); e != 0 {
			return StageParent, e
		}
	}
	if syscall.Getppid() != int(spec.Parent) {
		return StageParent, syscall.ESRCH
	}
	syscall.Umask(int(spec.Umask))
	if spec.Dir != "" {
		if err := syscall.Chdir(spec.Dir); err != nil {
			return StageChdir, asErrno(err)
		}
	}
	syscall.CloseOnExec(specFD)
	syscall.CloseOnExec(reportFD)
	if _, _, e := syscall.RawSyscall(sysCloseRange, uintptr(reportFD+1), uintptr(^uint32(0)), 0); e != 0 && e != syscall.ENOSYS {
		return StageFDs, e
	}
	pid := digits(syscall.Getpid())
	env := append(spec.Env, LeaderVar+"="+pid)
	if spec.Listen > 0 {
		env = append(env, "LISTEN_PID="+pid)
	}
	if layer, errno := spec.Box.seal(&skipped); errno != 0 {
		return layer, errno
	}
	for i := range skipped.n {
		record(reportFD, recordSkipped, skipped.names[i], skipped.errnos[i])
	}
	return StageExec, asErrno(syscall.Exec(spec.Path, spec.Args, env))
}

func readAll(fd int) ([]byte, syscall.Errno) {
	buf := make([]byte, 0, 8<<10)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := syscall.Pread(fd, buf[len(buf):cap(buf)], int64(len(buf)))
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, asErrno(err)
		}
		if n == 0 {
			return buf, 0
		}
		if buf = buf[:len(buf)+n]; len(buf) > maxSpec {
			return nil, syscall.E2BIG
		}
	}
}

// Kinds of records in the report.
const (
	recordFailed  = 'f' // the step that failed: nothing follows
	recordSkipped = 's' // a layer of the box that this host does not have
)

// tell reports the step that failed.
func tell(fd int, stage string, errno syscall.Errno) { record(fd, recordFailed, stage, errno) }

// record writes one record of the report: kind, errno as four bytes, length of the name, name. A pipe takes so few bytes at once.
func record(fd int, kind byte, name string, errno syscall.Errno) {
	b := append(appendUint32([]byte{kind}, uint32(errno)), byte(len(name)))
	syscall.Write(fd, append(b, name...))
}

// Report is what a shim said.
type Report struct {
	Failed  string // the step, "" = none
	Errno   syscall.Errno
	Skipped []Skipped
}

// Skipped is a layer of the box that is not there.
type Skipped struct {
	Layer string
	Errno syscall.Errno
}

// ReadReport reads a whole report and says whether it is one.
func ReadReport(b []byte) (r Report, ok bool) {
	for len(b) > 0 {
		if len(b) < 6 || len(b) < 6+int(b[5]) {
			return r, false
		}
		errno := syscall.Errno(uint32(b[1]) | uint32(b[2])<<8 | uint32(b[3])<<16 | uint32(b[4])<<24)
		name := string(b[6 : 6+int(b[5])])
		if b[0] == recordFailed {
			r.Failed, r.Errno = name, errno
		} else {
			r.Skipped = append(r.Skipped, Skipped{name, errno})
		}
		b = b[6+int(b[5]):]
	}
	return r, true
}

func asErrno(err error) syscall.Errno {
	if e, ok := err.(syscall.Errno); ok {
		return e
	}
	return syscall.EINVAL
}

func digits(n int) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return unsafe.String(&b[i], len(b)-i)
		}
	}
}
