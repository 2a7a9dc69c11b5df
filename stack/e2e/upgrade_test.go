package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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
	s.must(0, "upgrade") // from here on descriptors are compared: the first one has the pipe of "up -d" to close
	before := s.status()
	fds := descriptorsOf(t, before.PID)
	l := s.load(500)
	var pauses []time.Duration
	for i := range upgrades() {
		s.must(0, "upgrade")
		st := s.status()
		if st.Upgrade == nil || !st.Upgrade.OK || st.Upgrade.ID != uint64(i+2) {
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

	eventually(t, fmt.Sprintf("as many descriptors as before, %d", fds), func() bool { return descriptorsOf(t, after.PID) <= fds })

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
	s.write(strings.Replace(guarded, `agent "echo" type="echo" {`, `agent "echo" type="echo" { env { ANOTHER "one" };`, 1)) // the program checks it: a command of its own
	if out := s.must(0, "reload"); !strings.Contains(out, "agent echo (replace)") && !strings.Contains(s.must(0, "events"), "agent replace") {
		t.Errorf("reload: %s", out)
	}
	events := s.must(0, "events")
	if n := strings.Count(events, " upgrade "); n != upgrades()+1 || !strings.Contains(events, "state proxy starting -> ready") {
		t.Errorf("events tell of %d upgrades:\n%s", n, events)
	}
}

// descriptorsOf counts the open files of a process.
func descriptorsOf(t *testing.T, pid int) int {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// TestUpgradeSignals sends signals all the time while the program is replaced: none kills the supervisor, and one that stops it stops it in order.
func TestUpgradeSignals(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	before := s.status()
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
				syscall.Kill(before.PID, syscall.SIGUSR1)
				syscall.Kill(before.PID, syscall.SIGHUP)
			}
		}
	}()
	for range 5 {
		s.must(0, "upgrade")
	}
	close(over)
	<-done
	after := s.status()
	for i, v := range after.Services {
		if v.PID != before.Services[i].PID {
			t.Errorf("%+v", v)
		}
	}
	inOrder := 0
	for i := range 12 {
		cmd := s.command("upgrade")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := s.status().PID
		time.Sleep(time.Duration(4+7*i) * time.Millisecond)
		syscall.Kill(pid, syscall.SIGTERM)
		cmd.Wait() // it may or may not have been in time
		eventually(t, "the stack has stopped", func() bool { return len(s.descendants()) == 0 })
		_, err := os.Stat(filepath.Join(s.runtime(), "control.sock"))
		if err != nil {
			inOrder++
		}
		s.up()
	}
	// For some milliseconds nobody can listen, and then everything ends at once; but it ends.
	t.Logf("SIGTERM in the middle of an upgrade: %d of 12 stops in order", inOrder)
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
		"missing":      filepath.Join(s.dir, "nothing"),
		"no program":   s.file,
		"another":      "/bin/true",
		"a proxy":      filepath.Join(bin, "sentinel"),
		"crashing":     script("exit 3"),
		"other format": script(`echo '{"format":99,"version":"x"}'`),
		"talking":      script("echo hello"),
	} {
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
}

// TestUpgradeGivesBack executes a program that passes the trial and then gives up: it hands back to the old one, whose file is gone by then.
func TestUpgradeGivesBack(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	real := filepath.Join(bin, "sentinel-stack")
	s.must(0, "up", "-d")
	s.must(0, "upgrade", "--binary", copyOf(t, "sentinel-stack", s.dir))
	if err := os.Remove(filepath.Join(s.dir, "sentinel-stack-copy")); err != nil {
		t.Fatal(err)
	}
	before := s.status()
	l := s.load(200)
	bad := filepath.Join(s.dir, "gives-up")
	text := "#!/bin/sh\n[ \"$1\" = upgrade-check ] && exec " + real + " \"$@\"\nexec " + real + " up --no-such-flag\n"
	if err := os.WriteFile(bad, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if code, out := s.run("upgrade", "--binary", bad); code != 1 || !strings.Contains(out, "no-such-flag") || !strings.Contains(out, "the old program went on") {
		t.Errorf("exit %d %s", code, out)
	}
	after := s.status()
	if after.PID != before.PID || !after.Started.Equal(before.Started) {
		t.Errorf("pid %d, was %d", after.PID, before.PID)
	}
	for i, v := range after.Services {
		if v.PID != before.Services[i].PID || v.State != "ready" {
			t.Errorf("%+v", v)
		}
	}
	s.must(0, "restart", "echo")
	s.must(0, "upgrade", "--binary", real)
	l.stop(nil)
}

// chatty counts on standard output as fast as it can.
const chatty = plain + `
stack {
    service "counter" {
        command "/bin/sh" "-c" "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); echo line $i; done; printf unfinished; sleep 600"
        restart { policy "never" }
    }
}
`

// TestUpgradeLosesNoLine upgrades while a service writes: each line is there once, whole and in order.
func TestUpgradeLosesNoLine(t *testing.T) {
	t.Parallel()
	s := newStack(t, chatty)
	logs := filepath.Join(s.dir, "logs")
	s.must(0, "up", "-d", "--log-dir", logs)
	for range 5 {
		s.must(0, "upgrade")
	}
	eventually(t, "the last line", func() bool { return strings.Contains(s.must(0, "logs", "-n", "5", "counter"), "line 60000\n") })
	// The file may lose lines when the disk is slow, and counts them; whatever else is missing was lost on the way.
	eventually(t, "every line is accounted for", func() bool {
		raw, err := os.ReadFile(filepath.Join(logs, "counter.jsonl"))
		last, written := 0, 0
		for line := range strings.Lines(string(raw)) {
			var l api.LogLine
			var n int
			if json.Unmarshal([]byte(line), &l) != nil {
				t.Fatalf("%q is no whole record", line)
			}
			if _, err := fmt.Sscanf(l.Text, "line %d", &n); err != nil || n <= last {
				t.Fatalf("%q after line %d", l.Text, last)
			}
			last, written = n, written+1
		}
		return err == nil && uint64(written)+s.service("counter").LogDropped == 60000
	})
	s.must(0, "upgrade") // with the beginning of a line in hand
	kill(s.service("counter").PID)
	eventually(t, "the rest of the line", func() bool { return strings.Contains(s.must(0, "logs", "-n", "-1", "counter"), "unfinished") })
}

// TestUpgradeInTheMiddle upgrades while services are in every state but ready.
func TestUpgradeInTheMiddle(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain+`
stack {
    service "failing" { command "/bin/sh" "-c" "exit 7"; restart { base-delay-ms 60000; max-delay-secs 120 } }
    service "slow" { command "/bin/sh" "-c" "trap '' TERM; while :; do sleep 0.1; done"; stop { timeout-secs 3 } }
    service "late" { command "/bin/sh" "-c" "sleep 600"; ready { notify #true; timeout-secs 4 } }
}
`)
	s.must(6, "up", "-d", "--timeout", "20s")
	before := s.service("failing")
	if before.State != "backoff" && before.State != "quarantined" {
		t.Fatalf("failing is %s", before.State)
	}
	late := s.service("late")
	stopped := make(chan time.Duration)
	go func() {
		began := time.Now()
		s.run("stop", "slow")
		stopped <- time.Since(began)
	}()
	eventually(t, "slow is being stopped", func() bool { return s.service("slow").State == "stopping" })
	s.must(0, "upgrade") // waits for the stop, which holds the changes
	if d := <-stopped; d < 2*time.Second {
		t.Errorf("the stop took %v", d)
	}
	after := s.service("failing")
	if after.State != before.State || !after.NextStart.Round(time.Second).Equal(before.NextStart.Round(time.Second)) && after.Restarts == before.Restarts {
		t.Errorf("failing: before %+v\nafter %+v", before, after)
	}
	if v := s.service("slow"); v.State != "stopped" {
		t.Errorf("slow is %s", v.State)
	}
	eventually(t, "late is given up as before", func() bool { return s.service("late").Restarts > late.Restarts })
}

// TestUpgradeFollowers follows logs and events across upgrades: nothing is missing and nothing comes twice.
func TestUpgradeFollowers(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain+`
stack { service "ticker" { command "/bin/sh" "-c" "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.02; done" } }
`)
	s.up()
	var logs, events bytes.Buffer
	var followers []*exec.Cmd
	for out, args := range map[*bytes.Buffer][]string{&logs: {"logs", "-f", "-n", "-1", "ticker"}, &events: {"events", "-f"}} {
		cmd := s.command(args...)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		followers = append(followers, cmd)
	}
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		s.must(0, "upgrade")
	}
	time.Sleep(200 * time.Millisecond)
	s.must(0, "down") // ends both
	for _, cmd := range followers {
		giveUp := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", cmd.Args, err)
		}
		giveUp.Stop()
	}
	for i, l := range strings.Split(strings.TrimSpace(logs.String()), "\n") {
		if !strings.HasSuffix(l, fmt.Sprintf("tick %d", i+1)) {
			t.Fatalf("line %d is %q", i+1, l)
		}
	}
	if n := strings.Count(logs.String(), "tick"); n < 20 {
		t.Errorf("only %d lines", n)
	}
	for text, want := range map[string]int{"upgrade dev -> applied": 3, "ticker starting -> ready": 1, "proxy starting -> ready": 1} {
		if n := strings.Count(events.String(), text); n != want {
			t.Errorf("%q is there %d times:\n%s", text, n, events.String())
		}
	}
}
