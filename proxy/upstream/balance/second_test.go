package balance

import (
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// A member that never answers still gets no more than its share of first choices, and the others share its second ones by their weights.
func TestSecondChoicesTakeNoTurn(t *testing.T) {
	t.Parallel()
	const rounds = 6000
	for name, tt := range map[string]struct {
		make    func([]Member, config.Balancing) Algorithm
		weights []int
		first   float64 // share of the first choices that the bad member gets
		second  float64 // share of the second choices that member 1 gets
	}{
		"two in turn":   {newRoundRobin, []int{1, 1}, 1. / 2, 1},
		"three in turn": {newRoundRobin, []int{1, 1, 1}, 1. / 3, 1. / 2},
		"by weight":     {newWeighted, []int{2, 3, 1}, 1. / 3, 3. / 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members := group(tt.weights...)
			a := tt.make(members, config.Balancing{})
			bad, one := 0, 0
			for range rounds {
				var h Hint
				i := a.Pick(&h)
				members[i].Release(&h)
				if i != 0 {
					continue
				}
				bad++
				h.Tried(0)
				if i = a.Pick(&h); i == 1 {
					one++
				}
				members[i].Release(&h)
			}
			if share := float64(bad) / rounds; share < tt.first-0.01 || share > tt.first+0.01 {
				t.Errorf("%.3f of the first choices, want %.3f", share, tt.first)
			}
			if share := float64(one) / float64(bad); share < tt.second-0.08 || share > tt.second+0.08 {
				t.Errorf("%.3f of the second choices, want %.3f", share, tt.second)
			}
		})
	}
}
