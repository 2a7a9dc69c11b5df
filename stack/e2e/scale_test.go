package e2e

import (
	"strings"
	"testing"
)

// TestScaleUnderLoad: an agent has more and fewer instances without a lost request; the number survives reloads and upgrades and ends with an edit.
func TestScaleUnderLoad(t *testing.T) {
	s := newStack(t, several(2, 1))
	s.up()
	l := s.load(300)
	before := s.pids("echo/1", "echo/2", "denylist")
	stay := func(when string) {
		t.Helper()
		if c := s.changed(before); len(c) != 0 {
			t.Errorf("%s replaced %v", when, c)
		}
	}
	if out := s.must(0, "scale", "echo", "4"); !strings.Contains(out, "echo/3") || !strings.Contains(out, "applied in") {
		t.Error(out)
	}
	stay("scale echo 4")
	s.pids("echo/3", "echo/4")
	if out := s.must(0, "status"); !strings.Contains(out, "agent echo is scaled to 4, the file says 2") {
		t.Error(out)
	}
	s.must(0, "scale", "denylist", "3") // from a process under its own name
	s.pids("denylist/1", "denylist/2", "denylist/3")

	before = s.pids("echo/1", "echo/2", "echo/3", "echo/4", "denylist/1")
	if out := s.must(0, "diff"); strings.Contains(out, "echo") || strings.Contains(out, "denylist") {
		t.Errorf("what was scaled is to be undone:\n%s", out)
	}
	s.write(strings.Replace(several(2, 1), "Not here.", "Gone.", 1))
	s.must(0, "reload")
	stay("a reload")
	s.must(0, "upgrade")
	stay("an upgrade")
	if list := s.status().Scaled; len(list) != 2 {
		t.Errorf("after reload and upgrade %+v are scaled", list)
	}
	if code, body, _ := s.get("/secret"); code != 403 || body != "Gone.\n" {
		t.Errorf("%d %q", code, body)
	}

	s.must(0, "scale", "echo", "1")
	s.pids("echo")
	s.must(0, "scale", "echo", "--reset")
	s.pids("echo/1", "echo/2")
	s.write(several(2, 2)) // the file has the last word
	s.must(0, "reload")
	s.pids("denylist/1", "denylist/2")
	if list := s.status().Scaled; len(list) != 0 {
		t.Errorf("after the edit %+v are scaled", list)
	}
	if out := s.must(0, "scale", "echo", "2"); !strings.Contains(out, "nothing to do") {
		t.Error(out)
	}
	kinds := map[string]bool{}
	for _, e := range s.eventsOf() {
		kinds[e.Kind+" "+e.Service] = true
	}
	if !kinds["scale echo"] || !kinds["scale denylist"] {
		t.Error("no event tells of it")
	}
	l.stop(nil)
}

// TestScaleThatFailsChangesNothing: an instance that does not become ready takes the others with it, and what cannot be scaled says why.
func TestScaleThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	picky := `agent "picky" { events "request_headers"; command "/bin/sh" "-c" "case $SENTINEL_SOCKET in *.4.sock) exit 3;; esac; exec ` + bin + `/sentinel-echo"; sandbox #false; ready { timeout-secs 5 } }
    agent "named" type="echo" { events "request_headers"; unix-socket "NAMED" }
    agent "echo"`
	text := strings.Replace(guarded, `agent "echo"`, picky, 1)
	text = strings.Replace(text, "stack {", `stack { hook "scaling" { on "scaled" "scale-refused"; exec "/bin/cat" };`, 1)
	s := newStack(t, text)
	s.write(strings.Replace(text, "NAMED", s.dir+"/named.sock", 1))
	s.up()
	s.must(0, "scale", "picky", "3")
	before := s.pids("picky/1", "picky/2", "picky/3", "echo")
	if out := s.must(1, "scale", "picky", "5"); !strings.Contains(out, "was not scaled, nothing changed") || !strings.Contains(out, "picky/4") {
		t.Error(out)
	}
	if c := s.changed(before); len(c) != 0 {
		t.Errorf("replaced %v", c)
	}
	eventually(t, "the hook is told of both", func() bool {
		_, out := s.run("logs", "hook:scaling")
		return strings.Contains(out, `"event":"scaled"`) && strings.Contains(out, `"event":"scale-refused"`) && strings.Contains(out, "picky")
	})
	for _, v := range s.status().Services {
		if v.Name == "picky/4" || v.Name == "picky/5" {
			t.Errorf("%s is still there, %s", v.Name, v.State)
		}
	}
	if list := s.status().Scaled; len(list) != 1 || list[0].Instances != 3 {
		t.Errorf("scaled: %+v", list)
	}
	for _, wrong := range []struct {
		code int
		args []string
		says string
	}{
		{1, []string{"nobody", "2"}, "no agent is called"},
		{1, []string{"proxy", "2"}, "no agent is called"},
		{1, []string{"named", "2"}, "unix-socket"},
		{2, []string{"echo", "0"}, "sentinel-stack stop echo"},
		{2, []string{"echo", "65"}, "1 to 64"},
		{2, []string{"echo", "many"}, "no number"},
		{2, []string{"echo"}, "accepts 2 arg"},
	} {
		if code, out := s.run(append([]string{"scale"}, wrong.args...)...); code != wrong.code || !strings.Contains(out, wrong.says) {
			t.Errorf("scale %v: %d %s", wrong.args, code, out)
		}
	}
}
