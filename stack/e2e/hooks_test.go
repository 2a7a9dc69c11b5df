package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const hooked = `
listeners { listener "http" { address "127.0.0.1:PORT" } }
routes { route "app" { builtin-handler "status" } }
stack {
    service "victim" { command "/bin/sleep" "600" }
    hook "note" { on "crashed"; service "victim"; exec "DIR/note" "an argument; $(not a shell's)" }
    hook "hang" { on "crashed"; service "victim"; exec "DIR/hang"; timeout-secs 1 }
    hook "flood" { on "crashed"; service "victim"; exec "DIR/flood" }
    webhook "post" { on "crashed"; url "WEB" }
}
`

// script writes a program.
func (s *stack) script(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte("#!/bin/sh\n"+strings.ReplaceAll(text, "DIR", s.dir)), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// hookRuns counts the runs of a hook with an outcome.
func (s *stack) hookRuns(key, outcome string) int {
	_, after, ok := strings.Cut(s.metrics(), fmt.Sprintf("sentinel_stack_hook_runs_total{hook=%q,outcome=%q} ", key, outcome))
	if !ok {
		return -1
	}
	n, _ := strconv.Atoi(strings.Fields(after)[0])
	return n
}

func newHooked(t *testing.T) (*stack, chan string) {
	posts := make(chan string, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posts <- string(body)
	}))
	t.Cleanup(srv.Close)
	s := newStack(t, strings.ReplaceAll(hooked, "WEB", srv.URL))
	s.script("note", "cat > DIR/event.$$; env > DIR/env; echo \"$1\" > DIR/argument; mv DIR/event.$$ DIR/note.$$; echo noted\n")
	s.script("hang", "trap '' TERM\nsleep 600 & echo $! >> DIR/pids\nsetsid sleep 600 & echo $! >> DIR/pids\necho $$ >> DIR/pids\nwhile :; do sleep 1; done\n")
	s.script("flood", "head -c 3000000 /dev/zero | tr '\\0' x | fold -w 100\n")
	return s, posts
}

func (s *stack) notes() []string {
	found, _ := filepath.Glob(filepath.Join(s.dir, "note.*"))
	return found
}

// TestHooks: a program that works, one that hangs and one that floods, and a server, are told of a crash; also by the supervisor's next program.
func TestHooks(t *testing.T) {
	t.Parallel()
	s, posts := newHooked(t)
	s.up()
	kill(s.service("victim").PID)
	eventually(t, "the program has run", func() bool { return len(s.notes()) == 1 })
	text, _ := os.ReadFile(s.notes()[0])
	if m := decode[map[string]any](t, string(text)); m["event"] != "crashed" || m["service"] != "victim" || m["hook"] != "note" || m["reason"] != "signal KILL" {
		t.Errorf("it was told %s", text)
	}
	env, _ := os.ReadFile(filepath.Join(s.dir, "env"))
	if !strings.Contains(string(env), "SENTINEL_EVENT=crashed\n") || !strings.Contains(string(env), "SENTINEL_SERVICE=victim\n") || strings.Contains(string(env), "E2E_STACK") {
		t.Errorf("its environment: %s", env)
	}
	if arg, _ := os.ReadFile(filepath.Join(s.dir, "argument")); string(arg) != "an argument; $(not a shell's)\n" {
		t.Errorf("its argument: %s", arg)
	}
	if m := decode[map[string]any](t, <-posts); m["event"] != "crashed" || m["hook"] != "post" {
		t.Errorf("the server was told %v", m)
	}
	eventually(t, "the hanging one is ended", func() bool { return s.hookRuns("hook:hang", "failed") == 1 })
	pids, _ := os.ReadFile(filepath.Join(s.dir, "pids"))
	if len(strings.Fields(string(pids))) != 3 {
		t.Fatalf("pids: %s", pids)
	}
	for _, f := range strings.Fields(string(pids)) {
		pid, _ := strconv.Atoi(f)
		eventually(t, "nothing is left of it", func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
	}
	eventually(t, "the flooding one has run", func() bool { return s.hookRuns("hook:flood", "done") == 1 })
	eventually(t, "the flood is cut", func() bool {
		_, out := s.run("logs", "-n", "3", "hook:flood")
		return strings.Contains(out, "more bytes of output were thrown away")
	})
	eventually(t, "output is logged", func() bool { _, out := s.run("logs", "hook:note"); return strings.Contains(out, "noted") })
	if out := s.must(0, "status"); !strings.Contains(out, "HOOK") || !strings.Contains(out, "hook:hang") || !strings.Contains(out, "did not end within 1s") {
		t.Errorf("the status does not tell of the hooks:\n%s", out)
	}
	failures := 0
	for _, e := range s.eventsOf() {
		if e.Kind == "hook" && e.From == "hook:hang" && strings.Contains(e.Reason, "did not end within 1s") {
			failures++
		}
	}
	if n := s.hookRuns("hook:hang", "failed"); failures != 1 || n != 1 {
		t.Errorf("failures as events %d, as counts %d: a hook's own events trigger hooks", failures, n)
	}

	kill(s.service("victim").PID) // while hooks are at work
	s.must(0, "upgrade")
	kill(s.service("victim").PID)
	eventually(t, "the next program knows the hooks", func() bool { return len(s.notes()) >= 2 && s.hookRuns("hook:note", "done") >= 1 })
}

// TestHookThatIsMissing: it is an error with its place, a reload is refused, and an upgrade goes on without the program.
func TestHookThatIsMissing(t *testing.T) {
	t.Parallel()
	s, _ := newHooked(t)
	s.must(0, "validate")
	s.up()
	os.Remove(filepath.Join(s.dir, "note"))
	if out := s.must(3, "validate"); !strings.Contains(out, "sentinel.kdl:6:") || !strings.Contains(out, "hook note: cannot find the program "+s.dir+"/note") {
		t.Errorf("validate: %s", out)
	}
	if code, out := s.run("reload"); code == 0 || !strings.Contains(out, "cannot find the program") {
		t.Errorf("reload: %d %s", code, out)
	}
	s.must(0, "upgrade")
	os.WriteFile(filepath.Join(s.dir, "note"), []byte("#!/bin/sh\n"), 0o777)
	os.Chmod(filepath.Join(s.dir, "note"), 0o777)
	if out := s.must(3, "validate"); !strings.Contains(out, "everybody can change") {
		t.Errorf("validate: %s", out)
	}
}

// TestHooksBurst: far more events than a hook can be told of hurt nobody and end nowhere.
func TestHooksBurst(t *testing.T) {
	t.Parallel()
	s := newStack(t, `
listeners { listener "http" { address "127.0.0.1:PORT" } }
routes { route "app" { builtin-handler "status" } }
stack {
    service "loop" { command "/bin/false"; restart { base-delay-ms 0; max-delay-secs 0; quarantine-after 0 } }
    hook "slow" { on "crashed" "starting" "ready" "backoff"; exec "DIR/slow"; timeout-secs 600 }
}
`)
	s.script("slow", "echo $$ > DIR/pid; exec sleep 600\n")
	s.run("up", "-d")
	eventually(t, "events are dropped", func() bool {
		_, after, ok := strings.Cut(s.metrics(), `sentinel_stack_hook_dropped_total{hook="hook:slow"} `)
		n, _ := strconv.ParseFloat(strings.Fields(after + " 0")[0], 64)
		return ok && n > 1000
	})
	text := s.metrics()
	if !strings.Contains(text, `sentinel_stack_hook_queued{hook="hook:slow"} 64`) || !strings.Contains(text, `sentinel_stack_hook_running{hook="hook:slow"} 1`) {
		t.Error("the queue has no bound")
	}
	if code, _, err := s.get("/"); err != nil || code != 200 {
		t.Errorf("the proxy answers %d, %v", code, err)
	}
	began := time.Now()
	s.must(0, "down")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the end took %v", took)
	}
	raw, _ := os.ReadFile(filepath.Join(s.dir, "pid"))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(raw))); err != nil || unix.Kill(pid, 0) != unix.ESRCH {
		t.Errorf("the hook survives: %s", raw)
	}
}
