package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

const secondRoute = `
    route "live" { priority "high"; matches { path "/live" }; builtin-handler "health" }
`

func withRoute(config string) string {
	return strings.Replace(config, "routes {", "routes {"+secondRoute, 1)
}

func TestEditIsLiveWithinHalfASecond(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	l := s.load(200)
	before := s.service("proxy").PID
	if _, body, _ := s.get("/live"); strings.Contains(body, "healthy") {
		t.Fatalf("the route exists already: %s", body)
	}
	s.write(withRoute(guarded))
	took := eventually(t, "the new route is live", func() bool { _, body, err := s.get("/live"); return err == nil && strings.Contains(body, "healthy") })
	t.Logf("edit to live: %v", took)
	if timed() && took > 500*time.Millisecond {
		t.Errorf("took %v", took)
	}
	eventually(t, "the reload is recorded", func() bool { r := s.status().LastReload; return r != nil && r.OK && r.Changed })
	if after := s.service("proxy").PID; after != before {
		t.Error("the proxy was restarted for a route")
	}
	l.stop(nil)
}

func TestBrokenEditChangesNothing(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	l := s.load(200)
	before := s.status()
	s.write(strings.Replace(withRoute(guarded), `type="denylist"`, `tipe="denylist"`, 1))
	eventually(t, "the reload is refused", func() bool { r := s.status().LastReload; return r != nil && !r.OK })
	st := s.status()
	if !regexp.MustCompile(`sentinel\.kdl:\d+:\d+`).MatchString(st.LastReload.Error) {
		t.Errorf("the reason names no place: %s", st.LastReload.Error)
	}
	if st.Generation != before.Generation {
		t.Errorf("generation %d", st.Generation)
	}
	s.must(3, "reload")
	s.must(3, "diff")
	victim := s.service("proxy").PID
	killed := killing(t, victim) // a broken file must not reach a restarted proxy
	eventually(t, "the proxy is back", func() bool { v := s.service("proxy"); return v.State == "ready" && v.Restarts > 0 })
	if code, _, err := s.get("/"); code != 200 {
		t.Errorf("%d %v", code, err)
	}
	if out := s.must(0, "events"); !strings.Contains(out, "reload refused") {
		t.Errorf("events: %s", out)
	}
	s.write(withRoute(guarded))
	eventually(t, "the repaired file is applied", func() bool { r := s.status().LastReload; return r != nil && r.OK && r.Changed })
	l.stop([]moment{killed})
}

func TestAgentsComeAndGoAndListenersMove(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain+"stack { watch #false }")
	s.up()
	l := s.load(200)
	s.write(guarded)
	if out := s.must(2, "diff"); !strings.Contains(out, "+ agent denylist (start)") || !strings.Contains(out, "~ route status") {
		t.Errorf("diff says\n%s", out)
	}
	s.must(0, "reload")
	if code, _, _ := s.get("/secret"); code != 403 {
		t.Errorf("the agent does not work: %d", code)
	}
	s.must(0, "diff")
	s.write(plain + "stack { watch #false }") // there and back at once: the agents that retire are started afresh
	s.must(0, "reload")
	s.write(guarded)
	s.must(0, "reload")
	if code, _, _ := s.get("/secret"); code != 403 {
		t.Errorf("the agent does not work after leaving and coming back: %d", code)
	}

	extra := proxytest.Port(t)
	s.write(strings.Replace(guarded, "listeners {", fmt.Sprintf("listeners {\nlistener \"more\" { address \"127.0.0.1:%d\" }\n", extra), 1))
	s.must(0, "reload")
	was := s.port
	s.port = extra
	if code, _, err := s.get("/"); code != 200 {
		t.Errorf("the new listener: %d %v", code, err)
	}
	s.port = was
	s.write(plain)
	s.must(0, "reload")
	eventually(t, "the agents and their sockets are gone", func() bool { v := s.status(); return len(v.Services) == 1 && len(v.Listeners) == 2 })
	if code, _, _ := s.get("/secret"); code != 200 {
		t.Errorf("the agent still works: %d", code)
	}
	l.stop(nil)
}

func TestFailedReloadRollsBack(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded+"\n")
	s.up()
	l := s.load(200)
	before := s.status()
	s.write(guarded + `
agents { agent "late" type="echo" { command "/bin/sleep" "1000"; ready { timeout-secs 1 } } }
`)
	eventually(t, "the reload is refused", func() bool { r := s.status().LastReload; return r != nil && !r.OK })
	after := s.status()
	if after.Generation != before.Generation || len(after.Services) != len(before.Services) || len(after.Listeners) != len(before.Listeners) {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	if !strings.Contains(after.LastReload.Error, "late") {
		t.Errorf("reason %q", after.LastReload.Error)
	}
	for i, v := range after.Services {
		if v.PID != before.Services[i].PID {
			t.Errorf("%s was restarted", v.Name)
		}
	}
	l.stop(nil)
}
