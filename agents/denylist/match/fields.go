package match

import (
	"fmt"
	"regexp"
	"strings"
)

// Fields matches name and value pairs: header fields and query parameters. An entry is one of
//
//	name            the field is there
//	name = text     its value is the text
//	name *= text    its value holds the text; ASCII case does not matter
//	name ~ regex    its value matches the expression
//
// with blanks around the operator.
type Fields struct {
	FoldNames bool // ASCII case of names does not matter (headers); set before Add
	rules     map[string][]fieldRule
	count     int
}

type fieldRule struct {
	entry string
	op    operator
	text  string // folded for contains
	re    *regexp.Regexp
}

type operator uint8

const (
	present operator = iota
	equals
	contains
	matches
)

// Add adds an entry.
func (f *Fields) Add(entry []byte) error {
	name, op, text, err := splitField(string(entry))
	if err != nil {
		return err
	}
	rule := fieldRule{entry: string(entry), op: op, text: text}
	switch op {
	case contains:
		if rule.text = lowerASCII(text); text == "" {
			return fmt.Errorf("%q: an empty text is in everything", entry)
		}
	case matches:
		if rule.re, err = regexp.Compile(text); err != nil {
			return fmt.Errorf("not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	}
	if name == "" {
		return fmt.Errorf("%q: wants a name", entry)
	}
	if f.FoldNames {
		name = lowerASCII(name)
	}
	if f.rules == nil {
		f.rules = map[string][]fieldRule{}
	}
	f.rules[name] = append(f.rules[name], rule)
	f.count++
	return nil
}

// splitField takes an entry apart.
func splitField(entry string) (name string, op operator, text string, err error) {
	name, rest, found := strings.Cut(entry, " ")
	if strings.ContainsAny(name, "=*~:") && !found {
		return "", 0, "", fmt.Errorf("%q: write the operator with blanks around it: name = text, name *= text, name ~ regex", entry)
	}
	if !found {
		return name, present, "", nil
	}
	sign, text, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	text = strings.TrimSpace(text)
	switch sign {
	case "=":
		return name, equals, text, nil
	case "*=":
		return name, contains, text, nil
	case "~":
		return name, matches, text, nil
	}
	return "", 0, "", fmt.Errorf("%q: unknown operator %q, want =, *= or ~", entry, sign)
}

// Finish makes the matcher ready.
func (f *Fields) Finish() {}

// Len returns the number of entries.
func (f *Fields) Len() int { return f.count }

// Match looks at one field, its name already folded if names are.
func (f *Fields) Match(name, value string) (string, bool) {
	rules := f.rules[name]
	for i := range rules {
		if rules[i].matches(value) {
			return rules[i].entry, true
		}
	}
	return "", false
}

func (r *fieldRule) matches(value string) bool {
	switch r.op {
	case present:
		return true
	case equals:
		return value == r.text
	case contains:
		return strings.Contains(lowerASCII(value), r.text)
	}
	return r.re.MatchString(value)
}

// MatchQuery looks at every parameter of a raw query. Names and values are matched with their escapes resolved, once and then again until none is left;
// parameters end at '&' and, because some upstreams still read them so, at ';' too.
func (f *Fields) MatchQuery(query string) (string, bool) {
	if f.count == 0 {
		return "", false
	}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if entry, ok := f.matchPair(pair); ok {
			return entry, true
		}
		for rest := pair; strings.IndexByte(rest, ';') >= 0; {
			_, rest, _ = strings.Cut(rest, ";")
			part, _, _ := strings.Cut(rest, ";")
			if entry, ok := f.matchPair(part); ok {
				return entry, true
			}
		}
		if first, _, found := strings.Cut(pair, ";"); found {
			if entry, ok := f.matchPair(first); ok {
				return entry, true
			}
		}
	}
	return "", false
}

func (f *Fields) matchPair(pair string) (string, bool) {
	name, value, _ := strings.Cut(pair, "=")
	if strings.IndexByte(pair, '+') >= 0 {
		name, value = strings.ReplaceAll(name, "+", " "), strings.ReplaceAll(value, "+", " ")
	}
	for range maxRounds {
		before := len(name) + len(value)
		name, value = unescapeText(name), unescapeText(value)
		if entry, ok := f.Match(name, value); ok {
			return entry, true
		}
		if len(name)+len(value) == before {
			break
		}
	}
	return "", false
}

func unescapeText(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	return string(unescape([]byte(s)))
}
