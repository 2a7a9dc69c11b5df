package literal

import (
	"fmt"
	"slices"
)

// Automaton finds, in one pass over a text, which of many literals it holds: a deterministic one after Aho and Corasick, over classes of bytes.
type Automaton struct {
	class  [256]uint32
	stride uint32
	next   []uint32  // by state and class: the next state times stride, with found when something ends there
	ends   [][]int32 // by state: the literals that end there
}

// found marks states in which a literal ends.
const found = 1 << 31

// maxStates bounds the memory of an automaton.
const maxStates = 400_000

// Build makes an automaton of literals, which are in lower case and not empty.
func Build(literals []string) (*Automaton, error) {
	a := &Automaton{}
	if err := a.classify(literals); err != nil {
		return nil, err
	}
	states := beginnings(literals)
	if states > maxStates {
		return nil, fmt.Errorf("%d states are more than %d", states, maxStates)
	}
	a.next, a.ends = make([]uint32, uint32(states)*a.stride), make([][]int32, states)
	used := uint32(1)
	for id, l := range literals {
		at := uint32(0)
		for i := range len(l) {
			cell := at*a.stride + a.class[l[i]]
			if a.next[cell] == 0 {
				a.next[cell] = used
				used++
			}
			at = a.next[cell]
		}
		a.ends[at] = append(a.ends[at], int32(id))
	}
	a.link()
	return a, nil
}

// classify gives each byte that occurs a class of its own, and class 0 to all others.
func (a *Automaton) classify(literals []string) error {
	a.stride = 1
	for _, l := range literals {
		if l == "" || l != Fold(l) {
			return fmt.Errorf("literal %q is empty or not in lower case", l)
		}
		for i := range len(l) {
			if a.class[l[i]] == 0 {
				a.class[l[i]] = a.stride
				a.stride++
			}
		}
	}
	for c := byte('A'); c <= 'Z'; c++ {
		a.class[c] = a.class[lower(c)]
	}
	return nil
}

// beginnings returns how many different beginnings the literals have, the empty one included.
func beginnings(literals []string) int {
	n, before := 1, ""
	for _, l := range slices.Sorted(slices.Values(literals)) {
		same := 0
		for same < len(l) && same < len(before) && l[same] == before[same] {
			same++
		}
		n += len(l) - same
		before = l
	}
	return n
}

// link turns the tree of states into a table, breadth first: where a state has no child it goes on as the longest end of it that is a state as well, which lies on a level above.
func (a *Automaton) link() {
	fail := make([]uint32, len(a.ends))
	queue := make([]uint32, 1, len(a.ends))
	for i := 0; i < len(queue); i++ {
		at := queue[i]
		row, other := a.next[at*a.stride:][:a.stride], a.next[fail[at]*a.stride:][:a.stride]
		a.ends[at] = append(a.ends[at], a.ends[fail[at]]...)
		for c, to := range row {
			switch {
			case to == 0 && at != 0:
				row[c] = other[c]
			case to != 0:
				if at != 0 {
					fail[to] = other[c]
				}
				queue = append(queue, to)
			}
		}
	}
	for i, to := range a.next {
		if a.next[i] = to * a.stride; len(a.ends[to]) > 0 {
			a.next[i] |= found
		}
	}
}

// Size returns the number of states, and of bytes of the table.
func (a *Automaton) Size() (states, bytes int) { return len(a.ends), len(a.next) * 4 }

// Scan calls at for every place in the text where literals end, with their numbers, until that returns false.
func (a *Automaton) Scan(text string, at func(ids []int32) bool) {
	s := uint32(0)
	for i := range len(text) {
		s = a.next[s+a.class[text[i]]]
		if s&found == 0 {
			continue
		}
		if s &^= found; !at(a.ends[s/a.stride]) {
			return
		}
	}
}
