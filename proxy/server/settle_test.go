package server

import "testing"

func TestBurstIsSettledOnceWhenItIsOver(t *testing.T) {
	var k settling
	opened := uint32(0)
	rounds := func(n int, each uint32) (settled int) {
		for range n {
			opened += each
			if k.over(opened) {
				settled++
			}
		}
		return settled
	}
	for _, step := range []struct {
		what   string
		rounds int
		each   uint32
		want   int
	}{
		{"few connections", 100, burstTrickle - 1, 2}, // 2,400 in all, slowly: every burstSize of them
		{"silence", 100, 0, 0},
		{"a burst that goes on", 50, 200, 0},
		{"its end", settleRounds, 0, 1},
		{"silence after it", 100, 0, 0},
		{"a small burst", 1, burstSize - 1, 0},
		{"its end", 100, 0, 0},
		{"one more connection", 1, 1, 1},
	} {
		if got := rounds(step.rounds, step.each); got != step.want {
			t.Errorf("%s: settled %d times, want %d", step.what, got, step.want)
		}
	}
}
