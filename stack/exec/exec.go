// Package exec starts services and holds on to their processes.
//
// A Program is everything about a service that stays the same between restarts: arguments, environment and sockets are encoded into a memory file once,
// so that a restart is one fork, the shim (see package shim) and one execve. A Process is one running instance, known by its pidfd; it is
// never signalled by number.
package exec

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec/shim"
)

// Socket is a descriptor to hand over, with the name the service knows it by.
type Socket struct {
	Name string // no colon
	FD   int    // stays the caller's
}

// Command describes a program to run.
type Command struct {
	Name   string   // of the service, shown by ps while the shim runs
	Path   string   // absolute
	Args   []string // with the program's name first
	Env    []string
	Dir    string
	Umask  uint32
	Listen []Socket
	Secret [][]byte     // each in a sealed file in memory, open in the service behind the sockets
	Limits []shim.Limit // rlimits
	Box    shim.Box

	Survives bool // the supervisor's death does not end it
}

// Program is a Command made ready to be started often.
type Program struct {
	name string
	path string
	spec *os.File // memory file
	fds  []uintptr

	secrets []*os.File
}

// Prepare encodes c. The sockets must stay open until Close.
func Prepare(c Command) (*Program, error) {
	names := make([]string, len(c.Listen))
	p := &Program{name: c.Name, path: c.Path}
	for i, s := range c.Listen {
		if strings.Contains(s.Name, ":") {
			return nil, fmt.Errorf("cannot pass socket %q: its name holds a colon", s.Name)
		}
		names[i] = s.Name
		p.fds = append(p.fds, uintptr(s.FD))
	}
	for _, text := range c.Secret {
		f, err := sealed("sentinel-secret-"+c.Name, text)
		if err != nil {
			p.Close()
			return nil, err
		}
		p.secrets, p.fds = append(p.secrets, f), append(p.fds, f.Fd())
	}
	env := c.Env
	if len(names) > 0 {
		env = append(env[:len(env):len(env)], "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	spec := shim.Spec{Parent: uint32(os.Getpid()), Umask: c.Umask, Listen: uint32(len(names)), Path: c.Path, Dir: c.Dir, Args: c.Args, Env: env, Limits: c.Limits, Box: c.Box, Survives: c.Survives}
	fd, err := unix.MemfdCreate("sentinel-exec-"+c.Name, unix.MFD_CLOEXEC)
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("cannot make memory file: %v", err)
	}
	p.spec = os.NewFile(uintptr(fd), "spec")
	if _, err := p.spec.Write(spec.Encode()); err != nil {
		p.Close()
		return nil, fmt.Errorf("cannot write memory file: %v", err)
	}
	return p, nil
}

// Close releases the program; running processes are not touched.
func (p *Program) Close() {
	if p.spec != nil {
		p.spec.Close()
	}
	for _, f := range p.secrets {
		f.Close()
	}
}

// sealed is a file in memory that nobody can change any more. Who may open it is decided by who has it.
func sealed(name string, text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("cannot make memory file: %v", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(text); err == nil {
		err = f.Chmod(0o444)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot seal memory file: %v", err)
	}
	return f, nil
}

// Error says which step of starting failed. Callers branch on Permanent.
type Error struct {
	Stage string // fork, or one of package shim's
	Errno syscall.Errno
	Path  string
}

func (e *Error) Error() string {
	if e.Stage == shim.StageExec {
		return fmt.Sprintf("cannot execute %s: %v", e.Path, e.Errno)
	}
	return fmt.Sprintf("cannot start %s: stage %s: %v", e.Path, e.Stage, e.Errno)
}

// Permanent says that trying again without a change of configuration or installation is useless.
func (e *Error) Permanent() bool {
	if strings.HasPrefix(e.Stage, shim.StageRlimit+" ") {
		return true
	}
	switch e.Stage {
	case shim.StageExec, shim.StageChdir:
		switch e.Errno {
		case unix.ENOENT, unix.EACCES, unix.ENOTDIR, unix.ENOEXEC, unix.ELOOP, unix.EISDIR, unix.EPERM, unix.ENAMETOOLONG, unix.E2BIG:
			return true
		}
	}
	return false
}

// LeaderVar names the variable with the pid of a service's first process, which all its descendants inherit.
const LeaderVar = shim.LeaderVar

// Output are the write ends of the pipes of one instance. Start does not close them.
type Output struct {
	Stdin, Stdout, Stderr int
}

// Timing says when the steps of a start happened, and which layers of the box this host did without.
type Timing struct {
	Forked   time.Time // the shim is about to run
	Executed time.Time // the service's program runs
	Skipped  []shim.Skipped
}

// readReport waits until the shim has executed the service or failed. The pipe closes by itself on success.
func readReport(r *os.File, path string) ([]shim.Skipped, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxReport))
	report, ok := shim.ReadReport(b)
	switch {
	case err != nil || !ok:
		return nil, &Error{Stage: shim.StageSpec, Errno: unix.EPROTO, Path: path}
	case report.Failed != "":
		return nil, &Error{Stage: report.Failed, Errno: report.Errno, Path: path}
	}
	return report.Skipped, nil
}

const maxReport = 4 << 10
