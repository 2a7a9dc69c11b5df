package balance

import (
	"math/rand/v2"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// twoChoices draws two members and takes the one with fewer exchanges per weight. That is nearly as even as comparing all of them, and many proxies that
// do it do not all run to the same idle member.
type twoChoices struct{ members []Member }

func newTwoChoices(members []Member, _ config.Balancing) Algorithm {
	return &twoChoices{members: members}
}

func (a *twoChoices) Pick(h *Hint) int {
	i, j := two(a.members, h)
	if i < 0 || j < 0 {
		return reserve(a.members, i, h)
	}
	x, y := &a.members[i], &a.members[j]
	if (y.Active.Load()+1)*int64(x.Weight) < (x.Active.Load()+1)*int64(y.Weight) {
		i = j
	}
	return reserve(a.members, i, h)
}

// two draws two different members that are free; j is -1 when there is only one, i when there is none.
func two(members []Member, h *Hint) (i, j int) {
	n := 0
	for k := range members {
		if members[k].free(h, k) {
			n++
		}
	}
	switch n {
	case 0:
		if h.relax() {
			return two(members, h)
		}
		return -1, -1
	case 1:
		return nth(members, h, 0), -1
	}
	x, y := rand.IntN(n), rand.IntN(n-1)
	first, second := x, y
	if y >= x {
		second++
	} else {
		first, second = y, x
	}
	i, j = -1, -1
	for k := range members {
		if !members[k].free(h, k) {
			continue
		}
		switch {
		case i < 0 && first == 0:
			i = k
		case second == 0:
			j = k
		}
		first, second = first-1, second-1
		if j >= 0 {
			break
		}
	}
	if i >= 0 && j >= 0 && rand.Uint32()&1 == 0 { // who stands first in the file wins no tie
		i, j = j, i
	}
	if i < 0 { // members went down meanwhile
		return nth(members, h, rand.Uint64()), -1
	}
	return i, j
}
