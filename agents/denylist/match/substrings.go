package match

import (
	"bytes"
	"fmt"
	"slices"
)

// Substrings finds any of many texts inside another one in a single pass, without regard to ASCII case (the automaton of Aho and Corasick).
//
// The nodes of the trie are numbered breadth first, so the children of a node are neighbours and 13 bytes a node are enough.
type Substrings struct {
	bytes int      // in all texts
	texts []string // lower case, sorted, distinct after Finish

	label []byte   // byte that leads to the node
	first []uint32 // children of node i are first[i] to first[i+1]-1, labels ascending
	fail  []uint32 // longest proper suffix that is a node too
	found []int32  // text that ends here, or at the nearest fail that ends one; -1 = none
	root  [256]uint32
}

// maxTextBytes bounds the automaton: about 13 bytes of memory for each, beside the texts.
const maxTextBytes = 4 << 20

// Add adds a text.
func (s *Substrings) Add(entry []byte) error {
	if len(entry) == 0 {
		return fmt.Errorf("an empty text is in everything")
	}
	if s.bytes += len(entry); s.bytes > maxTextBytes {
		return fmt.Errorf("more than %d bytes of text", maxTextBytes)
	}
	s.texts = append(s.texts, lowerASCII(string(entry)))
	return nil
}

// Finish builds the automaton.
func (s *Substrings) Finish() {
	slices.Sort(s.texts)
	s.texts = slices.Compact(s.texts)
	s.grow()
	s.link()
}

// span is the run of texts that share the path to a node.
type span struct{ from, to, depth int }

// grow lays the trie out breadth first.
func (s *Substrings) grow() {
	spans := []span{{0, len(s.texts), 0}}
	s.label = []byte{0}
	for i := 0; i < len(spans); i++ {
		sp := spans[i]
		found := int32(-1)
		if sp.from < sp.to && len(s.texts[sp.from]) == sp.depth {
			found = int32(sp.from)
			sp.from++
		}
		s.found = append(s.found, found)
		s.first = append(s.first, uint32(len(spans)))
		for from := sp.from; from < sp.to; {
			c := s.texts[from][sp.depth]
			to := from + 1
			for to < sp.to && s.texts[to][sp.depth] == c {
				to++
			}
			spans = append(spans, span{from, to, sp.depth + 1})
			s.label = append(s.label, c)
			from = to
		}
	}
	s.first = append(s.first, uint32(len(spans)))
}

// link sets the fail links, parents first: breadth-first numbers make that the order of the nodes.
func (s *Substrings) link() {
	s.fail = make([]uint32, len(s.label))
	for c := s.first[0]; c < s.first[1]; c++ {
		s.root[s.label[c]] = c
	}
	for parent := 1; parent < len(s.label); parent++ {
		for c := s.first[parent]; c < s.first[parent+1]; c++ {
			s.fail[c] = s.step(s.fail[parent], s.label[c])
			if s.found[c] < 0 {
				s.found[c] = s.found[s.fail[c]]
			}
		}
	}
}

// step follows one byte from a node.
func (s *Substrings) step(node uint32, c byte) uint32 {
	for node != 0 {
		from, to := s.first[node], s.first[node+1]
		if i := bytes.IndexByte(s.label[from:to], c); i >= 0 {
			return from + uint32(i)
		}
		node = s.fail[node]
	}
	return s.root[c]
}

// Len returns the number of distinct entries.
func (s *Substrings) Len() int { return len(s.texts) }

// Match returns the entry that ends first in text.
func (s *Substrings) Match(text string) (string, bool) {
	if len(s.texts) == 0 {
		return "", false
	}
	node := uint32(0)
	for i := range len(text) {
		node = s.step(node, lowerByte(text[i]))
		if f := s.found[node]; f >= 0 {
			return s.texts[f], true
		}
	}
	return "", false
}
