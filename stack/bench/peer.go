package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// service is something to run.
type service struct {
	name string
	args []string
}

// peer is one supervisor: how it is configured, started and asked to end, each as its users do it.
type peer struct {
	name, program string
	keep          bool // its services are to survive it: only told apart when it dies
	// prepare writes its configuration for the services to dir and returns the command that runs it in the foreground.
	prepare func(dir string, services []service) ([]string, error)
	end     syscall.Signal // asks it to stop everything and end
}

// running is a supervisor with its services.
type running struct {
	*peer
	cmd  *exec.Cmd
	dir  string
	done chan struct{}
	log  string
}

// start runs services under a supervisor in a fresh directory.
func (b *bench) start(p *peer, services []service) (*running, error) {
	dir, err := os.MkdirTemp(b.dir, p.name+"-")
	if err != nil {
		return nil, err
	}
	command, err := p.prepare(dir, services)
	if err != nil {
		return nil, err
	}
	r := &running{peer: p, dir: dir, done: make(chan struct{}), log: filepath.Join(dir, "supervisor.log")}
	out, err := os.Create(r.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	r.cmd = exec.Command(command[0], command[1:]...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = dir, out, out
	r.cmd.Env = append(os.Environ(), "NO_COLOR=1", "TERM=dumb", "HOME="+dir)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	started.Store(r.cmd.Process.Pid, true)
	b.last = r
	go func() { _ = r.cmd.Wait(); close(r.done) }()
	return r, nil
}

// failed explains why something did not happen, by the end of what the supervisor printed.
func (r *running) failed(what string) error {
	text, _ := os.ReadFile(r.log)
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return fmt.Errorf("%s; it says: %s", what, lines[len(lines)-1])
}

func allPeers(b *bench) []*peer {
	sentinel := filepath.Join(b.programs, "sentinel-stack")
	return []*peer{
		{name: "sentinel-stack", program: sentinel, end: syscall.SIGTERM, prepare: func(dir string, s []service) ([]string, error) { return stackOf(sentinel, dir, s, "kill") }},
		{name: "sentinel-stack (keep)", program: sentinel, keep: true, end: syscall.SIGTERM, prepare: func(dir string, s []service) ([]string, error) { return stackOf(sentinel, dir, s, "keep") }},
		{name: "runit", program: "runsvdir", end: syscall.SIGHUP, prepare: runit},
		{name: "s6", program: "s6-svscan", end: syscall.SIGTERM, prepare: s6},
		{name: "supervisord", program: "supervisord", end: syscall.SIGTERM, prepare: supervisord},
		{name: "process-compose", program: "process-compose", end: syscall.SIGTERM, prepare: processCompose},
	}
}

func write(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}

// stackOf: the proxy is there too, since there is no stack without one; it listens on a Unix socket.
func stackOf(program, dir string, services []service, death string) ([]string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners { listener \"l\" { address \"unix:%s/l.sock\" } }\nroutes { route \"r\" { matches { path-prefix \"/\" }; builtin-handler \"status\" } }\nstack {\n    on-supervisor-death %q\n", dir, death)
	for _, s := range services {
		fmt.Fprintf(&b, "    service %q { command", s.name)
		for _, a := range s.args {
			fmt.Fprintf(&b, " %q", a)
		}
		b.WriteString(" }\n")
	}
	b.WriteString("}\n")
	file := filepath.Join(dir, "sentinel.kdl")
	return []string{program, "--config", file, "--runtime-dir", filepath.Join(dir, "run"), "up", "--quiet", "--log-dir", filepath.Join(dir, "logs")}, write(file, b.String(), 0o644)
}

func script(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = "'" + a + "'"
	}
	return "#!/bin/sh\nexec 2>&1\nexec " + strings.Join(quoted, " ") + "\n"
}

// runit: each service with svlogd, as its documentation has it.
func runit(dir string, services []service) ([]string, error) {
	for _, s := range services {
		at := filepath.Join(dir, "sv", s.name)
		if err := write(filepath.Join(at, "run"), script(s.args), 0o755); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Join(dir, "logs", s.name), 0o755); err != nil {
			return nil, err
		}
		if err := write(filepath.Join(at, "log", "run"), "#!/bin/sh\nexec svlogd "+filepath.Join(dir, "logs", s.name)+"\n", 0o755); err != nil {
			return nil, err
		}
	}
	return []string{"runsvdir", "-P", filepath.Join(dir, "sv")}, nil
}

// s6: each service with s6-log.
func s6(dir string, services []service) ([]string, error) {
	for _, s := range services {
		at := filepath.Join(dir, "sv", s.name)
		if err := write(filepath.Join(at, "run"), script(s.args), 0o755); err != nil {
			return nil, err
		}
		if err := write(filepath.Join(at, "log", "run"), "#!/bin/sh\nexec s6-log n10 s1000000 "+filepath.Join(dir, "logs", s.name)+"\n", 0o755); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Join(dir, "logs", s.name), 0o755); err != nil {
			return nil, err
		}
	}
	return []string{"s6-svscan", filepath.Join(dir, "sv")}, nil
}

func supervisord(dir string, services []service) ([]string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "[supervisord]\nnodaemon=true\nuser=root\nlogfile=%s/supervisord.log\npidfile=%s/pid\n", dir, dir)
	for _, s := range services {
		fmt.Fprintf(&b, "[program:%s]\ncommand=%s\nautorestart=true\nstdout_logfile=%s/%s.log\nredirect_stderr=true\n", s.name, strings.Join(s.args, " "), dir, s.name)
	}
	file := filepath.Join(dir, "supervisord.conf")
	return []string{"supervisord", "-n", "-c", file}, write(file, b.String(), 0o644)
}

func processCompose(dir string, services []service) ([]string, error) {
	var b strings.Builder
	b.WriteString("version: \"0.5\"\nprocesses:\n")
	for _, s := range services {
		fmt.Fprintf(&b, "  %s:\n    entrypoint: [", s.name)
		for i, a := range s.args {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%q", a)
		}
		fmt.Fprintf(&b, "]\n    log_location: %s/%s.log\n    availability:\n      restart: always\n      backoff_seconds: 1\n", dir, s.name)
	}
	file := filepath.Join(dir, "process-compose.yaml")
	return []string{"process-compose", "-f", file, "--tui=false", "--no-server", "up"}, write(file, b.String(), 0o644)
}

// forget removes the control groups of a stack that was killed; one that ends does so itself.
func (r *running) forget() {
	if r == nil {
		return
	}
	sum := sha256.Sum256([]byte(filepath.Join(r.dir, "run")))
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || d.Name() != "sentinel-"+hex.EncodeToString(sum[:6]) {
			return nil
		}
		below, _ := filepath.Glob(filepath.Join(path, "*/"))
		for _, dir := range append(below, path) {
			_ = os.Remove(dir)
		}
		return fs.SkipDir
	})
}

// ask has a supervisor end and waits; false when it had to be killed.
func (r *running) ask(patience time.Duration) bool {
	if r == nil {
		return false
	}
	_ = r.cmd.Process.Signal(r.end)
	select {
	case <-r.done:
		return true
	case <-time.After(patience):
		_ = r.cmd.Process.Kill()
		<-r.done
		return false
	}
}
