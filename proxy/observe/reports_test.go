package observe

import (
	"bytes"
	"strings"
	"testing"
)

func scrapeText(t *testing.T, m *Metrics) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := m.WriteText(&out); err != nil {
		t.Fatalf("the scrape fails: %v", err)
	}
	return out.String()
}

func TestAgentReportsAreExported(t *testing.T) {
	t.Parallel()
	m := NewMetrics("test", nil)
	m.SetReports(func() []Report {
		return []Report{{Agent: "deny",
			Counters:   []Reported{{Name: "denylist_blocked_total", Labels: []Pair{{"kind", "ip"}}, Value: 3}, {Name: "denylist_blocked_total", Labels: []Pair{{"kind", "path"}}, Value: 4}},
			Gauges:     []Reported{{Name: "denylist_entries", Value: 7}},
			Histograms: []ReportedHistogram{{Name: "work_seconds", Sum: 2, Count: 3, Buckets: map[float64]uint64{1: 2}}},
		}}
	})
	text := scrapeText(t, m)
	for _, want := range []string{`denylist_blocked_total{agent="deny",kind="ip"} 3`, `denylist_blocked_total{agent="deny",kind="path"} 4`, `denylist_entries{agent="deny"} 7`,
		`work_seconds_bucket{agent="deny",le="1"} 2`, `work_seconds_count{agent="deny"} 3`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

// The attack: an agent that reports what would break every scrape, or speaks in the proxy's name. The innocent twin beside it is exported.
func TestHostileReportsDoNotSpoilTheScrape(t *testing.T) {
	t.Parallel()
	m := NewMetrics("test", nil)
	many := make([]Reported, 3*maxReported)
	for i := range many {
		many[i] = Reported{Name: "many_total", Labels: []Pair{{"i", strings.Repeat("x", i)}}}
	}
	m.SetReports(func() []Report {
		return []Report{
			{Agent: "evil", Counters: []Reported{
				{Name: "sentinel_up", Value: 0}, {Name: "go_goroutines"}, {Name: ""}, {Name: "bad name"}, {Name: "a\nb 1"}, {Name: "twice_total"}, {Name: "twice_total"},
				{Name: "labels_total", Labels: []Pair{{"agent", "good"}}}, {Name: "labels_total", Labels: []Pair{{"__name__", "x"}}}, {Name: "labels_total", Labels: []Pair{{"a", "1"}, {"a", "2"}}},
				{Name: "utf8_total", Labels: []Pair{{"a", "\xff\"\n"}}}, {Name: "kind_total"}},
				Gauges:     []Reported{{Name: "kind_total"}},
				Histograms: []ReportedHistogram{{Name: "h", Labels: []Pair{{"le", "1"}}}}},
			{Agent: "flood", Counters: many},
			{Agent: "good", Counters: []Reported{{Name: "good_total", Value: 1}}, Gauges: []Reported{{Name: "kind_total"}}},
		}
	})
	text := scrapeText(t, m)
	for _, want := range []string{`good_total{agent="good"} 1`, `sentinel_up 1`, `twice_total{agent="evil"} 0`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(text, "\nmany_total{"); n > maxReported {
		t.Errorf("%d series of one agent, limit %d", n, maxReported)
	}
}
