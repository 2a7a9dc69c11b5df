package agent

import (
	"testing"
	"time"
)

func TestProcs(t *testing.T) {
	t.Parallel()
	now, used, got := time.Unix(1000, 0), time.Duration(0), 8
	p := &procs{all: 8, current: 8, set: func(n int) { got = n }, cpu: func() time.Duration { return used }}
	// step lets d pass with events every millisecond and this share of one processor used.
	step := func(d time.Duration, share float64, waiting int64) {
		for end := now.Add(d); now.Before(end); {
			now = now.Add(time.Millisecond)
			used += time.Duration(share * float64(time.Millisecond))
			p.arrived(now, waiting)
		}
	}
	for _, s := range []struct {
		what    string
		d       time.Duration
		share   float64
		waiting int64
		want    int
	}{
		{"not calm for long enough", 4 * time.Second, 0.05, 1, 8},
		{"calm", 2 * time.Second, 0.05, 1, 1},
		{"still calm", time.Minute, 0.2, 1, 1},
		{"busy", 150 * time.Millisecond, 0.9, 1, 8},
		{"in between", time.Minute, 0.4, 1, 8},
		{"calm again", 6 * time.Second, 0.1, 1, 1},
		{"in between changes nothing here either", time.Minute, 0.4, 1, 1},
		{"events wait", 100 * time.Millisecond, 0.1, 5, 8},
	} {
		step(s.d, s.share, s.waiting)
		if got != s.want {
			t.Fatalf("%s: %d processors, want %d", s.what, got, s.want)
		}
	}
	if newProcs(env("GOMAXPROCS", "3")) != nil {
		t.Error("the operator's choice is overruled")
	}
	(*procs)(nil).arrived(now, 1)
}
