package route

import (
	"cmp"
	"regexp"
	"regexp/syntax"
	"slices"
)

// regexIndex finds the expressions that can match a path without running all of them. An expression is filed under one
// literal it cannot match without: one it begins with, one it ends with, or one it contains, whichever the fewest other
// expressions share. The first two are hashed and probed once per distinct length, the third are found by one walk over
// the path. Entries are collected by insert and filed by close.
type regexIndex struct {
	pending  []pendingRegex
	prefixes affixes
	suffixes affixes
	inner    automaton
	rest     []regexEntry // no literal: all are tried
}

// pendingRegex is an expression that is not filed yet.
type pendingRegex struct {
	regexEntry
	literals []literal
}

// literal is a string without which an expression cannot match.
type literal struct {
	place place
	text  string
}

// place says where in the path a literal must be.
type place uint8

const (
	atStart place = iota
	atEnd
	anywhere
)

// regexEntry is an entry with its expression.
type regexEntry struct {
	entry
	re *regexp.Regexp
}

// affixes files expressions under a literal at one end of the path.
type affixes struct {
	entries map[string][]regexEntry
	lengths []int // distinct lengths of the literals, descending
}

func (a *affixes) insert(literal string, e regexEntry) {
	if a.entries == nil {
		a.entries = map[string][]regexEntry{}
	}
	a.entries[literal] = append(a.entries[literal], e)
	at, found := slices.BinarySearchFunc(a.lengths, len(literal), func(a, b int) int { return b - a })
	if !found {
		a.lengths = slices.Insert(a.lengths, at, len(literal))
	}
}

func (x *regexIndex) empty() bool {
	return x.prefixes.entries == nil && x.suffixes.entries == nil && x.rest == nil && x.inner.empty()
}

// insert collects an expression. Entries come in order.
func (x *regexIndex) insert(expression string, e entry) error {
	re, err := regexp.Compile(expression)
	if err != nil {
		return err
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return err
	}
	x.pending = append(x.pending, pendingRegex{regexEntry{e, re}, literals(tree)})
	return nil
}

// close files the collected expressions; nothing may be inserted afterwards.
func (x *regexIndex) close() {
	shared := map[literal]int{}
	for _, p := range x.pending {
		for _, l := range p.literals {
			shared[l]++
		}
	}
	for _, p := range x.pending {
		if len(p.literals) == 0 {
			x.rest = append(x.rest, p.regexEntry)
			continue
		}
		key := slices.MinFunc(p.literals, func(a, b literal) int {
			return cmp.Or(cmp.Compare(shared[a], shared[b]), cmp.Compare(a.place, b.place), cmp.Compare(len(b.text), len(a.text)))
		})
		switch key.place {
		case atStart:
			x.prefixes.insert(key.text, p.regexEntry)
		case atEnd:
			x.suffixes.insert(key.text, p.regexEntry)
		default:
			x.inner.insert(key.text, p.regexEntry)
		}
	}
	x.inner.close()
	x.pending = nil
}

// literals finds strings without which an expression cannot match. Only a concatenation at the top is looked into; what
// is not understood contributes nothing, which is always right.
func literals(tree *syntax.Regexp) (found []literal) {
	for tree.Op == syntax.OpCapture {
		tree = tree.Sub[0]
	}
	parts := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpConcat {
		parts = tree.Sub
	}
	for i, part := range parts {
		if part.Op == syntax.OpCapture {
			part = part.Sub[0]
		}
		if part.Op != syntax.OpLiteral || part.Flags&syntax.FoldCase != 0 {
			continue
		}
		text := string(part.Rune)
		switch {
		case i == 1 && parts[0].Op == syntax.OpBeginText:
			found = append(found, literal{atStart, text})
		case i == len(parts)-2 && parts[i+1].Op == syntax.OpEndText:
			found = append(found, literal{atEnd, text})
		default:
			found = append(found, literal{anywhere, text})
		}
	}
	return found
}

// search looks for a better entry among the expressions that can match path.
func (x *regexIndex) search(s *search, path []byte) {
	for _, n := range x.prefixes.lengths {
		if n <= len(path) {
			s.regexes(x.prefixes.entries[string(path[:n])], path)
		}
	}
	for _, n := range x.suffixes.lengths {
		if n <= len(path) {
			s.regexes(x.suffixes.entries[string(path[len(path)-n:])], path)
		}
	}
	x.inner.search(s, path)
	s.regexes(x.rest, path)
}

// regexes is search.list for expressions.
func (s *search) regexes(entries []regexEntry, path []byte) {
	for i := range entries {
		e := &entries[i]
		if e.order >= s.best.order {
			return
		}
		if s.table.routes[e.route].accept(s.query) && e.re.Match(path) {
			s.best = e.entry
			return
		}
	}
}
