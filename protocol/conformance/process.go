package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// startTime is how long an agent may take to listen, drainTime how long to end.
const (
	startTime = 15 * time.Second
	drainTime = 15 * time.Second
)

// Process is an agent that was started for the checks.
type Process struct {
	Socket string
	dir    string
	cmd    *exec.Cmd
	ended  chan struct{} // closed at its end
	err    error         // valid after ended
}

// Start starts an agent by its command line, in which {socket} stands for the path of its socket, and waits until it listens. The path is also in the variable SENTINEL_SOCKET, where
// the SDKs look. Its output goes to log.
func Start(command []string, log io.Writer) (*Process, error) {
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return nil, err
	}
	p := &Process{Socket: filepath.Join(dir, "agent.sock"), dir: dir, ended: make(chan struct{})}
	args := make([]string, len(command))
	for i, arg := range command {
		args[i] = strings.ReplaceAll(arg, "{socket}", p.Socket)
	}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Env = append(os.Environ(), "SENTINEL_SOCKET="+p.Socket)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.WaitDelay = time.Second                           // a grandchild may hold the pipe
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that all of it can be ended
	if err := p.cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("cannot start agent: %v", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	if err := p.await(); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// await waits until somebody listens on the socket.
func (p *Process) await() error {
	for end := time.Now().Add(startTime); time.Now().Before(end); {
		if nc, err := net.Dial("unix", p.Socket); err == nil {
			return nc.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("agent ended before it listened: %v", p.state())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("agent does not listen on %s after %v", p.Socket, startTime)
}

func (p *Process) state() string { return p.cmd.ProcessState.String() }

// Ended says how the process ended, "" when it runs.
func (p *Process) Ended() string {
	select {
	case <-p.ended:
		return p.state()
	default:
		return ""
	}
}

// Stop asks the agent to end, with SIGTERM, and waits. It has to end in time and with exit code 0.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("agent ended with %v", p.err)
		}
		return nil
	case <-time.After(drainTime):
		return errors.New("agent did not end after SIGTERM")
	}
}

// Kill ends the agent, and everything it started, and removes its folder.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
	_ = os.RemoveAll(p.dir)
}
