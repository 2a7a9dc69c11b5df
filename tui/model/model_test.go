package model

import (
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(secs float64) time.Time { return start.Add(time.Duration(secs * float64(time.Second))) }

// snap is a reading with one route of the given totals, answered by the proxy process named instance.
func snap(secs float64, instance string, requests, fails uint64, counts ...uint64) Snapshot {
	return Snapshot{
		At:    at(secs),
		Stack: &stackapi.Status{Services: []stackapi.Service{{Name: "proxy", Kind: "proxy", State: "ready"}, {Name: "waf", Kind: "agent", State: "ready"}}},
		Proxy: &proxyapi.Status{InstanceID: instance, Requests: requests, Errors5xx: fails},
		Routes: []proxyapi.Route{{ID: "r", Requests: requests, Status: [6]uint64{5: fails}, Bounds: []float64{0.01, 0.1},
			Counts: append(counts, make([]uint64, 3-len(counts))...)}},
		Agents: []proxyapi.Agent{{Name: "waf", Connected: true, Circuit: "closed", Health: "healthy"}},
	}
}

func newModel() *Model { return New(Options{Refresh: time.Second}, start) }

func press(m *Model, keys ...string) (effects []Effect) {
	for _, k := range keys {
		effects = append(effects, m.Update(Key(k))...)
	}
	return effects
}

func TestRates(t *testing.T) {
	t.Parallel()
	m := newModel()
	m.Update(snap(1, "a", 100, 0))
	if r := m.RouteRows()[0]; !math.IsNaN(r.Rate) || !math.IsNaN(m.Summary().Rate) {
		t.Errorf("one reading gives no rate, got %v", r.Rate)
	}
	m.Update(snap(3, "a", 300, 20))
	r := m.RouteRows()[0]
	if r.Rate != 100 || r.ErrShare != 0.1 || r.Severity != Bad {
		t.Errorf("rate %v, errors %v, severity %v", r.Rate, r.ErrShare, r.Severity)
	}
	if s := m.Summary(); s.Rate != 100 || s.ErrShare != 0.1 {
		t.Errorf("header rate %v errors %v", s.Rate, s.ErrShare)
	}
	m.Update(snap(4, "a", 300, 20))
	if r := m.RouteRows()[0]; r.Rate != 0 || !math.IsNaN(r.ErrShare) || r.Severity != OK {
		t.Errorf("a silent second: rate %v errors %v severity %v", r.Rate, r.ErrShare, r.Severity)
	}
	if spark := m.RouteRows()[0].Spark; !slices.Equal(spark, []float64{100, 0}) {
		t.Errorf("trend %v", spark)
	}
}

// TestNewProcess restarts the proxy: its counters begin at zero, and the rate must be neither negative nor huge.
func TestNewProcess(t *testing.T) {
	t.Parallel()
	m := newModel()
	m.Update(snap(1, "a", 1_000_000, 0, 1000))
	m.Update(snap(2, "a", 1_000_100, 0, 1100))
	m.Update(snap(3, "b", 10, 0, 10))
	if r := m.RouteRows()[0]; !math.IsNaN(r.Rate) {
		t.Errorf("first reading of a new process: rate %v", r.Rate)
	}
	m.Update(snap(4, "b", 30, 0, 30))
	if r := m.RouteRows()[0]; r.Rate != 20 {
		t.Errorf("second reading of a new process: rate %v", r.Rate)
	}
	m.Update(snap(5, "b", 5, 0, 5))
	if r := m.RouteRows()[0]; r.Rate != 5 {
		t.Errorf("a counter that went back: rate %v", r.Rate)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		counts []uint64
		q      float64
		want   float64
		over   bool
	}{
		{"first bucket", []uint64{10, 0, 0}, 0.5, 0.005, false},
		{"second bucket", []uint64{0, 10, 0}, 0.5, 0.055, false},
		{"edge", []uint64{5, 5, 0}, 0.5, 0.01, false},
		{"beyond", []uint64{1, 0, 9}, 0.99, 0.1, true},
		{"all", []uint64{0, 0, 0, 0}, 0.99, math.NaN(), false},
		{"none", nil, 0.99, math.NaN(), false},
	} {
		got := Histogram{Bounds: []float64{0.01, 0.1}, Counts: c.counts}.Quantile(c.q)
		same := math.Abs(got.Secs-c.want) < 1e-9 || math.IsNaN(got.Secs) && math.IsNaN(c.want)
		if !same || got.Over != c.over {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}

// TestQuantileWindow shows that old exchanges leave the quantiles: only what came in the window counts.
func TestQuantileWindow(t *testing.T) {
	t.Parallel()
	m := newModel()
	m.Update(snap(0, "a", 1000, 0, 0, 1000)) // slow past
	for i := 1; i <= 30; i++ {
		m.Update(snap(float64(i), "a", 1000+uint64(i)*10, 0, uint64(i)*10, 1000))
	}
	if p99 := m.RouteRows()[0].P99.Secs; p99 > 0.01 {
		t.Errorf("p99 %v still counts the slow past", p99)
	}
	if n := len(m.readings.window); n > 12 {
		t.Errorf("%d readings kept", n)
	}
	if p99 := m.Summary().P99.Secs; p99 > 0.01 {
		t.Errorf("header p99 %v", p99)
	}
}

func TestSelectionStaysOnItsRow(t *testing.T) {
	t.Parallel()
	m := newModel()
	services := func(names ...string) Snapshot {
		s := snap(1, "a", 0, 0)
		s.Stack = &stackapi.Status{}
		for _, n := range names {
			s.Stack.Services = append(s.Stack.Services, stackapi.Service{Name: n, Kind: "agent", State: "ready"})
		}
		return s
	}
	m.Update(services("b", "d", "f"))
	press(m, "4", "j")
	m.Update(services("a", "b", "c", "d", "f"))
	if got := m.ServiceRows()[m.Cursor()].Name; got != "d" {
		t.Errorf("selected %s, want d", got)
	}
	m.Update(services("a"))
	if m.Cursor() != 0 {
		t.Errorf("cursor %d in a list of one", m.Cursor())
	}
	m.Update(services())
	press(m, "j", "k", "G", "enter")
	if open, _ := m.Detail(); open || m.Cursor() != 0 {
		t.Error("an empty list can be opened")
	}
}

// TestActions needs a yes for every action, and has twins that must not act.
func TestActions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		opt  Options
		keys []string
		want []Effect
	}{
		{"restart", Options{}, []string{"4", "r", "y"}, []Effect{{Restart, "proxy"}}},
		{"stop", Options{}, []string{"4", "j", "s", "y"}, []Effect{{Stop, "waf"}}},
		{"start", Options{}, []string{"4", "j", "S", "Y"}, []Effect{{Start, "waf"}}},
		{"reload", Options{}, []string{"R", "y"}, []Effect{{Verb: Reload}}},
		{"agent pane", Options{}, []string{"3", "r", "y"}, []Effect{{Restart, "waf"}}},
		{"no", Options{}, []string{"4", "s", "n"}, nil},
		{"slip", Options{}, []string{"4", "s", "enter"}, nil},
		{"question once", Options{}, []string{"4", "s", "n", "y"}, nil},
		{"nothing selected", Options{}, []string{"1", "s", "y"}, nil},
		{"read-only", Options{ReadOnly: true}, []string{"4", "s", "y", "R", "y", "r", "y"}, nil},
		{"while typing", Options{}, []string{"4", "/", "s", "y", "q"}, nil},
		{"quit", Options{}, []string{"q"}, []Effect{{Verb: Quit}}},
		{"quit while typing", Options{}, []string{"/", "ctrl+c"}, []Effect{{Verb: Quit}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := New(c.opt, start)
			m.Update(snap(1, "a", 0, 0))
			if got := press(m, c.keys...); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	m := newModel()
	m.Update(snap(1, "a", 0, 0))
	count := func(keys ...string) int {
		press(m, append([]string{"4", "/", "ctrl+u"}, keys...)...)
		press(m, "enter")
		return len(m.ServiceRows())
	}
	for _, c := range []struct {
		keys []string
		want int
	}{
		{[]string{"W", "A", "F"}, 1}, {[]string{"!", "w", "a", "f"}, 1}, {[]string{"~", "p", "x"}, 1}, {[]string{"~", "x", "p"}, 0},
		{[]string{"z", "z"}, 0}, {[]string{"z", "backspace", "backspace"}, 2}, {nil, 2},
	} {
		if got := count(c.keys...); got != c.want {
			t.Errorf("%v: %d rows, want %d", c.keys, got, c.want)
		}
	}
	press(m, "/", "x", "esc")
	if text, editing := m.Filter(); text != "" || editing {
		t.Errorf("esc leaves filter %q", text)
	}
	for range 2 * maxFilter {
		press(m, "/", "x")
	}
	if text, _ := m.Filter(); len(text) > maxFilter {
		t.Errorf("filter of %d bytes", len(text))
	}
}

// TestOneTargetDown is a warning while another target serves, and a fault when none does.
func TestOneTargetDown(t *testing.T) {
	t.Parallel()
	for states, want := range map[[2]string]string{
		{"healthy", "healthy"}: "ready", {"healthy", "unhealthy"}: "degraded", {"unknown", "unhealthy"}: "degraded", {"unhealthy", "unhealthy"}: "faulty",
	} {
		m := newModel()
		s := snap(1, "a", 0, 0)
		s.Upstreams = []proxyapi.Upstream{{ID: "u", Targets: []proxyapi.Target{{Address: "a", Status: states[0]}, {Address: "b", Status: states[1]}}}}
		m.Update(s)
		if got := m.Summary().State; got != want {
			t.Errorf("%v: %s, want %s", states, got, want)
		}
	}
}

func TestFaultsOnlyAndPause(t *testing.T) {
	t.Parallel()
	m := newModel()
	bad := snap(1, "a", 0, 0)
	bad.Stack.Services[1].State = "quarantined"
	m.Update(bad)
	press(m, "4", "z")
	if rows := m.ServiceRows(); len(rows) != 1 || rows[0].Name != "waf" {
		t.Errorf("faults only shows %d rows", len(rows))
	}
	if f := m.Faults(); len(f) != 1 || f[0].Pane != Services || m.Summary().State != "faulty" {
		t.Errorf("faults %v, state %s", f, m.Summary().State)
	}
	press(m, "p")
	m.Update(snap(2, "a", 0, 0))
	if len(m.ServiceRows()) != 1 {
		t.Error("a paused screen moves")
	}
	press(m, "p")
	if len(m.ServiceRows()) != 0 || m.Summary().State != "ready" {
		t.Errorf("after the pause: %d faults, state %s", len(m.ServiceRows()), m.Summary().State)
	}
}

// TestRefusedReloadIsOneLine: the first finding says where to look; the whole report has carets that fit nowhere here.
func TestRefusedReloadIsOneLine(t *testing.T) {
	t.Parallel()
	for report, want := range map[string]string{"a.kdl:1:2: error: x": "reload refused: a.kdl:1:2: error: x", "a.kdl:1:2: error: x\n  1 | y\n": "reload refused: a.kdl:1:2: error: x …"} {
		m := newModel()
		s := snap(1, "a", 0, 0)
		s.Stack.LastReload = &stackapi.ReloadResult{Error: report}
		m.Update(s)
		if f := m.Faults(); len(f) != 1 || f[0].Text != want {
			t.Errorf("%v", f)
		}
	}
}

func TestStaleAndBack(t *testing.T) {
	t.Parallel()
	m := newModel()
	if c := m.Connection(); c.Ever || c.Stale || m.Summary().State != "" && m.Summary().State != "connecting" {
		t.Errorf("before the first reading: %+v", c)
	}
	m.Update(snap(1, "a", 0, 0))
	m.Update(Tick(at(3)))
	if m.Connection().Stale {
		t.Error("two seconds are not stale at one a second")
	}
	m.Update(Tick(at(5)))
	if !m.Connection().Stale {
		t.Error("four seconds without a reading are stale")
	}
	m.Update(Snapshot{At: at(6), Err: "gone", RetryAt: at(8)})
	if c := m.Connection(); c.Err != "gone" || c.Retry != 2*time.Second || m.Summary().State != "unreachable" || len(m.ServiceRows()) != 2 {
		t.Errorf("gone: %+v, state %s", c, m.Summary().State)
	}
	m.Update(snap(9, "a", 0, 0))
	if c := m.Connection(); c.Err != "" || c.Stale || m.Summary().State != "ready" {
		t.Errorf("back: %+v, state %s", c, m.Summary().State)
	}
}

func TestLogRing(t *testing.T) {
	t.Parallel()
	m := newModel()
	for i := range maxLogLines + 500 {
		m.Update(LogLines{{Service: "s", Text: strconv.Itoa(i)}})
	}
	if m.LogCount() != maxLogLines {
		t.Errorf("%d lines kept", m.LogCount())
	}
	lines, cursor := m.LogWindow(3)
	if len(lines) != 3 || lines[2].Text != strconv.Itoa(maxLogLines+499) || cursor != -1 {
		t.Errorf("window %v cursor %d", lines, cursor)
	}
	press(m, "5", "g")
	lines, cursor = m.LogWindow(3)
	if lines[cursor].Text != "500" || m.LogFollow() {
		t.Errorf("first line %q", lines[cursor].Text)
	}
	m.Update(LogLines{{Service: "s", Text: "new"}})
	if lines, cursor = m.LogWindow(3); lines[cursor].Text != "501" {
		t.Errorf("the selected line fell out and the cursor is on %q", lines[cursor].Text)
	}
	press(m, "G")
	if lines, _ = m.LogWindow(1); !m.LogFollow() || lines[0].Text != "new" {
		t.Errorf("end: follow %v, line %q", m.LogFollow(), lines[0].Text)
	}
	press(m, "k", "k", "k", "j", "/", "1", "0", "0", "enter", "k")
	if lines, cursor = m.LogWindow(4); cursor < 0 || !containsFold(lines[cursor].Text, "100") {
		t.Errorf("filtered cursor %d in %v", cursor, lines)
	}
}

func TestLogWindowIsFull(t *testing.T) {
	t.Parallel()
	m := newModel()
	for i := range 100 {
		m.Update(LogLines{{Service: "s", Text: strconv.Itoa(i)}})
	}
	press(m, "5")
	for _, keys := range [][]string{{"g"}, {"j", "j", "j"}, {"ctrl+d"}, {"G"}, {"k"}, {"ctrl+u"}} {
		press(m, keys...)
		if lines, _ := m.LogWindow(10); len(lines) != 10 {
			t.Errorf("%v: window of %d lines", keys, len(lines))
		}
	}
}

func TestLongLogLineIsCut(t *testing.T) {
	t.Parallel()
	m := newModel()
	m.Update(LogLines{{Text: string(make([]byte, 1<<20))}})
	if lines, _ := m.LogWindow(1); len(lines[0].Text) != maxLogText {
		t.Errorf("kept %d bytes", len(lines[0].Text))
	}
}
