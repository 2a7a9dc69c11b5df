package balance

import "github.com/sentinel-stack/sentinel/proxy/config"

// probes is how many places of the table are looked at for a member that is free.
const probes = 64

// maglev looks the key up in a table in which the members take turns choosing places, each by its own order (Eisenbud et al., NSDI 2016). Every member has its exact share of the
// table, and a lookup costs the same however many there are. A key whose member is down goes to the next place of its own path, so the keys of others do not move.
type maglev struct {
	members []Member
	table   []int32
}

func newMaglev(members []Member, p config.Balancing) Algorithm {
	a := &maglev{members: members}
	highest := 0
	for i := range members {
		highest = max(highest, members[i].Weight)
	}
	if highest > 0 {
		a.fill(p.TableSize, highest)
	}
	return a
}

// fill gives out the places. A member of less than the highest weight sits out rounds in proportion.
func (a *maglev) fill(size, highest int) {
	a.table = make([]int32, size)
	for i := range a.table {
		a.table[i] = -1
	}
	hashes := names(a.members)
	next, taken := make([]uint64, len(a.members)), make([]int, len(a.members))
	for round, filled := 1, 0; ; round++ {
		for i := range a.members {
			if taken[i]*highest >= round*a.members[i].Weight {
				continue
			}
			offset, skip := hashes[i]%uint64(size), mix(hashes[i], 1)%uint64(size-1)+1
			at := (offset + next[i]*skip) % uint64(size)
			for a.table[at] >= 0 {
				next[i]++
				at = (offset + next[i]*skip) % uint64(size)
			}
			a.table[at] = int32(i)
			next[i]++
			taken[i]++
			if filled++; filled == size {
				return
			}
		}
	}
}

func (a *maglev) Pick(h *Hint) int {
	if len(a.table) == 0 {
		return -1
	}
	key, size := h.hash(), uint64(len(a.table))
	at, step := key%size, mix(key, 2)%(size-1)+1
	for range probes {
		if i := int(a.table[at]); a.members[i].free(h, i) {
			return reserve(a.members, i, h)
		}
		at = (at + step) % size
	}
	return reserve(a.members, nth(a.members, h, key), h) // nearly all are down
}
