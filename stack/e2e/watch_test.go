package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// TestStatusWatch: one line for each reading, until it is interrupted, which is a good end, or until the stack is gone, which is not.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain)
	s.up()
	watch := func() (*exec.Cmd, *bufio.Scanner) {
		t.Helper()
		cmd := s.command("status", "--watch", "--json", "--interval", "100ms")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for range 3 {
			var v api.Status
			if !lines.Scan() {
				t.Fatal("the watch ended")
			}
			if err := json.Unmarshal(lines.Bytes(), &v); err != nil || v.PID != s.status().PID {
				t.Errorf("%s: %v", lines.Text(), err)
			}
		}
		return cmd, lines
	}
	ended := func(cmd *exec.Cmd, lines *bufio.Scanner) int {
		for lines.Scan() {
		}
		cmd.Wait()
		return cmd.ProcessState.ExitCode()
	}
	s.must(2, "status", "--watch", "--interval", "1ms")
	cmd, lines := watch()
	cmd.Process.Signal(syscall.SIGINT)
	if code := ended(cmd, lines); code != 0 {
		t.Errorf("interrupted: exit %d", code)
	}
	cmd, lines = watch()
	s.must(0, "down")
	if code := ended(cmd, lines); code != 5 {
		t.Errorf("the stack ended: exit %d", code)
	}
}

// TestUpWithDashboard: up --tui shows the dashboard of a stack that lives on when it is left, and needs a terminal.
func TestUpWithDashboard(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain)
	if out := s.must(2, "up", "--tui"); !strings.Contains(out, "needs a terminal") {
		t.Error(out)
	}
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("no tmux")
	}
	socket := filepath.Join(s.dir, "tmux")
	tmux := func(args ...string) string {
		cmd := exec.Command("tmux", append([]string{"-u", "-S", socket, "-f", "/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), "TERM=xterm-256color", "CI=", "TMPDIR="+s.dir, "E2E_STACK="+s.dir)
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	t.Cleanup(func() { tmux("kill-server") })
	shell := fmt.Sprintf("'%s'; echo end $?; read x", strings.Join(s.command("up", "--tui").Args, "' '"))
	if out := tmux("new-session", "-d", "-x", "140", "-y", "40", "/bin/sh", "-c", shell); out != "" {
		t.Fatal(out)
	}
	screen := func() string { return tmux("capture-pane", "-p") }
	eventually(t, "the dashboard shows the proxy", func() bool { return strings.Contains(screen(), "proxy") && s.running() })
	pid := s.status().PID
	eventually(t, "it is left", func() bool {
		tmux("send-keys", "q")
		return strings.Contains(screen(), "end 0")
	})
	if !strings.Contains(screen(), "the stack runs on") {
		t.Errorf("no word at the end:\n%s", screen())
	}
	if s.status().PID != pid || s.service("proxy").State != "ready" {
		t.Error("the stack was touched")
	}
}

func (s *stack) running() bool { code, _ := s.run("status"); return code == 0 }
