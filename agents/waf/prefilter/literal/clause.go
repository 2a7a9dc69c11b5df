// Package literal finds what any text must hold that a regular expression matches, and looks for that of many expressions in one pass over a text.
//
// Everything here is about texts in which the case of ASCII letters makes no difference.
package literal

import (
	"math"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/transform"
)

// Clause is a condition that a text meets when it holds one of the literals, which are in lower case and at least two bytes long, or one of the bytes.
type Clause struct {
	Literals []string
	Bytes    transform.Set
}

// bounds of what is worth looking for.
const (
	maxLiterals = 1200 // of a clause
	maxLength   = 12   // of a literal
	maxClauses  = 4    // of an expression
)

// Alarms are the characters outside of ASCII that are, but for case, ASCII letters: k as the Kelvin sign, s as the long s. Where an expression is blind to case they match a literal that is not there.
var Alarms = []string{"\u212a", "\u017f"}

// Add adds a text to the clause.
func (c *Clause) Add(text string) {
	if len(text) == 1 {
		c.addByte(text[0])
		return
	}
	c.Literals = append(c.Literals, text)
}

// Meets tells whether a text in lower case meets the clause. It is for clauses that are asked for rarely.
func (c *Clause) Meets(text string) bool {
	for i := range len(text) {
		if c.Bytes.Has(text[i]) {
			return true
		}
	}
	return slices.ContainsFunc(c.Literals, func(l string) bool { return strings.Contains(text, l) })
}

// addByte adds a byte, a letter in both cases.
func (c *Clause) addByte(b byte) {
	b = lower(b)
	c.Bytes.Add(b)
	if b >= 'a' && b <= 'z' {
		c.Bytes.Add(b - 'a' + 'A')
	}
}

func lower(b byte) byte {
	if b >= 'A' && b <= 'Z' {
		return b - 'A' + 'a'
	}
	return b
}

// Fold returns the text with ASCII letters in lower case.
func Fold(text string) string {
	for i := range len(text) {
		if text[i] >= 'A' && text[i] <= 'Z' {
			b := []byte(text)
			for ; i < len(b); i++ {
				b[i] = lower(b[i])
			}
			return string(b)
		}
	}
	return text
}

// merge makes the clause one that is met when either is.
func (c *Clause) merge(o *Clause) {
	c.Literals = append(c.Literals, o.Literals...)
	for i := range c.Bytes {
		c.Bytes[i] |= o.Bytes[i]
	}
}

// simplify drops literals that hold another of the clause.
func (c *Clause) simplify() {
	list := slices.Clone(c.Literals)
	slices.SortFunc(list, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	kept := list[:0]
	for _, l := range list {
		if !slices.ContainsFunc(kept, func(k string) bool { return strings.Contains(l, k) }) {
			kept = append(kept, l)
		}
	}
	c.Literals = kept
}

// share is about how often a byte comes in innocent texts, in 1/1000.
func share(b byte) float64 {
	switch b = lower(b); {
	case b >= 'a' && b <= 'z':
		if slices.Contains([]byte("etaoinsrhl"), b) {
			return 60
		}
		return 20
	case b >= '0' && b <= '9':
		return 30
	case b == ' ', b == '/', b == '.', b == '-', b == '_', b == ':', b == ',', b == '=':
		return 20
	case b == '"', b == '(', b == ')', b == ';', b == '&', b == '+', b == '?':
		return 3
	case b >= 0x80:
		return 1
	}
	return 0.5
}

// Cost is about how often an innocent text of some length meets the clause; more than 1 makes it useless.
func (c *Clause) Cost() float64 {
	const typical = 40
	sum := 0.0
	for b := range 256 {
		if c.Bytes.Has(byte(b)) {
			sum += share(byte(b)) / 1000
		}
	}
	for _, l := range c.Literals {
		p := 1.0
		for i := range len(l) {
			p *= share(l[i]) / 1000 * 3 // what is rare alone comes less rarely in company
		}
		sum += p
	}
	return sum * typical
}

// best sorts clauses, the one that is met least first, and returns the few that are worth their place.
func best(all []Clause) []Clause {
	for i := range all {
		all[i].simplify()
	}
	all = slices.DeleteFunc(all, func(c Clause) bool {
		return len(c.Literals) > maxLiterals || c.Cost() > 8 || len(c.Literals) == 0 && c.Bytes == transform.Set{}
	})
	slices.SortStableFunc(all, func(a, b Clause) int {
		switch x, y := a.Cost(), b.Cost(); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	total := 1.0
	for i := range all {
		if i == maxClauses || total < 1e-4 {
			return all[:i]
		}
		total *= math.Min(1, all[i].Cost())
	}
	return all
}
