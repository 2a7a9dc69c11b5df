package balance

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// group makes members with these weights, all up.
func group(weights ...int) []Member {
	members := make([]Member, len(weights))
	panics := new(atomic.Bool)
	for i, w := range weights {
		members[i] = Member{
			Name: fmt.Sprintf("10.0.0.%d:8080", i+1), Weight: w, Active: new(atomic.Int64), Queued: new(atomic.Int64), Health: new(atomic.Int32),
			Ejected: new(atomic.Bool), Panic: panics, Blocked: new(atomic.Bool), Ramp: new(atomic.Int64), Stats: new(Stats),
		}
	}
	return members
}

// none are the parameters of algorithms that take none; params has something for each.
var (
	none   config.Balancing
	params = config.Balancing{
		VirtualNodes: 300, LoadFactor: 125, TableSize: 65537, Decay: time.Second, Interval: time.Second, MaxErrorPercent: 5, MaxLatency: time.Second,
		MinLocal: 70, SubsetSize: 10, Fallback: "round-robin",
	}
)

func eject(m Member)   { m.Health.Store(int32(observe.HealthUnhealthy)) }
func restore(m Member) { m.Health.Store(int32(observe.HealthHealthy)) }

// pick picks n times and gives every choice back at once.
func pick(a Algorithm, members []Member, n int) []int {
	counts := make([]int, len(members))
	for range n {
		i := a.Pick(nil)
		counts[i]++
		members[i].Release(nil)
	}
	return counts
}

func each(t *testing.T, f func(t *testing.T, k Kind)) {
	kinds := Kinds()
	if len(kinds) == 0 {
		t.Fatal("no algorithms")
	}
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) { f(t, k) })
	}
}

func TestReservesWhatItPicks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k Kind) {
		members := group(1, 2, 3)
		a := k.New(members, params)
		var sum int64
		for range 60 {
			if i := a.Pick(nil); i < 0 || i > 2 {
				t.Fatalf("picked %d", i)
			}
		}
		for _, m := range members {
			sum += m.Active.Load()
		}
		if sum != 60 {
			t.Errorf("%d reserved of 60", sum)
		}
	})
}

func TestSkipsEjectedAndDrained(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k Kind) {
		members := group(1, 0, 1, 1)
		eject(members[2])
		a := k.New(members, params)
		counts := pick(a, members, 1000)
		if counts[1] != 0 || counts[2] != 0 || counts[0] < 400 || counts[3] < 400 {
			t.Errorf("shares %v", counts)
		}
		restore(members[2])
		if counts := pick(a, members, 999); counts[2] < 250 {
			t.Errorf("shares after the restore %v", counts)
		}
		for _, m := range members {
			eject(m)
		}
		if i := a.Pick(nil); i != -1 {
			t.Errorf("picked %d though all are down", i)
		}
		var sum int64
		for _, m := range members {
			sum += m.Active.Load()
		}
		if sum != 0 {
			t.Errorf("a failed pick reserved something")
		}
	})
}

func TestUncheckedMembersAreUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k Kind) {
		members := []Member{{Weight: 1, Active: new(atomic.Int64), Queued: new(atomic.Int64), Stats: new(Stats)}}
		if i := k.New(members, params).Pick(nil); i != 0 {
			t.Errorf("picked %d", i)
		}
		if i := k.New(nil, params).Pick(nil); i != -1 {
			t.Errorf("picked %d of none", i)
		}
	})
}

func TestAvoidsTried(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k Kind) {
		members := group(5, 1, 1)
		a := k.New(members, params)
		for range 50 {
			var h Hint
			seen := map[int]bool{}
			for range 3 {
				i := a.Pick(&h)
				if seen[i] {
					t.Fatalf("member %d was picked twice while others were left", i)
				}
				seen[i] = true
				h.Tried(i)
			}
			if i := a.Pick(&h); i < 0 {
				t.Fatal("no member though all are up, only tried")
			}
			h.Reset()
			if !h.empty() {
				t.Fatal("reset left something")
			}
		}
	})
}

func TestHintForgetsTheOldest(t *testing.T) {
	t.Parallel()
	var h Hint
	for i := range 9 {
		h.Tried(i)
	}
	if h.has(0) || !h.has(1) || !h.has(8) {
		t.Error("the hint does not hold the last eight")
	}
}

func TestRoundRobinIsEven(t *testing.T) {
	t.Parallel()
	members := group(1, 9, 1, 1)
	if counts := pick(newRoundRobin(members, none), members, 400); counts[0] != 100 || counts[1] != 100 || counts[2] != 100 || counts[3] != 100 {
		t.Errorf("shares %v", counts)
	}
	eject(members[1])
	if counts := pick(newRoundRobin(members, none), members, 300); counts[0] != 100 || counts[2] != 100 || counts[3] != 100 {
		t.Errorf("shares with one down %v: its neighbour carries more", counts)
	}
}

func TestRoundRobinIsEvenUnderConcurrency(t *testing.T) {
	t.Parallel()
	members := group(1, 1, 1)
	a := newRoundRobin(members, none)
	concurrently(8, 300, func() { a.Pick(nil) })
	for i, m := range members {
		if got := m.Active.Load(); got != 800 {
			t.Errorf("member %d was picked %d times, want 800", i, got)
		}
	}
}

func TestWeightedIsExactAndSmooth(t *testing.T) {
	t.Parallel()
	for _, weights := range [][]int{{5, 1, 1}, {1}, {3, 2}, {7, 0, 3}, {1, 1, 1, 1}, {100, 1}} {
		members := group(weights...)
		a := newWeighted(members, none)
		sum := 0
		for _, w := range weights {
			sum += w
		}
		for range 3 { // any run of sum picks is exact
			for i, n := range pick(a, members, sum) {
				if n != weights[i] {
					t.Errorf("weights %v: member %d was picked %d times", weights, i, n)
				}
			}
		}
	}
	members := group(5, 1, 1)
	a := newWeighted(members, none)
	var order strings.Builder
	for range 7 {
		order.WriteByte("abc"[a.Pick(nil)])
	}
	if order.String() != "aabacaa" {
		t.Errorf("order %s is not smooth", order.String())
	}
}

func TestWeightedIsExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	members := group(5, 3, 2)
	a := newWeighted(members, none)
	concurrently(8, 250, func() { a.Pick(nil) })
	for i, m := range members {
		if got, want := m.Active.Load(), int64(members[i].Weight*200); got != want {
			t.Errorf("member %d was picked %d times, want %d", i, got, want)
		}
	}
}

func TestLeastConnectionsFillsEvenly(t *testing.T) {
	t.Parallel()
	members := group(1, 1, 1)
	members[0].Active.Store(10)
	a := newLeastConnections(members, none)
	concurrently(5, 4, func() { a.Pick(nil) }) // nobody gives back
	for i, m := range members {
		if got := m.Active.Load(); got != 10 {
			t.Errorf("member %d has %d, want 10", i, got)
		}
	}
}

func TestLeastConnectionsHonoursWeight(t *testing.T) {
	t.Parallel()
	members := group(4, 2, 1)
	a := newWeightedLeastConnections(members, none)
	concurrently(7, 100, func() { a.Pick(nil) })
	for i, m := range members {
		if got, want := m.Active.Load(), int64(members[i].Weight*100); math.Abs(float64(got-want)) > 2 {
			t.Errorf("member %d has %d, want %d", i, got, want)
		}
	}
}

func TestLeastConnectionsTakesTurnsWhenIdle(t *testing.T) {
	t.Parallel()
	members := group(1, 9, 1)
	if counts := pick(newLeastConnections(members, none), members, 300); counts[0] != 100 || counts[1] != 100 {
		t.Errorf("shares without load %v", counts)
	}
}

func TestRandomIsUniform(t *testing.T) {
	t.Parallel()
	members := group(1, 50, 1, 1)
	const n = 40_000
	sigma := math.Sqrt(n * 0.25 * 0.75)
	for i, c := range pick(newRandom(members, none), members, n) {
		if math.Abs(float64(c)-n/4) > 6*sigma {
			t.Errorf("member %d was picked %d of %d times", i, c, n)
		}
	}
}

// Members go up and down while many pick: no pick may hang, panic or leave a reservation behind.
func TestConcurrentHealthChanges(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k Kind) {
		t.Parallel()
		members := group(1, 2, 3)
		a := k.New(members, params)
		stop := make(chan struct{})
		var flipping sync.WaitGroup
		flipping.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				eject(members[i%3])
				restore(members[(i+1)%3])
			}
		})
		concurrently(4, 500, func() {
			if i := a.Pick(nil); i >= 0 {
				members[i].Release(nil)
			}
		})
		close(stop)
		flipping.Wait()
		for i, m := range members {
			if n := m.Active.Load(); n != 0 {
				t.Errorf("member %d keeps %d reservations", i, n)
			}
		}
	})
}

func concurrently(workers, times int, f func()) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range times {
				f()
			}
		})
	}
	wg.Wait()
}

func TestPickDoesNotAllocate(t *testing.T) {
	for _, k := range Kinds() {
		members := group(1, 2, 3)
		a := k.New(members, params)
		var h Hint
		if n := testing.AllocsPerRun(1000, func() {
			h.Reset()
			h.Tried(1)
			members[a.Pick(&h)].Release(&h)
			members[a.Pick(nil)].Release(nil)
		}); n != 0 {
			t.Errorf("%s: %v allocations", k.Name, n)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := New("", group(1), none); err != nil {
		t.Error(err)
	}
	if _, err := New("least-connections", group(1), none); err != nil {
		t.Error(err)
	}
	if _, err := New("magic", group(1), none); err == nil || !strings.Contains(err.Error(), "round-robin, weighted, least-connections, ") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, k := range Kinds() {
		b.Run(k.Name, func(b *testing.B) {
			members := group(1, 1, 2, 2)
			a := k.New(members, params)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					members[a.Pick(nil)].Release(nil)
				}
			})
		})
	}
}
