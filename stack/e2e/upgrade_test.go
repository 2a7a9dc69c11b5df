package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// upgrades is how often the supervisor replaces its program under load; the reliability suite sets 50.
func upgrades() int { return kills() }

// TestUpgradeUnderLoad replaces the supervisor's program again and again under 500 requests a second.
func TestUpgradeUnderLoad(t *testing.T) {
	s := newStack(t, guarded)
	s.up()
	before := s.status()
	l := s.load(500)
	var pauses []time.Duration
	for i := range upgrades() {
		s.must(0, "upgrade")
		st := s.status()
		if st.Upgrade == nil || !st.Upgrade.OK || st.Upgrade.ID != uint64(i+1) {
			t.Fatalf("upgrade: %+v", st.Upgrade)
		}
		pauses = append(pauses, time.Duration(st.Upgrade.PauseMillis)*time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	l.stop(nil)
	after := s.status()
	if after.PID != before.PID || !after.Started.Equal(before.Started) || after.Generation != before.Generation {
		t.Errorf("the supervisor was pid %d since %v, is %d since %v", before.PID, before.Started, after.PID, after.Started)
	}
	for i, v := range after.Services {
		was := before.Services[i]
		if v.PID != was.PID || v.Restarts != was.Restarts || v.State != "ready" || !v.Started.Equal(was.Started) || !v.Since.Equal(was.Since) {
			t.Errorf("before %+v\nafter %+v", was, v)
		}
	}
	slowest := time.Duration(0)
	for _, p := range pauses {
		slowest = max(slowest, p)
	}
	t.Logf("%d upgrades: pids unchanged, longest pause %v", upgrades(), slowest)

	// Everything still works: the processes are children that are restarted, the sockets are held, commands are obeyed.
	killing(t, after.Services[0].PID)
	eventually(t, "the killed service is back", func() bool {
		v := s.service(after.Services[0].Name)
		return v.State == "ready" && v.PID != after.Services[0].PID && v.Restarts == after.Services[0].Restarts+1 && v.LastExit == "signal KILL"
	})
	s.must(0, "restart", "proxy")
	if code, _, err := s.get("/"); code != 200 || err != nil {
		t.Errorf("%d %v", code, err)
	}
	events := s.must(0, "events")
	if n := strings.Count(events, " upgrade "); n != upgrades() || !strings.Contains(events, "state proxy starting -> ready") {
		t.Errorf("events tell of %d upgrades:\n%s", n, events)
	}
}

// copyOf makes another file of a program.
func copyOf(t *testing.T, program, to string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(bin, program))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(to, program+"-copy")
	if err := os.WriteFile(path, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUpgradeRefused offers programs that cannot take over: the old one stays in charge and nothing else changes.
func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	before := s.status()
	script := func(text string) string {
		path := filepath.Join(s.dir, fmt.Sprintf("program%d", time.Now().UnixNano()))
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := copyOf(t, "sentinel-stack", s.dir)
	for what, program := range map[string]string{
		"missing":       filepath.Join(s.dir, "nothing"),
		"no program":    s.file,
		"another":       "/bin/true",
		"a proxy":       filepath.Join(bin, "sentinel"),
		"crashing":      script("exit 3"),
		"other format":  script(`echo '{"format":99,"version":"x"}'`),
		"talking":       script("echo hello"),
		"dies on start": script(`[ "$1" = upgrade-check ] && exec ` + good + ` "$@"; exec /nonexistent/program`),
	} {
		if what == "dies on start" {
			continue // see TestUpgradeGivesBack
		}
		if code, out := s.run("upgrade", "--binary", program); code != 1 || !strings.Contains(out, "not upgraded, nothing changed") {
			t.Errorf("%s: exit %d %s", what, code, out)
		}
	}
	after := s.status()
	if after.PID != before.PID || after.Upgrade == nil || after.Upgrade.OK || after.Upgrade.Error == "" {
		t.Errorf("after: pid %d, was %d: %+v", after.PID, before.PID, after.Upgrade)
	}
	for i, v := range after.Services {
		if v.PID != before.Services[i].PID {
			t.Errorf("%s has another pid", v.Name)
		}
	}
	// The innocent twin: another file, the same program.
	s.must(0, "upgrade", "--binary", good)
	if st := s.status(); st.PID != before.PID || !st.Upgrade.OK {
		t.Errorf("%+v", st.Upgrade)
	}
	_ = api.Status{}
}
