package hooks

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/reap"
)

// umask of what hooks create.
const umask = 0o027

// run starts a hook's program when there is a place for it, and returns when nothing is left of it.
func (e *Engine) run(d Deps, h *hook, m message) error {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-h.ctx.Done():
		return errors.New("it was not started: the stack stops or the hook has changed")
	}
	program, err := exec.Prepare(exec.Command{Name: h.Key(), Path: h.Exec[0], Args: h.Exec, Env: m.environment(d), Dir: "/", Umask: umask})
	if err != nil {
		return err
	}
	defer program.Close()
	tree, err := d.Forest.New(fmt.Sprintf("%s.%d", h.Key(), m.Seq))
	if err != nil {
		return err
	}
	defer func() {
		if err := tree.Close(); err != nil {
			d.Note("warn", fmt.Sprintf("%s: %v", h.Key(), err))
		}
	}()
	out, err := newCapture()
	if err != nil {
		return err
	}
	proc, err := start(d, program, tree, out, m.json())
	unix.Close(out.write)
	logged := d.Logs.Attach(h.Key(), "output", out)
	if err == nil {
		err = await(d, h, proc, tree)
	}
	out.end()
	<-logged
	return err
}

func start(d Deps, program *exec.Program, tree *reap.Tree, out *capture, input []byte) (proc *exec.Process, err error) {
	fd, err := unix.MemfdCreate("sentinel-hook-event", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make memory file: %v", err)
	}
	stdin := os.NewFile(uintptr(fd), "event")
	defer stdin.Close()
	if _, err = stdin.Write(input); err == nil {
		_, err = stdin.Seek(0, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot write memory file: %v", err)
	}
	d.Reaper.Start(func() int {
		if proc, _, err = d.Launcher.Start(program, exec.Output{Stdin: fd, Stdout: out.write, Stderr: out.write}, tree.FD()); err != nil {
			return 0
		}
		return proc.PID()
	})
	return proc, err
}

// await waits for the end of a program, which it brings about when the time is over, and kills whatever it leaves behind.
func await(d Deps, h *hook, proc *exec.Process, tree *reap.Tree) (err error) {
	ended := make(chan error, 1)
	go func() { ended <- proc.Wait() }()
	timer := time.NewTimer(h.Timeout)
	defer timer.Stop()
	stop := h.ctx.Done()
	var late string
	for over := false; !over; {
		select {
		case err = <-ended:
			over = true
		case <-timer.C:
			if late == "" {
				late = fmt.Sprintf("it did not end within %v", h.Timeout)
				unix.Kill(-proc.PID(), unix.SIGTERM) // the number is its own until it is reaped below
				timer.Reset(killGrace)
				break
			}
			tree.Kill(proc.PID())
			proc.Kill()
		case <-stop:
			stop, late = nil, "it was ended: the stack stops or the hook has changed"
			unix.Kill(-proc.PID(), unix.SIGTERM)
			timer.Reset(killGrace)
		}
	}
	d.Reaper.Ending(func() {
		tree.Kill(proc.PID())
		exit, reapErr := proc.Reap()
		d.Reaper.Forget(proc.PID())
		switch err = errors.Join(err, reapErr); {
		case err != nil:
		case late != "":
			err = fmt.Errorf("%s (%s)", late, exit)
		case !exit.Success():
			err = errors.New(exit.String())
		}
	})
	return err
}
