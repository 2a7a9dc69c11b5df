package literal

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// need is what is known about the texts an expression matches.
type need struct {
	exact   []string // every text it matches, in lower case; nil when they are too many or not known
	prefix  []string // one of these begins each; nil when nothing is known
	suffix  []string // one of these ends each
	clauses []Clause // all of these are met by each
}

// maxExact bounds the lists of texts.
const (
	maxExact  = 64
	maxAffix  = 16
	maxChoice = 1200 // of alternatives of constant texts
)

// Require returns conditions that every text meets in which the expression matches somewhere, or nothing when no condition is worth looking for.
func Require(expression string) ([]Clause, error) {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, err
	}
	n := analyse(re)
	return best(n.all()), nil
}

// all are the clauses, with what the lists of texts say.
func (n *need) all() []Clause {
	out := slices.Clone(n.clauses)
	for _, list := range [][]string{n.exact, n.prefix, n.suffix} {
		if c, ok := clauseOf(list); ok {
			out = append(out, c)
		}
	}
	return out
}

func clauseOf(list []string) (c Clause, ok bool) {
	for _, s := range list {
		if s == "" {
			return c, false
		}
		if len(s) > maxLength {
			s = s[:maxLength]
		}
		c.Add(s)
	}
	return c, len(list) > 0
}

func analyse(re *syntax.Regexp) need {
	switch re.Op {
	case syntax.OpNoMatch:
		return need{}
	case syntax.OpLiteral:
		return literal(re)
	case syntax.OpCharClass:
		return class(re)
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return need{exact: []string{""}}
	case syntax.OpCapture:
		return analyse(re.Sub[0])
	case syntax.OpConcat:
		return chain(len(re.Sub), func(i int) need { return analyse(re.Sub[i]) })
	case syntax.OpAlternate:
		return either(len(re.Sub), func(i int) need { return analyse(re.Sub[i]) })
	case syntax.OpQuest:
		if n := analyse(re.Sub[0]); n.exact != nil && len(n.exact) < maxExact {
			return need{exact: append([]string{""}, n.exact...)}
		}
	case syntax.OpPlus:
		return repeated(analyse(re.Sub[0]))
	case syntax.OpRepeat:
		if re.Min > 0 {
			return repeated(analyse(re.Sub[0]))
		}
	}
	return need{} // any character, or possibly nothing
}

// repeated is what is known of one or more of something.
func repeated(n need) need {
	if n.exact == nil {
		return n
	}
	return need{prefix: n.exact, suffix: n.exact, clauses: n.clauses}
}

// literal knows its text as far as it is ASCII: outside of it lie other ways to write the same letter, and the sign that stands for bytes which are no characters.
func literal(re *syntax.Regexp) need {
	i := slices.IndexFunc(re.Rune, func(r rune) bool { return r >= utf8.RuneSelf })
	if i < 0 {
		return need{exact: []string{Fold(string(re.Rune))}}
	}
	n := need{}
	if i > 0 {
		n.prefix = []string{Fold(string(re.Rune[:i]))}
	}
	for _, part := range strings.FieldsFunc(string(re.Rune), func(r rune) bool { return r >= utf8.RuneSelf }) {
		if c, ok := clauseOf([]string{Fold(part)}); ok {
			n.clauses = append(n.clauses, c)
		}
	}
	return n
}

// class knows its characters when they are few, and else the bytes they begin with.
func class(re *syntax.Regexp) need {
	var c Clause
	var exact []string
	for i := 0; i+1 < len(re.Rune); i += 2 {
		if one := re.Rune[i]; one == re.Rune[i+1] && slices.Contains(Alarms, string(one)) {
			continue // whoever looks for the clauses looks for these as well
		}
		for r := re.Rune[i]; r <= min(re.Rune[i+1], utf8.RuneSelf-1); r++ {
			c.addByte(byte(r))
			exact = append(exact, string(rune(lower(byte(r)))))
		}
		if re.Rune[i+1] >= utf8.RuneSelf {
			exact = append(exact, make([]string, maxExact)...) // unknown
			for b := 0x80; b <= 0xff; b++ {
				c.addByte(byte(b))
			}
		}
	}
	slices.Sort(exact)
	if exact = slices.Compact(exact); len(exact) > 0 && len(exact) <= maxAffix && exact[0] != "" {
		return need{exact: exact, clauses: []Clause{c}}
	}
	return need{clauses: []Clause{c}}
}
