package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// keeping is guarded with services that survive the supervisor.
var keeping = strings.Replace(guarded, "stack {", `stack { on-supervisor-death "keep";`, 1)

// supervisorDeaths is how often the supervisor is killed.
func supervisorDeaths() int { return max(3, kills()/5) }

// pids are those of all services, by name.
func pids(services []api.Service) map[string]int {
	m := map[string]int{}
	for _, s := range services {
		m[s.Name] = s.PID
	}
	return m
}

// TestSupervisorDeathKeep kills the supervisor under load; the services serve on and the next supervisor adopts them.
func TestSupervisorDeathKeep(t *testing.T) {
	s := newStack(t, keeping)
	s.up()
	before := s.status()
	l := s.load(500)
	var took []time.Duration
	for range supervisorDeaths() {
		killing(t, s.status().PID)
		time.Sleep(300 * time.Millisecond) // requests while nobody supervises
		if code, body, err := s.get("/secret"); code != 403 || err != nil {
			t.Errorf("without a supervisor: %d %q %v", code, body, err)
		}
		began := time.Now()
		s.up()
		took = append(took, time.Since(began))
		after := s.status()
		if after.PID == before.PID || after.Generation != before.Generation {
			t.Errorf("pid %d, generation %d", after.PID, after.Generation)
		}
		for i, v := range after.Services {
			if was := before.Services[i]; v.PID != was.PID || v.State != "ready" || !v.Adopted || v.Restarts != was.Restarts || !v.Started.Equal(was.Started) {
				t.Errorf("before %+v\nafter %+v", was, v)
			}
		}
	}
	l.stop(nil)
	slowest := time.Duration(0)
	for _, d := range took {
		slowest = max(slowest, d)
	}
	t.Logf("%d supervisors killed: pids unchanged, adopted within %v of starting the next one, at worst", len(took), slowest)
	if out := s.must(0, "events"); !strings.Contains(out, "adopt proxy adopted") {
		t.Errorf("events:\n%s", out)
	}
	if out := s.must(0, "status"); !strings.Contains(out, "adopted") {
		t.Errorf("status:\n%s", out)
	}

	// What is adopted is supervised like anything else: watched, restarted, replaced, upgraded around, stopped.
	agent := s.service("denylist")
	killing(t, agent.PID)
	eventually(t, "the adopted agent is started again", func() bool {
		v := s.service("denylist")
		return v.State == "ready" && v.PID != agent.PID && !v.Adopted && strings.Contains(v.LastExit, "exit status unknown")
	})
	s.must(0, "restart", "echo")
	if code, _, err := s.get("/"); code != 200 || err != nil {
		t.Errorf("%d %v", code, err)
	}
	proxy := s.service("proxy")
	s.must(0, "upgrade")
	if v := s.service("proxy"); v.PID != proxy.PID || !v.Adopted {
		t.Errorf("after an upgrade: %+v", v)
	}
	s.must(0, "restart", "proxy")
	if v := s.service("proxy"); v.PID == proxy.PID || v.Adopted {
		t.Errorf("after a restart: %+v", v)
	}
	s.must(0, "down")
	for _, name := range []string{"state.json", "output"} {
		if _, err := os.Stat(filepath.Join(s.runtime(), name)); err == nil {
			t.Errorf("%s is left after down", name)
		}
	}
}

// TestSupervisorDeathKill kills the supervisor in the default mode: nothing it started survives, and nobody else's processes are touched.
func TestSupervisorDeathKill(t *testing.T) {
	t.Parallel()
	s, other := newStack(t, guarded), newStack(t, guarded)
	s.up()
	other.up()
	theirs := pids(other.status().Services)
	victim := s.status().PID
	began := time.Now()
	kill(victim)
	gone := eventually(t, "all are gone", func() bool { return len(s.descendants()) == 0 })
	t.Logf("no descendant lives %v after the kill", gone)
	if timed() && time.Since(began) > 300*time.Millisecond {
		t.Errorf("too slow")
	}
	s.up()
	if got := pids(other.status().Services); fmt.Sprint(got) != fmt.Sprint(theirs) {
		t.Errorf("the other stack had %v, has %v", theirs, got)
	}
	if _, err := os.Stat(filepath.Join(s.runtime(), "state.json")); err == nil {
		t.Error("a state file where nothing is kept")
	}
}

// talker writes a line every few milliseconds and a lot at the beginning.
const talker = plain + `
stack {
    on-supervisor-death "keep"
    service "talker" {
        command "/bin/sh" "-c" "i=0; while :; do i=$((i+1)); echo line $i; [ $i -gt 20000 ] && sleep 0.01; done"
    }
}
`

// TestKeptOutput kills the supervisor of a service that writes: it is never blocked, and no line is lost but those that were being taken when the supervisor died.
func TestKeptOutput(t *testing.T) {
	t.Parallel()
	s := newStack(t, talker)
	s.up()
	pid := s.service("talker").PID
	last := func() (n int) {
		lines := strings.Split(strings.TrimSpace(s.must(0, "logs", "-n", "1", "talker")), "\n")
		fmt.Sscanf(lines[len(lines)-1][strings.LastIndex(lines[len(lines)-1], "line "):], "line %d", &n)
		return n
	}
	eventually(t, "it has written much", func() bool { return last() > 20000 })
	info, err := os.Stat(filepath.Join(s.runtime(), "output", "talker.1.stdout"))
	if err != nil {
		t.Fatal(err)
	}
	if room := info.Sys().(*syscall.Stat_t).Blocks * 512; room > 200<<10 {
		t.Errorf("the output takes %d bytes, %d were written", room, info.Size())
	}
	before := last()
	killing(t, s.status().PID)
	time.Sleep(300 * time.Millisecond)
	s.up()
	if v := s.service("talker"); v.PID != pid || !v.Adopted {
		t.Fatalf("%+v", v)
	}
	eventually(t, "its output goes on", func() bool { return last() > before+50 })
	next := 0
	for _, l := range strings.Split(strings.TrimSpace(s.must(0, "logs", "-n", "-1", "talker")), "\n") {
		n := 0
		fmt.Sscanf(l[strings.LastIndex(l, "line "):], "line %d", &n)
		if next != 0 && n != next {
			t.Fatalf("line %d after line %d", n, next-1)
		}
		if next == 0 && n > before+100 { // what the dying supervisor took after it was asked last
			t.Errorf("the first line is %d, %d was read before", n, before)
		}
		next = n + 1
	}
	s.must(0, "restart", "talker")
	if _, err := os.Stat(filepath.Join(s.runtime(), "output", "talker.1.stdout")); err == nil {
		t.Error("the output of the ended process is left")
	}
}

// TestAdoptNobodyElse forges what a supervisor left: processes that are not the ones noted are neither adopted nor killed.
func TestAdoptNobodyElse(t *testing.T) {
	t.Parallel()
	s := newStack(t, keeping)
	s.up()
	before := s.status()
	killing(t, before.PID)
	// The agent dies while nobody looks, and its number now is a stranger's, as far as the note tells.
	stranger := startStranger(t)
	path := filepath.Join(s.runtime(), "state.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	echo := 0
	for _, v := range before.Services {
		if v.Name == "echo" {
			echo = v.PID
		}
	}
	kill(echo)
	forged := strings.Replace(string(raw), fmt.Sprintf(`"pid":%d,`, echo), fmt.Sprintf(`"pid":%d,`, stranger.Process.Pid), 1)
	if forged == string(raw) {
		t.Fatalf("no pid %d in %s", echo, raw)
	}
	if err := os.WriteFile(path, []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	s.up()
	eventually(t, "echo runs anew", func() bool { v := s.service("echo"); return v.State == "ready" && !v.Adopted && v.PID != echo })
	for _, v := range before.Services {
		if now := s.service(v.Name); v.Name != "echo" && (now.PID != v.PID || !now.Adopted) {
			t.Errorf("%+v", now)
		}
	}
	if stranger.ProcessState != nil || syscall.Kill(stranger.Process.Pid, 0) != nil {
		t.Error("the stranger was killed")
	}
}

// TestAdoptNothing starts over what cannot be read: the services are killed, a new stack comes up and says why.
func TestAdoptNothing(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(raw string) string{
		"torn":         func(raw string) string { return raw[:len(raw)/2] },
		"newer format": func(raw string) string { return strings.Replace(raw, `"format":1`, `"format":99`, 1) },
		"no bundle":    func(raw string) string { return strings.Replace(raw, "/generations/", "/elsewhere/", 1) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, keeping)
			s.up()
			before := s.status()
			killing(t, before.PID)
			path := filepath.Join(s.runtime(), "state.json")
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(spoil(string(raw))), 0o600); err != nil {
				t.Fatal(err)
			}
			s.up()
			for i, v := range s.status().Services {
				if v.PID == before.Services[i].PID || v.Adopted || v.State != "ready" {
					t.Errorf("%+v", v)
				}
			}
			if out := s.must(0, "logs", "-n", "-1", "stack"); !strings.Contains(out, "could not be adopted") {
				t.Errorf("logs:\n%s", out)
			}
		})
	}
}

// TestAdoptThenReload edits the configuration while no supervisor runs: the services are adopted and then brought up to date, a broken edit changes nothing.
func TestAdoptThenReload(t *testing.T) {
	t.Parallel()
	s := newStack(t, keeping)
	s.up()
	before := s.status()
	killing(t, before.PID)
	s.write("listeners { broken")
	s.up()
	if now := s.status(); fmt.Sprint(pids(now.Services)) != fmt.Sprint(pids(before.Services)) {
		t.Errorf("%v were %v\n%s", pids(now.Services), pids(before.Services), s.must(0, "logs", "-n", "-1", "stack"))
	}
	eventually(t, "the broken edit is refused", func() bool { r := s.status().LastReload; return r != nil && !r.OK })
	killing(t, s.status().PID)
	s.write(strings.Replace(keeping, `"Not here.\n"`, `"Gone.\n"`, 1))
	s.up()
	eventually(t, "the edit is live", func() bool { _, body, _ := s.get("/secret"); return body == "Gone.\n" })
	if now := s.status(); fmt.Sprint(pids(now.Services)) != fmt.Sprint(pids(before.Services)) {
		t.Errorf("%+v", now.Services)
	}
}

// TestAdoptUnready adopts processes that had said that they are ready to a supervisor that died before it had noted so: they are asked again.
func TestAdoptUnready(t *testing.T) {
	t.Parallel()
	s := newStack(t, keeping)
	s.up()
	before := s.status()
	killing(t, before.PID)
	path := filepath.Join(s.runtime(), "state.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`"state":"ready"`, `"state":"starting"`, `"is_ready":true,`, "", `"ready":true,`, "", `"told":true,`, "").Replace(string(raw))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.up()
	for i, v := range s.status().Services {
		if v.PID != before.Services[i].PID || v.State != "ready" {
			t.Errorf("%+v", v)
		}
	}
}
