package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// detachVar holds the descriptor on which a background supervisor tells the command that started it how it went.
const detachVar = "SENTINEL_STACK_DETACHED"

// verdictOfChild is what it tells, once.
type verdictOfChild struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// detach starts this program again in a session of its own and waits for its word.
func (a *app) detach(runtimeDir string, timeout time.Duration) error {
	if err := os.MkdirAll(runtimeDir, 0o750); err != nil {
		return exit(exitFailure, "cannot make runtime directory: %v", err)
	}
	// Only a crash of the supervisor itself ends up here: services and notes go to the log store.
	crash, err := os.OpenFile(filepath.Join(runtimeDir, "stack.err"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return exit(exitFailure, "cannot open error file: %v", err)
	}
	defer crash.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return exit(exitFailure, "cannot make pipe: %v", err)
	}
	defer r.Close()
	exe, err := os.Executable()
	if err != nil {
		return exit(exitFailure, "cannot find own program: %v", err)
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Env = append(os.Environ(), detachVar+"=3")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = crash, crash, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return exit(exitFailure, "cannot start in the background: %v", err)
	}
	defer cmd.Process.Release()
	r.SetReadDeadline(time.Now().Add(timeout))
	var v verdictOfChild
	switch err := json.NewDecoder(r).Decode(&v); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return exit(exitNotReady, "not ready within %v; it keeps trying, see 'sentinel-stack status' (pid %d)", timeout, cmd.Process.Pid)
	case err != nil:
		return exit(exitFailure, "the supervisor ended at once, see %s", crash.Name())
	case v.Code == exitOK:
		fmt.Fprintf(a.out, "ready: pid %d, runtime directory %s\n", cmd.Process.Pid, runtimeDir)
		return nil
	}
	return &exitError{v.Code, errors.New(v.Message)}
}

// background is the other side: the supervisor in the background.
type background struct {
	once sync.Once
	pipe *os.File
}

// detachedChild says whether this process is one, and hides the fact from its own children.
func detachedChild() (*background, bool) {
	fd, err := strconv.Atoi(os.Getenv(detachVar))
	if err != nil || fd < 3 {
		return nil, false
	}
	os.Unsetenv(detachVar)
	syscall.CloseOnExec(fd)
	return &background{pipe: os.NewFile(uintptr(fd), "verdict")}, true
}

func (b *background) tell(code int, message string) {
	b.once.Do(func() {
		json.NewEncoder(b.pipe).Encode(verdictOfChild{code, message})
		b.pipe.Close()
	})
}

func (b *background) ready(failed error) {
	if failed == nil {
		b.tell(exitOK, "")
		return
	}
	b.tell(exitNotReady, "the stack runs, but not everything is ready: "+failed.Error()+"; 'sentinel-stack logs' tells why")
}

func (b *background) ended(err error) {
	var e *exitError
	if errors.As(err, &e) {
		b.tell(e.code, e.Error())
	} else {
		b.tell(exitFailure, "the supervisor was stopped before it was ready")
	}
}
