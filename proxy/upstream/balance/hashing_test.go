package balance

import (
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// hashing are the algorithms that place by a key.
func hashing(t *testing.T, f func(t *testing.T, make func([]Member) Algorithm)) {
	t.Helper()
	unbounded := params
	unbounded.LoadFactor = 0
	for _, name := range []string{"ip-hash", "consistent-hash", "maglev"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, func(members []Member) Algorithm {
				a, err := New(name, members, unbounded)
				if err != nil {
					t.Fatal(err)
				}
				return a
			})
		})
	}
}

// place asks for the member of each of n clients.
func place(a Algorithm, members []Member, n int) []int {
	out := make([]int, n)
	for k := range n {
		var h Hint
		h.SetKey(HashAddr(netip.AddrFrom4([4]byte{192, 0, byte(k >> 8), byte(k)})))
		out[k] = a.Pick(&h)
		if out[k] >= 0 {
			members[out[k]].Release(nil)
		}
	}
	return out
}

const clients = 20_000

func TestHashesAreStable(t *testing.T) {
	t.Parallel()
	hashing(t, func(t *testing.T, make func([]Member) Algorithm) {
		one, two := group(1, 1, 1, 1, 1), group(1, 1, 1, 1, 1)
		first, again := make(one), make(two)
		p, q := place(first, one, clients), place(again, two, clients)
		for k := range p {
			if p[k] != q[k] {
				t.Fatalf("client %d is at %d and at %d", k, p[k], q[k])
			}
		}
	})
}

func TestHashesShareByWeight(t *testing.T) {
	t.Parallel()
	hashing(t, func(t *testing.T, make func([]Member) Algorithm) {
		for _, weights := range [][]int{{1, 1, 1, 1}, {3, 1}, {5, 0, 2, 3}} {
			members := group(weights...)
			counts, sum := [8]int{}, 0
			for _, i := range place(make(members), members, clients) {
				counts[i]++
			}
			for _, w := range weights {
				sum += w
			}
			for i, w := range weights {
				want := float64(clients*w) / float64(sum)
				if math.Abs(float64(counts[i])-want) > 0.15*want { // 300 points per weight leave a spread of about 6 %
					t.Errorf("weights %v: member %d has %d clients, want about %.0f", weights, i, counts[i], want)
				}
			}
		}
	})
}

// A member that goes down moves its own clients only, and spreads them; they come back to it.
func TestHashesMoveOnlyWhatMust(t *testing.T) {
	t.Parallel()
	hashing(t, func(t *testing.T, make func([]Member) Algorithm) {
		members := group(1, 1, 1, 1, 1)
		a := make(members)
		before := place(a, members, clients)
		eject(members[2])
		moved := [5]int{}
		for k, i := range place(a, members, clients) {
			switch {
			case i == 2:
				t.Fatal("an ejected member was picked")
			case before[k] != 2 && i != before[k]:
				t.Fatalf("client %d moved from %d to %d though neither went down", k, before[k], i)
			case before[k] == 2:
				moved[i]++
			}
		}
		for i, n := range moved {
			if i != 2 && n < clients/5/4/2 {
				t.Errorf("member %d took %d of the clients of the one that left: they are not spread", i, n)
			}
		}
		restore(members[2])
		for k, i := range place(a, members, clients) {
			if i != before[k] {
				t.Fatalf("client %d did not come back", k)
			}
		}
	})
}

// A member that leaves the configuration moves its own clients; maglev may move a few more.
func TestHashesAreMinimalOverReloads(t *testing.T) {
	t.Parallel()
	hashing(t, func(t *testing.T, make func([]Member) Algorithm) {
		members := group(1, 1, 1, 1, 1, 1, 1, 1)
		before := place(make(members), members, clients)
		left := append(append([]Member{}, members[:3]...), members[4:]...)
		moved := 0
		for k, i := range place(make(left), left, clients) {
			if i >= 3 {
				i++
			}
			if before[k] != 3 && i != before[k] {
				moved++
			}
		}
		if moved > clients*4/100 {
			t.Errorf("%d of %d clients of members that stayed have moved", moved, clients)
		}
	})
}

func TestConsistentHashBoundsTheLoad(t *testing.T) {
	t.Parallel()
	members := group(1, 1, 1, 1)
	a := newConsistentHash(members, params)
	for range 400 { // one hot key; nobody gives back
		var h Hint
		h.SetKey(42)
		a.Pick(&h)
	}
	for i, m := range members {
		if n := m.Active.Load(); n > 126 { // 125 % of 100, one more by rounding up
			t.Errorf("member %d has %d of 400", i, n)
		}
	}
	members = group(1, 1, 1, 1)
	unbounded := params
	unbounded.LoadFactor = 0
	a = newConsistentHash(members, unbounded)
	for range 400 {
		var h Hint
		h.SetKey(42)
		a.Pick(&h)
	}
	highest := int64(0)
	for _, m := range members {
		highest = max(highest, m.Active.Load())
	}
	if highest != 400 {
		t.Errorf("without a bound the key has spread: %d at most", highest)
	}
}

func TestConsistentHashRingIsBounded(t *testing.T) {
	t.Parallel()
	members := group(10_000, 10_000, 1)
	a := newConsistentHash(members, config.Balancing{VirtualNodes: 10_000}).(*consistentHash)
	if len(a.ring) > maxRing+len(members) {
		t.Errorf("%d points", len(a.ring))
	}
	small := 0
	for _, p := range a.ring {
		if p.member == 2 {
			small++
		}
	}
	if small == 0 {
		t.Error("a member of little weight has no point")
	}
}

func TestMaglevTableIsExact(t *testing.T) {
	t.Parallel()
	members := group(2, 1, 1)
	a := newMaglev(members, config.Balancing{TableSize: 65537}).(*maglev)
	counts := [3]int{}
	for _, i := range a.table {
		counts[i]++
	}
	for i, m := range members {
		if want := 65537 * m.Weight / 4; counts[i] < want-2 || counts[i] > want+2 {
			t.Errorf("member %d has %d places, want %d", i, counts[i], want)
		}
	}
}

func TestMappedAddressIsTheSameClient(t *testing.T) {
	t.Parallel()
	if HashAddr(netip.MustParseAddr("192.0.2.1")) != HashAddr(netip.MustParseAddr("::ffff:192.0.2.1")) {
		t.Error("one client has two keys")
	}
	if HashAddr(netip.MustParseAddr("192.0.2.1")) == HashAddr(netip.MustParseAddr("192.0.2.2")) {
		t.Error("two clients have one key")
	}
}

func TestEqualNamesAreDifferentMembers(t *testing.T) {
	t.Parallel()
	members := group(1, 1)
	members[1].Name = members[0].Name
	counts := [2]int{}
	for _, i := range place(newIPHash(members, none), members, 1000) {
		counts[i]++
	}
	if counts[0] < 300 || counts[1] < 300 {
		t.Errorf("shares %v", fmt.Sprint(counts))
	}
}
