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

// node is a state while the automaton is being built.
type node struct {
	to   map[byte]int
	fail int
	ends []int32
}

// Build makes an automaton of literals, which are in lower case and not empty.
func Build(literals []string) (*Automaton, error) {
	nodes := []node{{to: map[byte]int{}}}
	a := &Automaton{}
	classes := uint32(1)
	for id, l := range literals {
		if l == "" || l != Fold(l) {
			return nil, fmt.Errorf("literal %q is empty or not in lower case", l)
		}
		at := 0
		for i := range len(l) {
			if a.class[l[i]] == 0 {
				a.class[l[i]] = classes
				classes++
			}
			to, known := nodes[at].to[l[i]]
			if !known {
				to = len(nodes)
				nodes[at].to[l[i]] = to
				nodes = append(nodes, node{to: map[byte]int{}})
			}
			at = to
		}
		nodes[at].ends = append(nodes[at].ends, int32(id))
	}
	if len(nodes) > maxStates {
		return nil, fmt.Errorf("%d states are more than %d", len(nodes), maxStates)
	}
	for c := byte('A'); c <= 'Z'; c++ {
		a.class[c] = a.class[lower(c)]
	}
	a.stride = classes
	a.link(nodes)
	return a, nil
}

// link turns the tree into a table, breadth first: a state's failures lie on levels above it.
func (a *Automaton) link(nodes []node) {
	a.next = make([]uint32, uint32(len(nodes))*a.stride)
	a.ends = make([][]int32, len(nodes))
	queue := []int{0}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		n := &nodes[at]
		row := a.next[uint32(at)*a.stride:][:a.stride]
		if at != 0 {
			copy(row, a.next[uint32(n.fail)*a.stride:][:a.stride])
			n.ends = append(slices.Clone(n.ends), nodes[n.fail].ends...)
		}
		for c, to := range n.to {
			if at != 0 {
				nodes[to].fail = int((a.next[uint32(n.fail)*a.stride+a.class[c]] &^ found) / a.stride)
			}
			queue = append(queue, to)
		}
		for c, to := range n.to {
			row[a.class[c]] = uint32(to) * a.stride
		}
		a.ends[at] = n.ends
	}
	for i, to := range a.next {
		if len(a.ends[to/a.stride]) > 0 {
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
