// Package peer starts the programs that Sentinel is compared with, and Sentinel itself, and counts what they use.
package peer

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Peer is one program under test (or the backend).
type Peer struct {
	Name string
	Addr string // where it answers
	TLS  string // where it answers over TLS, if it does
	cmd  *exec.Cmd
	done chan error
}

// FreePort asks the kernel for a port nobody uses.
func FreePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// FreePorts asks for several that differ.
func FreePorts(n int) (ports []int, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close() // at the end: a port that is given back may be given again
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// StartProcess starts a program in a process group of its own; what it prints goes to a file.
func StartProcess(name, dir string, argv ...string) (*Peer, error) {
	p := &Peer{Name: name, cmd: exec.Command(argv[0], argv[1:]...), done: make(chan error, 1)}
	log, err := os.Create(filepath.Join(dir, name+".out"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %v", name, err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

// Start starts a program and waits until it answers probe with 200.
func Start(name, dir, addr, probe string, argv ...string) (*Peer, error) {
	p, err := StartProcess(name, dir, argv...)
	if err != nil {
		return nil, err
	}
	p.Addr = addr
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		res, err := http.Get("http://" + addr + probe)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == 200 {
				return p, nil
			}
		}
		select {
		case err := <-p.done:
			out, _ := os.ReadFile(filepath.Join(dir, name+".out"))
			return nil, fmt.Errorf("%s ended at once: %v\n%s", name, err, out)
		case <-time.After(20 * time.Millisecond):
		}
	}
	p.Stop()
	out, _ := os.ReadFile(filepath.Join(dir, name+".out"))
	return nil, fmt.Errorf("%s did not answer on %s within 10 s\n%s", name, addr, out)
}

// Stop ends it: politely, and after five seconds by force.
func (p *Peer) Stop() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// WriteConf writes a configuration, formatted with args, and returns its path.
func WriteConf(dir, name, text string, args ...any) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, fmt.Appendf(nil, text, args...), 0o644)
}

// PID is the process, which leads its process group.
func (p *Peer) PID() int { return p.cmd.Process.Pid }

// Cost is what it has used so far, its children included.
func (p *Peer) Cost() (Cost, error) { return groupCost(p.PID()) }
