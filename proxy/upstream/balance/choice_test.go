package balance

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

func zoned(local, remote int) []Member {
	weights := make([]int, local+remote)
	for i := range weights {
		weights[i] = 1
	}
	members := group(weights...)
	for i := range members {
		members[i].Zone = "b"
		if i < local {
			members[i].Zone = "a"
		}
	}
	return members
}

func TestLocalityStaysAndSpills(t *testing.T) {
	t.Parallel()
	members := zoned(4, 4)
	a := newLocalityAware(members, config.Balancing{Zone: "a", MinLocal: 100})
	inZone := func() float64 {
		counts := pick(a, members, 8000)
		return float64(counts[0]+counts[1]+counts[2]+counts[3]) / 8000
	}
	if s := inZone(); s != 1 {
		t.Errorf("with all up %.2f stay", s)
	}
	eject(members[0])
	if s := inZone(); s < 0.70 || s > 0.80 {
		t.Errorf("with three of four up %.2f stay", s)
	}
	eject(members[1])
	eject(members[2])
	eject(members[3])
	if s := inZone(); s != 0 {
		t.Errorf("with none up %.2f stay", s)
	}
	for i := range members {
		if i < 4 {
			restore(members[i])
		} else {
			eject(members[i])
		}
	}
	eject(members[0])
	if s := inZone(); s != 1 {
		t.Errorf("with nowhere to go %.2f stay", s)
	}
	easy := newLocalityAware(members, config.Balancing{Zone: "a", MinLocal: 70})
	restore(members[5])
	if counts := pick(easy, members, 100); counts[5] != 0 {
		t.Errorf("three of four are above the minimum, and yet some leave: %v", counts)
	}
}

func TestSubsetsShareTheMembers(t *testing.T) {
	t.Parallel()
	members := zoned(12, 0)
	used := make([]int, 12)
	for number := range 9 { // three rounds of three subsets
		s := newSubset(members, config.Balancing{SubsetSize: 4, ProxyNumber: number}).(*subset)
		if len(s.mine) != 4 || len(s.others) != 8 {
			t.Fatalf("proxy %d uses %v and keeps %v", number, s.mine, s.others)
		}
		for _, i := range s.mine {
			used[i]++
		}
		if again := newSubset(members, config.Balancing{SubsetSize: 4, ProxyNumber: number}).(*subset); !slices.Equal(again.mine, s.mine) {
			t.Errorf("proxy %d changes its mind", number)
		}
	}
	for i, n := range used {
		if n != 3 {
			t.Errorf("member %d is used by %d of 9 proxies, want 3", i, n)
		}
	}
}

func TestSubsetIsUsedEvenlyAndReplaced(t *testing.T) {
	t.Parallel()
	members := zoned(10, 0)
	a := newSubset(members, config.Balancing{SubsetSize: 2, ProxyNumber: 3}).(*subset)
	counts := pick(a, members, 100)
	for i, n := range counts {
		if want := map[bool]int{true: 50}[slices.Contains(a.mine, i)]; n != want {
			t.Errorf("member %d got %d, want %d", i, n, want)
		}
	}
	eject(members[a.mine[0]])
	if counts := pick(a, members, 100); counts[a.mine[1]] != 100 {
		t.Errorf("with half of the subset down: %v", counts)
	}
	eject(members[a.mine[1]])
	total := 0
	for _, n := range pick(a, members, 80) {
		total += n
		if n != 0 && n != 10 {
			t.Errorf("the others are not used evenly: %d", n)
		}
	}
	if total != 80 {
		t.Errorf("%d of 80", total)
	}
}

func TestStickyKeepsItsMember(t *testing.T) {
	t.Parallel()
	members := group(1, 1, 1)
	a := newSticky(members, config.Balancing{Fallback: "round-robin"})
	var h Hint
	h.Stick(1)
	for range 10 {
		if i := a.Pick(&h); i != 1 {
			t.Fatalf("went to %d", i)
		}
	}
	eject(members[1])
	if i := a.Pick(&h); i == 1 || i < 0 {
		t.Errorf("with its member down it went to %d", i)
	}
	restore(members[1])
	h.Tried(1)
	if i := a.Pick(&h); i == 1 {
		t.Error("a retry went to the member that failed")
	}
	if counts := pick(a, members, 30); counts[0] != 10 || counts[1] != 10 {
		t.Errorf("strangers are placed %v", counts)
	}
}

func TestSlowStartGrows(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k Kind) {
		p := params
		p.SlowStart, p.LoadFactor = time.Hour, 0
		members := group(1, 1, 1)
		a, err := New(k.Name, members, p)
		if err != nil {
			t.Fatal(err)
		}
		share := func(age time.Duration) float64 {
			members[1].Ramp.Store(time.Now().Add(-age).UnixNano())
			n := 0
			var h Hint
			for key := range 6000 {
				h.Reset()
				h.SetKey(mix(uint64(key), 7))
				i := a.Pick(&h)
				members[i].Release(nil)
				if i == 1 {
					n++
				}
			}
			return float64(n) / 6000
		}
		if s := share(0); s < 0.01 || s > 0.12 {
			t.Errorf("at first it gets %.3f", s)
		}
		if s := share(30 * time.Minute); s < 0.10 || s > 0.24 {
			t.Errorf("halfway it gets %.3f", s)
		}
		if s := share(2 * time.Hour); s < 0.26 || s > 0.40 {
			t.Errorf("warm it gets %.3f", s)
		}
		if members[1].Ramp.Load() != 0 {
			t.Error("it is warm and still counts as cold")
		}
	})
}

func TestSlowStartServesWhenAllAreCold(t *testing.T) {
	t.Parallel()
	p := params
	p.SlowStart = time.Hour
	members := group(1, 1)
	for i := range members {
		members[i].Ramp.Store(time.Now().UnixNano())
	}
	a, _ := New("round-robin", members, p)
	var h Hint
	for range 100 {
		h.Reset()
		i := a.Pick(&h)
		if i < 0 {
			t.Fatal("nobody takes the request")
		}
		members[i].Release(nil)
	}
	if n := members[0].Active.Load() + members[1].Active.Load(); n != 0 {
		t.Errorf("%d reservations are left", n)
	}
}

func TestEjectedBlockedAndPanic(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, k Kind) {
		members := group(1, 1, 1)
		members[0].Ejected.Store(true)
		members[1].Blocked.Store(true)
		a := k.New(members, params)
		if counts := pick(a, members, 60); counts[2] != 60 {
			t.Errorf("shares %v", counts)
		}
		eject(members[2])
		if i := a.Pick(nil); i != -1 {
			t.Errorf("picked %d", i)
		}
		members[0].Panic.Store(true)
		if counts := pick(a, members, 300); counts[1] != 0 || counts[0] < 60 || counts[2] < 60 {
			t.Errorf("shares in panic %v: health must not count, an open circuit must", counts)
		}
	})
}

func TestSlowStartDoesNotAllocate(t *testing.T) {
	p := params
	p.SlowStart = time.Hour
	members := group(1, 1, 1)
	members[1].Ramp = new(atomic.Int64)
	members[1].Ramp.Store(time.Now().UnixNano())
	a, _ := New("round-robin", members, p)
	var h Hint
	if n := testing.AllocsPerRun(1000, func() {
		h.Reset()
		members[a.Pick(&h)].Release(&h)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
