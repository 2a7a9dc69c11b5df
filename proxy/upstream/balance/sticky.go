package balance

import "github.com/sentinel-stack/sentinel/proxy/config"

// sticky sends a client to the member it was sent to before, which the hint names, and lets another algorithm place everybody else.
type sticky struct {
	members  []Member
	fallback Algorithm
}

func newSticky(members []Member, p config.Balancing) Algorithm {
	k, err := Find(p.Fallback)
	if err != nil || k.Name == "sticky" { // the configuration allows neither
		k = Kinds()[0]
	}
	return &sticky{members: members, fallback: k.New(members, p)}
}

func (a *sticky) Pick(h *Hint) int {
	if h != nil && h.sticky > 0 {
		if i := int(h.sticky) - 1; i < len(a.members) && a.members[i].free(h, i) {
			return reserve(a.members, i, h)
		}
	}
	return a.fallback.Pick(h)
}
