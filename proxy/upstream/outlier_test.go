package upstream

import (
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// judged is an upstream of n targets; the janitor does not get to it, the test moves the time.
func judged(t *testing.T, n int, o config.Outliers) (*Pool, chan HealthChange) {
	t.Helper()
	addrs := []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1", "10.0.0.5:1"}[:n]
	cfg := upstreamConfig(addrs...)
	o.Interval, o.EjectionTime, o.MaxEjectionTime = time.Minute, time.Minute, 10*time.Minute
	cfg.Outliers = &o
	deps := testDeps()
	changes := make(chan HealthChange, 100)
	deps.OnHealth = func(c HealthChange) { changes <- c }
	return newTestPool(t, cfg, deps), changes
}

func out(p *Pool) (list []int) {
	for _, tg := range p.Targets() {
		if tg.endpoint.outlier.ejected.Load() {
			list = append(list, tg.Index)
		}
	}
	return list
}

func TestComparisonFindsTheOutlier(t *testing.T) {
	t.Parallel()
	type answers struct {
		n, errors int
		latency   time.Duration
	}
	same := answers{100, 1, 10 * time.Millisecond}
	for name, tt := range map[string]struct {
		config  config.Outliers
		answers []answers
		want    int // -1 = nobody
		reason  string
	}{
		"all alike":              {config.Outliers{SuccessRateGap: 30}, []answers{same, same, same}, -1, ""},
		"many errors":            {config.Outliers{SuccessRateGap: 30}, []answers{same, {100, 60, 0}, same}, 1, "success-rate: 40.0% of 100 succeeded, the median is 99.0%"},
		"of two":                 {config.Outliers{SuccessRateGap: 30}, []answers{{100, 60, 0}, same}, 0, "success-rate"},
		"within the gap":         {config.Outliers{SuccessRateGap: 30}, []answers{same, {100, 25, 0}, same}, -1, ""},
		"all are bad":            {config.Outliers{SuccessRateGap: 30}, []answers{{100, 90, 0}, {100, 95, 0}, {100, 92, 0}}, -1, ""},
		"too few requests":       {config.Outliers{SuccessRateGap: 30}, []answers{same, {9, 9, 0}, same}, -1, ""},
		"nobody to compare with": {config.Outliers{SuccessRateGap: 30}, []answers{{100, 90, 0}, {3, 0, 0}}, -1, ""},
		"off":                    {config.Outliers{}, []answers{same, {100, 100, time.Second}, same}, -1, ""},
		"slow":                   {config.Outliers{LatencyFactor: 3, LatencyFloor: 20 * time.Millisecond}, []answers{same, same, {100, 0, 40 * time.Millisecond}}, 2, "latency: 40ms on average, the median is 10ms"},
		"slow, of two":           {config.Outliers{LatencyFactor: 3}, []answers{{100, 0, 40 * time.Millisecond}, same}, 0, "latency"},
		"not slow enough":        {config.Outliers{LatencyFactor: 5}, []answers{same, same, {100, 0, 40 * time.Millisecond}}, -1, ""},
		"fast enough anyway":     {config.Outliers{LatencyFactor: 3, LatencyFloor: 50 * time.Millisecond}, []answers{same, same, {100, 0, 40 * time.Millisecond}}, -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.config.MinRequests, tt.config.MaxEjected = 10, 100
			p, changes := judged(t, len(tt.answers), tt.config)
			now := time.Now()
			p.sweepOutliers(now)
			for i, a := range tt.answers {
				for k := range a.n {
					p.targets[i].Observe(a.latency, k < a.errors)
				}
			}
			p.sweepOutliers(now.Add(59 * time.Second))
			if got := out(p); len(got) != 0 {
				t.Fatalf("judged before the interval is over: %v", got)
			}
			p.sweepOutliers(now.Add(time.Minute))
			got := out(p)
			if tt.want < 0 {
				if len(got) != 0 {
					t.Errorf("ejected %v", got)
				}
				return
			}
			if len(got) != 1 || got[0] != tt.want {
				t.Fatalf("ejected %v, want %d", got, tt.want)
			}
			if c := <-changes; c.Healthy || c.Action != "eject" || !strings.HasPrefix(c.Reason, tt.reason) {
				t.Errorf("told %+v", c)
			}
		})
	}
}

func TestEjectionsGrowAndAreForgiven(t *testing.T) {
	t.Parallel()
	p, _ := judged(t, 2, config.Outliers{ConsecutiveErrors: 1, MaxEjected: 50, MinRequests: 10})
	now, x := time.Now(), &p.targets[0].endpoint.outlier
	round := func(want time.Duration) {
		t.Helper()
		p.expel(p.targets[0], observe.OutlierErrors, "test", now)
		if got := x.until.Sub(now); got != want {
			t.Errorf("it is out for %v, want %v", got, want)
		}
		now = now.Add(want)
		p.sweepOutliers(now)
		if x.ejected.Load() {
			t.Fatal("its time is over and it is still out")
		}
	}
	p.compared = comparison{since: now.Add(24 * time.Hour)} // no comparison, so nothing is forgiven
	for i := 1; i <= 12; i++ {
		round(min(time.Duration(i), 10) * time.Minute)
	}
	p.compared = comparison{since: now}
	for range 20 {
		now = now.Add(time.Minute)
		p.sweepOutliers(now)
	}
	p.compared.since = now.Add(24 * time.Hour)
	round(time.Minute)
}

func TestMaxEjected(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ targets, percent, want int }{{1, 100, 0}, {2, 50, 1}, {2, 49, 0}, {3, 50, 1}, {5, 50, 2}, {5, 0, 0}, {5, 100, 5}} {
		p, _ := judged(t, tt.targets, config.Outliers{ConsecutiveErrors: 2, MaxEjected: tt.percent})
		for range 10 {
			for _, tg := range p.targets {
				tg.endpoint.metrics.Active.Add(1)
				tg.Done(failed, nil)
			}
		}
		if got := len(out(p)); got != tt.want {
			t.Errorf("%d of %d out with %d percent, want %d", got, tt.targets, tt.percent, tt.want)
		}
	}
}

func TestPanicBeginsAndEnds(t *testing.T) {
	t.Parallel()
	p, changes := judged(t, 4, config.Outliers{ConsecutiveErrors: 1, MaxEjected: 100})
	p.cfg.Balancing.PanicThreshold = 60
	fail := func(i int) {
		p.targets[i].endpoint.metrics.Active.Add(1)
		p.targets[i].Done(failed, nil)
	}
	fail(0)
	if p.panics.Load() {
		t.Fatal("three of four are enough")
	}
	fail(1)
	if !p.panics.Load() || !p.Snapshot().Panic {
		t.Fatal("two of four are not")
	}
	seen := map[string]int{}
	for range 40 {
		tg := mustPick(t, p)
		tg.endpoint.metrics.Active.Add(-1)
		seen[tg.Address]++
	}
	if len(seen) != 4 {
		t.Errorf("in panic %v get requests", seen)
	}
	p.sweepOutliers(time.Now().Add(time.Hour))
	p.judgePanic(time.Now())
	if p.panics.Load() {
		t.Error("all are back and it still panics")
	}
	var actions []string
	for len(changes) > 0 {
		actions = append(actions, (<-changes).Action)
	}
	if got := strings.Join(actions, " "); got != "eject eject panic restore restore calm" {
		t.Errorf("told %s", got)
	}
}

// A reload takes over what is known of the targets, and so whether the upstream panics; without a threshold it does not.
func TestPanicOverReloads(t *testing.T) {
	t.Parallel()
	cfg := upstreamConfig("10.0.0.1:1", "10.0.0.2:1")
	cfg.Balancing.PanicThreshold = 60
	cfg.Outliers = &config.Outliers{ConsecutiveErrors: 1, MaxEjected: 50, Interval: time.Hour, EjectionTime: time.Hour, MaxEjectionTime: time.Hour}
	deps := testDeps()
	var former *Set
	for i, want := range []bool{true, true, false} {
		set, err := NewSet([]config.Upstream{cfg}, former, deps)
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		set.Start()
		p := set.Pool("web")
		if i == 0 {
			finish(t, p, failed)
		}
		if p.panics.Load() != want || p.Metrics().Panicking.Load() != want {
			t.Errorf("generation %d: panics %v, and the metric says %v", i+1, p.panics.Load(), p.Metrics().Panicking.Load())
		}
		former = set
		cfg.Timeouts.Connect++
		if i == 1 {
			cfg.Balancing.PanicThreshold = 0
		}
	}
}

func TestRetryBudget(t *testing.T) {
	t.Parallel()
	p := newTestPool(t, upstreamConfig("10.0.0.1:1"), testDeps())
	for range 20 {
		p.Enter()
	}
	granted := 0
	for range 10 {
		if p.BeginRetry(20, 3) {
			granted++
		}
	}
	if granted != 4 { // 20 percent of 20
		t.Errorf("%d retries of 20 exchanges, want 4", granted)
	}
	for range 19 {
		p.Leave()
	}
	for range 4 {
		p.EndRetry()
	}
	for want := range 5 {
		if got := p.BeginRetry(20, 3); got != (want < 3) {
			t.Errorf("retry %d beside one exchange: %v", want+1, got)
		}
	}
	if n := p.Metrics().RetriesRefused.Load(); n != 8 {
		t.Errorf("%d refused, want 8", n)
	}
}
