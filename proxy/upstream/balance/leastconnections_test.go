package balance

import "testing"

// Requests of very different size that nobody answers: what waits stays even per weight, whereas their number does not.
func TestLeastTokensEvensWork(t *testing.T) {
	t.Parallel()
	members := group(1, 1, 2)
	a := newLeastTokensQueued(members, none)
	var h Hint
	for i := range 4000 {
		h.Reset()
		h.SetTokens(int64(1 + i*7919%1000))
		a.Pick(&h)
	}
	unit := float64(members[0].Queued.Load()+members[1].Queued.Load()+members[2].Queued.Load()) / 4
	for i, m := range members {
		if got := float64(m.Queued.Load()) / float64(m.Weight); got < unit-1000 || got > unit+1000 { // never further apart than the largest request
			t.Errorf("member %d has %.0f tokens per weight, the mean is %.0f", i, got, unit)
		}
	}
	members[2].Queued.Add(1 << 40)
	if counts := pick(a, members, 100); counts[2] != 0 {
		t.Errorf("the busiest got %d", counts[2])
	}
}
