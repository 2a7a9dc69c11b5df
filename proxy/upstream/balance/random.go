package balance

import (
	"math/rand/v2"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// random takes any member with the same chance, whatever its weight.
type random struct{ members []Member }

func newRandom(members []Member, _ config.Balancing) Algorithm { return &random{members: members} }

func (a *random) Pick(h *Hint) int { return reserve(a.members, nth(a.members, h, rand.Uint64()), h) }
