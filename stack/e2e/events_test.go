package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// eventsOf runs "events --json" with further arguments.
func (s *stack) eventsOf(args ...string) (list []api.Event) {
	s.t.Helper()
	for line := range strings.Lines(s.must(0, append([]string{"events", "--json"}, args...)...)) {
		var e api.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Fatalf("%v in %q", err, line)
		}
		list = append(list, e)
	}
	return list
}

// TestEventsAreNumberedAndChosen: numbers have no holes, also over an upgrade, and --since and --service show no others.
func TestEventsAreNumberedAndChosen(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	before := s.eventsOf()
	s.must(0, "upgrade")
	between := time.Now()
	s.must(0, "restart", "echo")
	s.must(0, "restart", "denylist")
	all := s.eventsOf()
	if len(all) <= len(before) {
		t.Fatalf("%d events before the upgrade, %d after it", len(before), len(all))
	}
	for i, e := range all {
		if e.Seq != uint64(i+1) {
			t.Fatalf("event %d has number %d", i+1, e.Seq)
		}
	}
	kill(s.service("echo").PID)
	eventually(t, "its end is an event", func() bool {
		return len(s.eventsOf("--since", between.Format(time.RFC3339Nano), "--service", "echo")) > 0
	})
	for _, e := range s.eventsOf("--since", between.Format(time.RFC3339Nano), "--service", "echo") {
		if e.Service != "echo" || e.Time.Before(between) {
			t.Errorf("not asked for: %+v", e)
		}
	}
	if out := s.must(2, "events", "--since", "yesterday"); !strings.Contains(out, "--since") {
		t.Errorf("a bad time: %s", out)
	}
}
