package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKill: a signal reaches the process, SIGKILL makes another one take its place, and what cannot be done is said.
func TestKill(t *testing.T) {
	t.Parallel()
	s := newStack(t, `
listeners { listener "http" { address "127.0.0.1:PORT" } }
routes { route "app" { builtin-handler "status" } }
stack { service "tool" { command "DIR/tool"; ready { exec "/usr/bin/test" "-e" "DIR/ready" } } }
`)
	s.script("tool", "trap 'echo usr1 >> DIR/got' USR1\necho > DIR/ready\nwhile :; do sleep 0.05; done\n")
	s.up()
	before := s.service("tool").PID
	s.must(0, "kill", "tool", "--signal", "SIGUSR1")
	eventually(t, "the signal has come", func() bool { got, _ := os.ReadFile(filepath.Join(s.dir, "got")); return string(got) == "usr1\n" })
	if now := s.service("tool").PID; now != before {
		t.Errorf("pid %d, before %d", now, before)
	}
	s.must(0, "kill", "tool")
	eventually(t, "another process", func() bool { v := s.service("tool"); return v.PID != 0 && v.PID != before && v.State == "ready" })
	if v := s.service("tool"); v.LastExit != "signal KILL" || v.Restarts != 1 {
		t.Errorf("%+v", v)
	}
	s.must(0, "stop", "tool")
	for want, args := range map[string][]string{
		"no process":           {"tool"},
		"unknown signal":       {"proxy", "-s", "NONSENSE"},
		"no service is called": {"nobody"},
	} {
		if code, out := s.run(append([]string{"kill"}, args...)...); code != 1 || !strings.Contains(out, want) {
			t.Errorf("kill %v: %d %s", args, code, out)
		}
	}
}
