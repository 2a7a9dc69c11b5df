package balance

import (
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

func TestTwoChoicesPrefersTheLessLoaded(t *testing.T) {
	t.Parallel()
	members := group(1, 1)
	members[0].Active.Store(5)
	a := newTwoChoices(members, none)
	if counts := pick(a, members, 100); counts[0] != 0 { // with two members both are always drawn
		t.Errorf("shares %v", counts)
	}
	members = group(3, 1)
	for range 400 { // nobody gives back
		newTwoChoices(members, none).Pick(nil)
	}
	if n := members[0].Active.Load(); n < 297 || n > 303 {
		t.Errorf("the heavy one has %d of 400", n)
	}
}

func TestTwoChoicesStaysEven(t *testing.T) {
	t.Parallel()
	members := group(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
	a := newTwoChoices(members, none)
	for range 10_000 {
		a.Pick(nil)
	}
	for i, m := range members {
		if n := m.Active.Load(); n < 980 || n > 1020 { // the theory says a few above the mean; at random it would be 100
			t.Errorf("member %d has %d of 10000", i, n)
		}
	}
}

func TestTwoDrawsEveryPairAlike(t *testing.T) {
	t.Parallel()
	members := group(1, 1, 0, 1, 1)
	seen := map[[2]int]int{}
	for range 12_000 {
		i, j := two(members, nil)
		seen[[2]int{i, j}]++
	}
	if len(seen) != 12 {
		t.Errorf("%d pairs instead of 12", len(seen))
	}
	for pair, n := range seen {
		if n < 800 || n > 1200 {
			t.Errorf("pair %v came %d times of 12000", pair, n)
		}
	}
}

func TestPeakEWMAAvoidsTheSlow(t *testing.T) {
	t.Parallel()
	p := config.Balancing{Decay: time.Hour} // nothing fades during the test
	members := group(1, 1)
	now := time.Now()
	members[0].Stats.ObservePeak(now, 10*time.Millisecond, p.Decay)
	members[1].Stats.ObservePeak(now, 100*time.Millisecond, p.Decay)
	a := newPeakEWMA(members, p)
	for range 110 { // nobody gives back: ten times as slow means a tenth of the exchanges
		a.Pick(nil)
	}
	if fast := members[0].Active.Load(); fast < 97 || fast > 103 {
		t.Errorf("the fast one has %d of 110", fast)
	}
}

// A member that was added while another answers faster than any guess is tried all the same.
func TestPeakEWMATriesTheUnknown(t *testing.T) {
	t.Parallel()
	p := config.Balancing{Decay: time.Hour}
	members := group(1, 1)
	members[0].Stats.ObservePeak(time.Now(), 50*time.Microsecond, p.Decay)
	a := newPeakEWMA(members, p)
	if counts := pick(a, members, 1000); counts[1] < 300 || counts[1] > 700 {
		t.Errorf("the unknown one got %d of 1000", counts[1])
	}
	members[1].Active.Add(1) // while it has not answered its first request, the others go to the one that is known
	if counts := pick(a, members, 1000); counts[1] != 0 {
		t.Errorf("the unknown one got %d of 1000 more", counts[1])
	}
}

func TestPeakEWMARisesAtOnceAndForgets(t *testing.T) {
	t.Parallel()
	var s Stats
	now := time.Now()
	s.ObservePeak(now, 10*time.Millisecond, time.Second)
	s.ObservePeak(now, time.Second, time.Second)
	if got := s.peak(now, time.Second); got != float64(time.Second) {
		t.Errorf("a peak counts as %v", time.Duration(got))
	}
	s.ObservePeak(now.Add(100*time.Millisecond), 10*time.Millisecond, time.Second)
	if got := time.Duration(s.peak(now.Add(100*time.Millisecond), time.Second)); got < 800*time.Millisecond || got > 950*time.Millisecond {
		t.Errorf("one good answer made it %v", got)
	}
	if got := time.Duration(s.peak(now.Add(10*time.Second), time.Second)); got > time.Millisecond {
		t.Errorf("after ten times the decay it is still %v", got)
	}
}

func TestAdaptiveTakesWeightFromTheBad(t *testing.T) {
	t.Parallel()
	members := group(1, 1, 1)
	a := newAdaptive(members, params).(*adaptive)
	now := time.Now()
	a.Tick(now)
	share := func(i int) float64 { return float64(pick(a, members, 30_000)[i]) / 30_000 }
	round := func() {
		for range 50 {
			members[0].Stats.Observe(time.Millisecond, false)
			members[1].Stats.Observe(time.Millisecond, true)
			members[2].Stats.Observe(2*time.Second, false)
		}
		now = now.Add(params.Interval)
		a.Tick(now)
	}
	round()
	if s := share(1); s < 0.26 || s > 0.32 { // 0.7 of 2.4
		t.Errorf("after one bad interval the one with errors has %.2f", s)
	}
	for range 10 {
		round()
	}
	if s := share(1); s < 0.07 || s > 0.10 { // a tenth of 1.2
		t.Errorf("after many the one with errors has %.2f", s)
	}
	if s := share(2); s < 0.07 || s > 0.10 {
		t.Errorf("the slow one has %.2f", s)
	}
	// A reload goes on where the old algorithm was.
	if s := float64(pick(newAdaptive(members, params), members, 30_000)[1]) / 30_000; s > 0.10 {
		t.Errorf("a reload forgot: %.2f", s)
	}
	for range 40 { // without requests nothing is held against it
		now = now.Add(params.Interval)
		a.Tick(now)
	}
	if s := share(1); s < 0.31 || s > 0.36 {
		t.Errorf("recovered it has %.2f", s)
	}
}

func TestAdaptiveWantsProof(t *testing.T) {
	t.Parallel()
	members := group(1, 1)
	a := newAdaptive(members, params).(*adaptive)
	now := time.Now()
	a.Tick(now)
	for range minAnswers - 1 {
		members[1].Stats.Observe(time.Millisecond, true)
	}
	a.Tick(now.Add(params.Interval))
	if f := members[1].Stats.factor.Load(); f != 0 {
		t.Errorf("a handful of errors cost %d permille", f)
	}
}
