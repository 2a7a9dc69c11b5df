package balance

// nthOf is nth among the members whose indices are in list; it does not relax the hint.
func nthOf(members []Member, list []int, h *Hint, k uint64) int {
	for n := countOf(members, list, h); n > 0; n-- {
		rest := int(k % uint64(n))
		for _, i := range list {
			if members[i].free(h, i) {
				if rest == 0 {
					return i
				}
				rest--
			}
		}
	}
	return -1
}

func countOf(members []Member, list []int, h *Hint) int {
	n := 0
	for _, i := range list {
		if members[i].free(h, i) {
			n++
		}
	}
	return n
}
