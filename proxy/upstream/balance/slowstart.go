package balance

import (
	"math/rand/v2"
	"time"
)

const (
	leastRamp = 0.1 // the share of its requests that a member gets when its slow start begins
	maxPasses = 4   // how many cold members are passed over for one request
)

// slowStart spares a member that has just come back: for a while it keeps only a part of the requests that the algorithm gives it, a part that grows evenly. The algorithm places the others as if
// the member had been tried, so slow start goes with every one of them.
type slowStart struct {
	algorithm Algorithm
	members   []Member
	duration  time.Duration
}

func newSlowStart(a Algorithm, members []Member, d time.Duration) Algorithm {
	return &slowStart{algorithm: a, members: members, duration: d}
}

func (a *slowStart) Pick(h *Hint) int {
	i := a.algorithm.Pick(h)
	if i < 0 || h == nil || a.warm(i) {
		return i
	}
	before := *h
	for range maxPasses {
		h.Tried(i)
		next := a.algorithm.Pick(h)
		if next < 0 || next == i || h.again { // nobody else is left
			if next >= 0 {
				a.members[next].Release(h)
			}
			break
		}
		a.members[i].Release(h)
		if i = next; a.warm(i) {
			break
		}
	}
	*h = before
	return i
}

// warm decides whether the member takes this request.
func (a *slowStart) warm(i int) bool {
	ramp := a.members[i].Ramp
	if ramp == nil {
		return true
	}
	began := ramp.Load()
	if began == 0 {
		return true
	}
	share := float64(time.Now().UnixNano()-began) / float64(a.duration)
	if share >= 1 {
		ramp.CompareAndSwap(began, 0)
		return true
	}
	return rand.Float64() < max(leastRamp, share)
}

// Tick passes on.
func (a *slowStart) Tick(now time.Time) {
	if t, ok := a.algorithm.(Ticker); ok {
		t.Tick(now)
	}
}
