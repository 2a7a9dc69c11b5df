package observe

import (
	"bytes"
	"fmt"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sentinel-stack/sentinel/proxy/api"
)

func TestHistogramBuckets(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		d    time.Duration
		want int // bucket
	}{
		{"zero", 0, 0},
		{"negative counts as zero", -time.Second, 0},
		{"on a bound", 25 * time.Microsecond, 0},
		{"above a bound", 25*time.Microsecond + 1, 1},
		{"last bound", time.Minute, bucketCount - 1},
		{"beyond", time.Hour, bucketCount},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var h Histogram
			h.Observe(tt.d)
			s := h.Snapshot()
			for i, n := range s.Counts {
				if want := i == tt.want; (n == 1) != want {
					t.Errorf("bucket %d holds %d, want the observation in bucket %d", i, n, tt.want)
				}
			}
			if s.Sum != max(0, tt.d) || s.Count != 1 {
				t.Errorf("sum %v count %d", s.Sum, s.Count)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	bounds := []float64{1, 2, 4}
	tests := []struct {
		name   string
		q      float64
		counts []uint64
		want   float64
	}{
		{"nothing observed", 0.5, []uint64{0, 0, 0, 0}, 0},
		{"middle of the first bucket", 0.5, []uint64{10, 0, 0, 0}, 0.5},
		{"inside the second", 0.75, []uint64{5, 5, 0, 0}, 1.5},
		{"empty buckets are passed over", 0.99, []uint64{0, 0, 100, 0}, 3.98},
		{"beyond the last bound", 0.9, []uint64{0, 0, 0, 3}, 4},
		{"not a number", math.NaN(), []uint64{1, 0, 0, 0}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Quantile(tt.q, bounds, tt.counts); math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestQuantileIsMonotone(t *testing.T) {
	t.Parallel()
	var h Histogram
	for i := range 1000 {
		h.Observe(time.Duration(i) * 37 * time.Microsecond)
	}
	s := h.Snapshot()
	last := time.Duration(0)
	for q := 0.01; q < 1; q += 0.01 {
		v := s.Quantile(q)
		if v < last {
			t.Fatalf("quantile %.2f is %v, below %v", q, v, last)
		}
		last = v
	}
	if p50 := s.Quantile(0.5); p50 < 10*time.Millisecond || p50 > 25*time.Millisecond {
		t.Errorf("p50 of 0..37ms is %v", p50)
	}
}

func TestRouteCountsExactlyUnderConcurrency(t *testing.T) {
	t.Parallel()
	m := NewMetrics("test", nil)
	r := m.Route("api")
	const workers, each = 8, 500
	var wg sync.WaitGroup
	for w := range uint32(workers) {
		wg.Go(func() {
			for i := range each {
				r.Begin(w)
				r.End(&Sample{Stripe: w, Method: MethodGet, Status: 200 + i%2, Latency: time.Millisecond, BytesIn: 1, BytesOut: 2, Retries: 1})
			}
		})
	}
	wg.Wait()
	r.Begin(99) // one still runs
	var got api.Route
	r.Fill(&got)
	const total = workers * each
	if got.Requests != total || got.Status[2] != total || got.Retries != total || got.InFlight != 1 {
		t.Errorf("requests %d status %v retries %d in flight %d", got.Requests, got.Status, got.Retries, got.InFlight)
	}
	if len(got.Counts) != len(got.Bounds)+1 {
		t.Errorf("%d counts for %d bounds", len(got.Counts), len(got.Bounds))
	}
	if want := (total * time.Millisecond).Seconds(); math.Abs(got.SumSecs-want) > 1e-9 {
		t.Errorf("sum %v, want %v", got.SumSecs, want)
	}
	seen := map[int]uint64{}
	r.eachCode(func(m Method, status int, n uint64) {
		if m != MethodGet {
			t.Errorf("method %v counted", m)
		}
		seen[status] = n
	})
	if seen[200] != total/2 || seen[201] != total/2 {
		t.Errorf("codes %v", seen)
	}
}

func TestRouteOddStatus(t *testing.T) {
	t.Parallel()
	r := NewMetrics("test", nil).Route("x")
	for _, status := range []int{0, -1, 42, 600, 99999} {
		r.Begin(0)
		r.End(&Sample{Status: status, Method: 200})
	}
	var got api.Route
	r.Fill(&got)
	if got.Status[0] != 5 || got.Requests != 5 {
		t.Errorf("got %v", got.Status)
	}
}

func TestHandlesSurviveWhileUsed(t *testing.T) {
	t.Parallel()
	m := NewMetrics("test", nil)
	old := m.Route("api")
	old.Begin(0)
	old.End(&Sample{Status: 200})
	next := m.Route("api") // the next generation is built before the old one is given back
	if next != old {
		t.Fatal("the same id gave another handle")
	}
	old.Release()
	if n := len(m.routeList()); n != 1 {
		t.Fatalf("%d routes exported, want 1", n)
	}
	next.Release()
	if n := len(m.routeList()); n != 0 {
		t.Fatalf("%d routes exported after the last release", n)
	}
	next.Begin(0) // late, and harmless
	if m.Target("a", "x") == m.Target("b", "x") {
		t.Error("two upstreams share the handle of one address")
	}
}

func TestCounterSetIsBounded(t *testing.T) {
	t.Parallel()
	var s CounterSet
	for i := range 1000 {
		s.Add(fmt.Sprint("reason-", i))
	}
	names := 0
	s.Each(func(string, uint64) { names++ })
	if names > maxNames || s.Total() != 1000 {
		t.Errorf("%d names, total %d", names, s.Total())
	}
	if s.Get("reason-3") != 1 || s.Get("other") < 900 || s.Get("reason-900") != 0 {
		t.Errorf("reason-3 %d, other %d", s.Get("reason-3"), s.Get("other"))
	}
}

func TestCounterSetInvalidName(t *testing.T) {
	t.Parallel()
	var s CounterSet
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				s.Add("bad\xff")
			}
		})
	}
	wg.Wait()
	if got := s.Get("bad?"); got != 400 {
		t.Errorf("got %d, want 400", got)
	}
}

// busyMetrics has something of everything.
func busyMetrics() *Metrics {
	m := NewMetrics("1.2.3", nil)
	r := m.Route("api")
	r.Begin(1)
	r.End(&Sample{Stripe: 1, Method: MethodPost, Status: 404, Latency: 3 * time.Millisecond, BytesIn: 7, BytesOut: 9, Retries: 2})
	r.Blocked.Add("agent")
	l := m.Listener("http")
	l.Total.Add(3)
	l.Open.Add(2)
	l.Refuse(LimitTotalConnections, &m.Process)
	tg := m.Target("web", "10.0.0.1:80")
	tg.Requests.Add(5)
	tg.Failures[FailureConnect].Add(1)
	tg.Failures[FailureCanceled].Add(1)
	tg.Health.Store(int32(HealthUnhealthy))
	tg.Connects.Observe(time.Millisecond)
	a := m.Agent("waf")
	a.Done(time.Millisecond, CallOK, "block")
	a.Done(time.Second, CallTimeout, "")
	a.FailOpens.Add(2)
	a.SetState(func() AgentState { return AgentState{Circuit: CircuitOpen, Opens: 4, Queued: 1, InFlight: 2, Up: true} })
	m.Log("access").Dropped.Add(8)
	m.Process.Refusals.Add("bad-chunk")
	m.Process.Reloaded(time.Unix(1_700_000_000, 0), 3, true)
	return m
}

func TestCollectorPassesLint(t *testing.T) {
	t.Parallel()
	problems, err := testutil.CollectAndLint(busyMetrics().Collector())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestScrape(t *testing.T) {
	t.Parallel()
	m := busyMetrics()
	var text bytes.Buffer
	contentType, err := m.WriteText(&text)
	if err != nil || !strings.HasPrefix(contentType, "text/plain") {
		t.Fatalf("content type %q, error %v", contentType, err)
	}
	lines := strings.Split(text.String(), "\n")
	for _, want := range []string{
		`sentinel_requests_total{method="POST",route="api",status="404"} 1`,
		`sentinel_request_duration_seconds_bucket{route="api",le="0.003"} 1`,
		`sentinel_request_duration_seconds_bucket{route="api",le="0.002"} 0`,
		`sentinel_request_body_bytes_total{route="api"} 7`,
		`sentinel_response_body_bytes_total{route="api"} 9`,
		`sentinel_upstream_retries_total{route="api"} 2`,
		`sentinel_blocked_requests_total{reason="agent",route="api"} 1`,
		`sentinel_open_connections{listener="http"} 2`,
		`sentinel_connections_refused_total{limit="total-connections",listener="http"} 1`,
		`sentinel_limit_hits_total{limit="total-connections"} 1`,
		`sentinel_upstream_failures_total{kind="connect",target="10.0.0.1:80",upstream="web"} 1`,
		`sentinel_upstream_target_healthy{target="10.0.0.1:80",upstream="web"} 0`,
		`sentinel_agent_decisions_total{agent="waf",decision="block"} 1`,
		`sentinel_agent_timeouts_total{agent="waf"} 1`,
		`sentinel_agent_fail_opens_total{agent="waf"} 2`,
		`sentinel_agent_circuit_state{agent="waf"} 2`,
		`sentinel_log_dropped_records_total{log="access"} 8`,
		`sentinel_refused_messages_total{code="bad-chunk"} 1`,
		`sentinel_config_generation 3`,
		`sentinel_config_reloads_total{result="applied"} 1`,
		`sentinel_up 1`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %s", want)
		}
	}
	for _, prefix := range []string{"go_goroutines ", "process_open_fds ", `sentinel_build_info{goversion="go`} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, prefix) }) {
			t.Errorf("no line starts with %s", prefix)
		}
	}
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), "sentinel_up 1") {
		t.Errorf("handler answers %d", rec.Code)
	}
}

func TestScrapeSurvivesABadLabel(t *testing.T) {
	t.Parallel()
	m := NewMetrics("test", nil)
	m.Route("bad\xff").Begin(0)
	m.Route("good").Begin(0)
	var text bytes.Buffer
	if _, err := m.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), `sentinel_requests_in_flight{route="good"} 1`) {
		t.Error("the good route is missing")
	}
}

func TestFailureTotalLeavesOutCanceled(t *testing.T) {
	t.Parallel()
	tg := busyMetrics().Target("web", "10.0.0.1:80")
	if n := tg.FailureTotal(); n != 1 {
		t.Errorf("got %d, want 1", n)
	}
}

func TestFillStatus(t *testing.T) {
	t.Parallel()
	m := busyMetrics()
	r := m.Route("api")
	r.Begin(0)
	r.End(&Sample{Status: 503})
	r.Begin(0)
	var s api.Status
	m.FillStatus(&s)
	if s.Requests != 2 || s.Errors5xx != 1 || s.InFlight != 1 || s.Connections != 2 || s.Generation != 3 || s.Version != "1.2.3" {
		t.Errorf("got %+v", s)
	}
}

func TestRequestPathDoesNotAllocate(t *testing.T) {
	m := NewMetrics("test", nil)
	r, a := m.Route("api"), m.Agent("waf")
	r.Blocked.Add("limit")
	a.Decisions.Add("allow")
	sample := &Sample{Stripe: 3, Method: MethodGet, Status: 200, Latency: time.Millisecond, BytesIn: 1, BytesOut: 1, Retries: 1}
	r.End(sample)
	method := []byte("DELETE")
	if n := testing.AllocsPerRun(1000, func() {
		r.Begin(3)
		sample.Method = MethodGet
		r.End(sample)
		r.Blocked.Add("limit")
		a.Done(time.Millisecond, CallOK, "allow")
		if ParseMethod(method) != MethodDelete {
			t.Error("method not known")
		}
	}); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}

func TestParseMethod(t *testing.T) {
	t.Parallel()
	for m := range methodCount {
		got := ParseMethod([]byte(m.String()))
		if got != m {
			t.Errorf("%s parses as %s", m, got)
		}
	}
	for _, s := range []string{"", "get", "BREW", "GETX"} {
		if got := ParseMethod([]byte(s)); got != MethodOther {
			t.Errorf("%q parses as %s", s, got)
		}
	}
}

func BenchmarkRouteBeginEnd(b *testing.B) {
	r := NewMetrics("test", nil).Route("api")
	b.ReportAllocs()
	var next atomic.Uint32
	b.RunParallel(func(pb *testing.PB) {

		s := Sample{Stripe: next.Add(1), Method: MethodGet, Status: 200, Latency: 200 * time.Microsecond, BytesOut: 1024}
		for pb.Next() {
			r.Begin(s.Stripe)
			r.End(&s)
		}
	})
}

func BenchmarkRouteBeginEndOneStripe(b *testing.B) {
	r := NewMetrics("test", nil).Route("api")
	b.RunParallel(func(pb *testing.PB) {
		s := Sample{Method: MethodGet, Status: 200, Latency: 200 * time.Microsecond, BytesOut: 1024}
		for pb.Next() {
			r.Begin(0)
			r.End(&s)
		}
	})
}
