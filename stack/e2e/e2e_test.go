// Package e2e tests the whole system with real programs: sentinel-stack, sentinel and the agents, built once.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/stack/api"
)

// bin holds the programs under test.
var bin string

func TestMain(m *testing.M) {
	switch args := strings.Split(os.Getenv(childVar), ":"); {
	case args[0] == "pour":
		pour(args[1], args[2])
	case args[0] == "reuse":
		reuse(args[1], args[2])
	}
	dir, err := os.MkdirTemp("", "e2e-bin")
	if err != nil {
		panic(err)
	}
	for name, pkg := range map[string]string{
		"sentinel": "./proxy", "sentinel-stack": "./stack", "sentinel-echo": "./agents/echo", "sentinel-denylist": "./agents/denylist",
	} {
		args, cgo := []string{"build", "-o", filepath.Join(dir, name)}, "CGO_ENABLED=0" // as they are shipped
		if os.Getenv("E2E_RACE") != "" {
			args, cgo = append(args, "-race"), "CGO_ENABLED=1"
		}
		cmd := exec.Command("go", append(args, pkg)...)
		cmd.Env = append(os.Environ(), cgo)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot build %s: %v\n%s", pkg, err, out)
			os.RemoveAll(dir)
			os.Exit(1)
		}
	}
	bin = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// stack is one stack under test. Its directory's name is short, because paths of Unix sockets are.
type stack struct {
	t    *testing.T
	dir  string
	file string
	port int
}

func newStack(t *testing.T, config string) *stack {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{t: t, dir: dir, file: filepath.Join(dir, "sentinel.kdl"), port: proxytest.Port(t)}
	s.write(config)
	t.Cleanup(func() {
		if t.Failed() {
			_, out := s.run("logs", "-n", "60", "stack")
			t.Logf("logs:\n%s", out)
		}
		if code, out := s.run("down"); code != 0 && code != 5 {
			t.Errorf("down: %d %s", code, out)
		}
		if crash, _ := os.ReadFile(filepath.Join(s.runtime(), "stack.err")); len(crash) > 0 {
			t.Errorf("the supervisor wrote to its error file:\n%s", crash)
		}
		for end := time.Now().Add(3 * time.Second); len(s.descendants()) > 0 && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond) // down returns when the lock is free, which is a moment before the supervisor's last instruction
		}
		if left := s.descendants(); len(left) > 0 {
			t.Errorf("processes survive: %v", left)
		}
		if groups, _ := filepath.Glob("/sys/fs/cgroup/unified/sentinel-*/*"); t.Failed() && len(groups) > 0 {
			t.Logf("cgroups: %v", groups)
		}
		os.RemoveAll(dir)
	})
	return s
}

// write replaces the configuration; PORT stands for the listener's port and DIR for the test's directory.
func (s *stack) write(config string) {
	s.t.Helper()
	text := strings.NewReplacer("PORT", fmt.Sprint(s.port), "DIR", s.dir).Replace(config)
	tmp := s.file + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(tmp, s.file); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stack) runtime() string { return filepath.Join(s.dir, "run") }

func (s *stack) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, "sentinel-stack"), append([]string{"--config", s.file, "--runtime-dir", s.runtime()}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+s.dir, "E2E_STACK="+s.dir)
	cmd.Dir = s.dir
	return cmd
}

// run returns exit code and output of a subcommand.
func (s *stack) run(args ...string) (int, string) {
	cmd := s.command(args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func (s *stack) must(want int, args ...string) string {
	s.t.Helper()
	code, out := s.run(args...)
	if code != want {
		s.t.Fatalf("sentinel-stack %s: exit %d, want %d\n%s", strings.Join(args, " "), code, want, out)
	}
	return out
}

func (s *stack) up() {
	s.t.Helper()
	s.must(0, "up", "-d")
}

func (s *stack) status() api.Status {
	s.t.Helper()
	c := api.NewClient(filepath.Join(s.runtime(), "control.sock"))
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	st, err := c.Status(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return *st
}

func (s *stack) service(name string) api.Service {
	s.t.Helper()
	for _, v := range s.status().Services {
		if v.Name == name {
			return v
		}
	}
	s.t.Fatalf("no service %s", name)
	return api.Service{}
}

// get makes one request on a connection of its own.
func (s *stack) get(path string) (int, string, error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d%s", s.port, path))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// descendants lists the living processes that carry the stack's mark: the supervisor by its environment, services by their runtime directory, which is below the test's.
func (s *stack) descendants() []string {
	var found []string
	envs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range envs {
		env, _ := os.ReadFile(e)
		if bytes.Contains(env, []byte("E2E_STACK="+s.dir+"\x00")) || bytes.HasSuffix(env, []byte("E2E_STACK="+s.dir)) || bytes.Contains(env, []byte("SENTINEL_RUNTIME_DIR="+s.dir)) {
			stat, _ := os.ReadFile(filepath.Join(filepath.Dir(e), "stat"))
			if _, after, ok := strings.Cut(string(stat), ") "); ok && after[0] != 'Z' && after[0] != 'X' {
				cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(e), "cmdline"))
				found = append(found, filepath.Base(filepath.Dir(e))+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
			}
		}
	}
	return found
}

func eventually(t *testing.T, what string, cond func() bool) time.Duration {
	t.Helper()
	return within(t, 20*time.Second, what, cond)
}

// within waits until something is so, and tells how long that took.
func within(t *testing.T, patience time.Duration, what string, cond func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for time.Since(began) < patience {
		if cond() {
			return time.Since(began)
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
	return 0
}

func kill(pid int) { unix.Kill(pid, unix.SIGKILL) }

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// startStranger starts a process that is no stack's.
func startStranger(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}
