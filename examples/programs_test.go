package examples

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// program is a running program with its output in a file.
type program struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
	err  error         // valid after done
}

// startProgram starts args in a process group of its own.
func startProgram(dir string, env []string, log string, args ...string) (*program, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	path, err := exec.LookPath(args[0])
	if err != nil {
		path = bin + "/" + args[0]
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &program{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// end sends a signal and waits; a program that does not end is killed, and that is an error.
func (p *program) end(sig syscall.Signal) error {
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
		text, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s did not end within %v of %v:\n%s", p.cmd.Path, patience, sig, text)
	}
}

// gone waits until a killed process can do nothing more: it is a zombie or not there.
func gone(pid int) error { return inState(pid, "ZX") }

// inState waits until a process is in one of the states, or not there.
func inState(pid int, states string) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			return nil
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if rest != "" && strings.Contains(states, rest[:1]) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not come into state %s", pid, states)
}

// programOf returns the path of a process's program, "" when there is none.
func programOf(pid int) string {
	path, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	return path
}

// backend is a web server of the test.
type backend struct {
	name  string
	delay time.Duration
	port  int

	mu     sync.Mutex
	server *http.Server
	served sync.WaitGroup
}

// start listens on the port it had before, or on a free one.
func (b *backend) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		return fmt.Errorf("backend %s runs", b.name)
	}
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
	if err != nil {
		return err
	}
	b.port = ln.Addr().(*net.TCPAddr).Port
	server := &http.Server{Handler: b, ReadHeaderTimeout: patience}
	b.server = server
	b.served.Go(func() { _ = server.Serve(ln) })
	return nil
}

func (b *backend) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		_ = b.server.Close()
		b.served.Wait()
		b.server = nil
	}
}

// ServeHTTP answers "NAME path", and sends the messages of a WebSocket back.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.delay > 0 {
		time.Sleep(b.delay)
	}
	if r.Header.Get("Upgrade") == "websocket" {
		echoSocket(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Server", "backend")
	w.Header().Set("X-Backend", b.name)
	fmt.Fprintf(w, "%s %s\n", b.name, r.URL.Path)
}
