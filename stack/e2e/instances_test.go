package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// several is guarded with instances of both agents.
func several(echo, denylist int) string {
	text := strings.Replace(guarded, `agent "echo" type="echo" {`, fmt.Sprintf(`agent "echo" type="echo" { instances %d;`, echo), 1)
	return strings.Replace(text, `agent "denylist" type="denylist" {`, fmt.Sprintf("agent \"denylist\" type=\"denylist\" {\n        instances %d", denylist), 1)
}

func (s *stack) pids(names ...string) map[string]int {
	out := map[string]int{}
	for _, name := range names {
		v := s.service(name)
		if v.State != "ready" {
			s.t.Errorf("%s is %s: %s", name, v.State, v.Reason)
		}
		out[name] = v.PID
	}
	return out
}

// changed says which of the services are other processes than before.
func (s *stack) changed(before map[string]int) map[string]bool {
	out := map[string]bool{}
	for name, pid := range before {
		if s.service(name).PID != pid {
			out[name] = true
		}
	}
	return out
}

// TestInstancesUnderLoad: instances are killed, replaced, tried, and become more and fewer, and no request is lost.
func TestInstancesUnderLoad(t *testing.T) {
	s := newStack(t, several(2, 3))
	s.up()
	l := s.load(300)
	all := []string{"echo/1", "echo/2", "denylist/1", "denylist/2", "denylist/3"}
	before := s.pids(all...)
	for _, name := range all {
		killing(t, before[name])
		eventually(t, name+" is ready again", func() bool { v := s.service(name); return v.State == "ready" && v.PID != before[name] })
	}

	before = s.pids(all...)
	if out := s.must(0, "inspect", "sandbox", "denylist"); !strings.Contains(out, "denylist/1, pid") || !strings.Contains(out, "denylist/2, pid") {
		t.Error(out)
	}
	s.must(0, "restart", "denylist/2")
	if c := s.changed(before); len(c) != 1 || !c["denylist/2"] {
		t.Errorf("restart denylist/2 replaced %v", c)
	}
	before = s.pids(all...)
	s.must(0, "restart", "denylist")
	if c := s.changed(before); len(c) != 3 || c["echo/1"] || c["echo/2"] {
		t.Errorf("restart denylist replaced %v", c)
	}
	before = s.pids(all...)
	s.must(0, "restart", "--canary", "500ms", "echo/2")
	if c := s.changed(before); len(c) != 1 || !c["echo/2"] {
		t.Errorf("the canary of echo/2 replaced %v", c)
	}
	before = s.pids(all...)
	s.must(0, "upgrade")
	if c := s.changed(before); len(c) != 0 {
		t.Errorf("the upgrade replaced %v", c)
	}

	s.write(several(4, 2)) // two more, and one fewer
	s.must(0, "reload")
	now := s.pids("echo/1", "echo/2", "echo/3", "echo/4", "denylist/1", "denylist/2")
	for _, name := range []string{"echo/1", "echo/2", "denylist/1", "denylist/2"} {
		if now[name] != before[name] {
			t.Errorf("%s was replaced", name)
		}
	}
	eventually(t, "denylist/3 has gone", func() bool { code, _ := s.run("kill", "denylist/3", "--signal", "USR1"); return code == 1 })
	s.write(several(1, 1)) // one process again, under the agent's own name
	s.must(0, "reload")
	s.pids("echo", "denylist")
	time.Sleep(1500 * time.Millisecond) // what is asked no more ends a moment after the reload
	l.stop(nil)
}

// TestInstancesAreShown: status, logs, events and metrics know each instance, and the agent's name means all of them.
func TestInstancesAreShown(t *testing.T) {
	t.Parallel()
	s := newStack(t, several(2, 1))
	s.up()
	for range 20 {
		if code, _, err := s.get("/"); code != 200 || err != nil {
			t.Fatal(code, err)
		}
	}
	if out := s.must(0, "status"); !strings.Contains(out, "echo/1") || !strings.Contains(out, "echo/2") || strings.Contains(out, "denylist/") {
		t.Errorf("status\n%s", out)
	}
	m := s.metrics()
	for _, want := range []string{`sentinel_agent_instance_connected{service="proxy",agent="echo",instance="1"} 1`, `sentinel_agent_instance_connected{service="proxy",agent="echo",instance="2"} 1`,
		`sentinel_agent_instance_calls_total{service="proxy",agent="echo",instance="1"} 10`, `sentinel_agent_instance_calls_total{service="proxy",agent="echo",instance="2"} 10`} {
		if !strings.Contains(m, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	s.must(0, "stop", "echo")
	for _, name := range []string{"echo/1", "echo/2"} {
		if v := s.service(name); v.State != "stopped" {
			t.Errorf("%s is %s", name, v.State)
		}
	}
	if code, _, _ := s.get("/"); code == 200 {
		t.Error("a request passed without its agent")
	}
	s.must(0, "start", "echo/2")
	eventually(t, "one instance is enough", func() bool { code, _, err := s.get("/"); return code == 200 && err == nil })
	s.must(0, "start", "echo")
	s.pids("echo/1", "echo/2")
	seen := map[string]bool{}
	for _, e := range s.eventsOf() {
		seen[e.Service] = true
	}
	if !seen["echo/1"] || !seen["echo/2"] || seen["echo"] {
		t.Errorf("events of %v", seen)
	}
	if out := s.must(0, "logs", "echo"); !strings.Contains(out, "echo/1") || !strings.Contains(out, "echo/2") {
		t.Errorf("logs of both\n%s", out)
	}
	if out := s.must(0, "logs", "echo/1"); !strings.Contains(out, "echo/1") || strings.Contains(out, "echo/2") {
		t.Errorf("logs of one\n%s", out)
	}
	if code, out := s.run("restart", "echo/3"); code != 1 || !strings.Contains(out, "no service is called") {
		t.Errorf("%d %s", code, out)
	}
}

// TestInstancesAreAdopted: they serve on without a supervisor, and the next one takes each over.
func TestInstancesAreAdopted(t *testing.T) {
	s := newStack(t, strings.Replace(several(2, 2), "stack {", `stack { on-supervisor-death "keep";`, 1))
	s.up()
	before := s.pids("echo/1", "echo/2", "denylist/1", "denylist/2", "proxy")
	killing(t, s.status().PID)
	if code, body, err := s.get("/secret"); code != 403 || err != nil {
		t.Errorf("without a supervisor: %d %q %v", code, body, err)
	}
	s.up()
	for name, pid := range before {
		if v := s.service(name); v.PID != pid || v.State != "ready" || !v.Adopted {
			t.Errorf("%+v, before pid %d", v, pid)
		}
	}
	s.must(0, "restart", "echo")
	if c := s.changed(before); len(c) != 2 || !c["echo/1"] || !c["echo/2"] {
		t.Errorf("restart echo replaced %v", c)
	}
}
