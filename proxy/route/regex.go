package route

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"slices"
)

// regexIndex finds the expressions that can match a path without running all of them. An expression is filed under a
// literal it cannot match without: one it begins with, one it ends with, or one it contains. The first two are hashed and
// probed once per distinct length, the third are found by one walk over the path (see literalSet).
type regexIndex struct {
	prefixes affixes
	suffixes affixes
	inner    literalSet
	rest     []regexEntry // no literal: all are tried
}

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

// insert files an expression. Entries come in order.
func (x *regexIndex) insert(expression string, e entry) error {
	re, err := regexp.Compile(expression)
	if err != nil {
		return err
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return err
	}
	entry := regexEntry{e, re}
	prefix, suffix, inner := literals(tree)
	switch {
	case prefix != "" && len(prefix) >= len(suffix):
		x.prefixes.insert(prefix, entry)
	case suffix != "":
		x.suffixes.insert(suffix, entry)
	case inner != "":
		x.inner.insert(inner, entry)
	default:
		x.rest = append(x.rest, entry)
	}
	return nil
}

// literals finds strings without which the expression cannot match: at the very begin, at the very end, and the longest
// anywhere. Only a concatenation at the top is looked into; what is not understood yields "", which is always right.
func literals(tree *syntax.Regexp) (prefix, suffix, inner string) {
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
		literal := string(part.Rune)
		if i == 1 && parts[0].Op == syntax.OpBeginText {
			prefix = literal
		}
		if i == len(parts)-2 && parts[i+1].Op == syntax.OpEndText {
			suffix = literal
		}
		if len(literal) > len(inner) {
			inner = literal
		}
	}
	return prefix, suffix, inner
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

// literalSet finds which of many literals occur in a path: by the hash of the first gramBytes bytes of each literal at
// every position of the path. Literals shorter than that are searched one by one; there are few distinct ones.
type literalSet struct {
	grams map[[gramBytes]byte][]*literalGroup
	short []*literalGroup
	all   map[string]*literalGroup
}

const gramBytes = 4

type literalGroup struct {
	literal string
	entries []regexEntry
}

func (l *literalSet) empty() bool { return l.all == nil }

func (l *literalSet) insert(literal string, e regexEntry) {
	if l.all == nil {
		l.all = map[string]*literalGroup{}
		l.grams = map[[gramBytes]byte][]*literalGroup{}
	}
	group := l.all[literal]
	if group == nil {
		group = &literalGroup{literal: literal}
		l.all[literal] = group
		if len(literal) < gramBytes {
			l.short = append(l.short, group)
		} else {
			gram := [gramBytes]byte([]byte(literal)[len(literal)-gramBytes:])
			l.grams[gram] = append(l.grams[gram], group)
		}
	}
	group.entries = append(group.entries, e)
}

func (l *literalSet) search(s *search, path []byte) {
	if l.all == nil {
		return
	}
	for end := gramBytes; end <= len(path); end++ {
		for _, group := range l.grams[[gramBytes]byte(path[end-gramBytes:end])] {
			if n := len(group.literal); n <= end && string(path[end-n:end]) == group.literal {
				s.regexes(group.entries, path)
			}
		}
	}
	for _, group := range l.short {
		if bytes.Contains(path, []byte(group.literal)) {
			s.regexes(group.entries, path)
		}
	}
}
