package handover

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/handover/early"
)

// Variables of a program that takes over from itself.
const (
	resumeVar = early.Var                      // descriptors of the state and of the old program
	failedVar = "SENTINEL_STACK_RESUME_FAILED" // why a newer program has handed back
)

// Inherited is what a program finds that was executed in place of an older one.
type Inherited struct {
	State  *State
	Failed string // this is the old program again; why

	stateFD, oldFD int
}

// Take looks whether this program was executed in place of another one, nil = it was not. On error the old program should be given back: see GiveBack.
func Take() (*Inherited, error) {
	value := os.Getenv(resumeVar)
	if value == "" {
		return nil, nil
	}
	in := &Inherited{Failed: os.Getenv(failedVar), stateFD: -1, oldFD: -1}
	os.Unsetenv(resumeVar)
	os.Unsetenv(failedVar)
	state, old, _ := strings.Cut(value, ",")
	var err error
	if in.stateFD, err = strconv.Atoi(state); err != nil {
		return nil, fmt.Errorf("cannot take over: %s is %q", resumeVar, value)
	}
	if in.oldFD, err = strconv.Atoi(old); err != nil {
		in.oldFD = -1
	}
	in.State, err = readState(in.stateFD)
	return in, err
}

// readState does not close the descriptor and does not move its offset: it may have to be read again.
func readState(fd int) (*State, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read the state: %v", err)
	}
	f := os.NewFile(uintptr(dup), "state")
	defer f.Close()
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, maxState))
	if err != nil {
		return nil, fmt.Errorf("cannot read the state: %v", err)
	}
	return Decode(raw)
}

// Done closes the inherited descriptors: all have been taken over as duplicates.
func (in *Inherited) Done() {
	for _, fd := range append(in.State.Descriptors(), in.stateFD, in.oldFD) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Trial says that nothing but the state was handed over: this program is only asked whether it could take over.
func (in *Inherited) Trial() bool { return in.oldFD < 0 && in.Failed == "" }

// GiveBack executes the old program with the same state. It returns only when that is impossible.
func (in *Inherited) GiveBack(t *exec.Thread, why error) error {
	if in.Failed != "" || in.oldFD < 0 {
		return fmt.Errorf("cannot take over, and there is no older program to go back to: %v", why)
	}
	keep := []int{in.stateFD}
	args := os.Args
	if in.State != nil {
		keep, args = append(keep, in.State.Descriptors()...), in.State.Args
	}
	reason := strings.ReplaceAll(why.Error(), "\x00", " ")
	env := append(os.Environ(), variable(in.stateFD, -1), failedVar+"="+reason)
	err := t.Replace("/proc/self/fd/"+strconv.Itoa(in.oldFD), args, env, keep, func() error { return nil })
	return fmt.Errorf("cannot take over (%v) and cannot go back to the older program: %v", why, err)
}

func variable(state, old int) string { return fmt.Sprintf("%s=%d,%d", resumeVar, state, old) }

// Over executes the program at path in place of this one with the state. last may refuse at the last moment. It returns only when that failed; then nothing has changed.
func Over(t *exec.Thread, path string, s *State, last func() error) error {
	f, err := s.MemoryFile()
	if err != nil {
		return err
	}
	defer f.Close()
	old, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("cannot keep the present program: %v", err)
	}
	defer old.Close()
	state, oldFD := int(f.Fd()), int(old.Fd())
	env := append(os.Environ(), variable(state, oldFD))
	if err := t.Replace(path, s.Args, env, append(s.Descriptors(), state, oldFD), last); err != nil {
		return fmt.Errorf("cannot execute %s: %v", path, err)
	}
	return nil
}

// Refusal says that a program could not take over and has touched nothing.
type Refusal struct{ Reason error }

func (r *Refusal) Error() string { return r.Reason.Error() }
