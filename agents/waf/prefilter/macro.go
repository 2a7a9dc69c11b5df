package prefilter

import (
	"fmt"
	"strings"
)

// part is a piece of a text: letters, or a variable in their place.
type part struct {
	text     string
	variable string // in lower case, "tx.name"; "" for letters
}

// macro is a text in which variables stand, %{tx.name}.
type macro []part

func parseMacro(text string) (macro, error) {
	var out macro
	for text != "" {
		before, rest, found := strings.Cut(text, "%{")
		if before != "" {
			out = append(out, part{text: before})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, fmt.Errorf("%%{ without } in %.60q", text)
		}
		out = append(out, part{text: name, variable: strings.ToLower(name)})
		text = after
	}
	return out, nil
}

// known are the rule language's own variables with the values they have at some point of the rules.
type known struct {
	tx  map[string]string
	own []setvar // what the rule at hand changes itself, so that its later links cannot count on the values
}

// get returns a variable's value, whether it has one, and whether that is certain.
func (k *known) get(name string) (value string, set, certain bool) {
	for i := range k.own {
		if k.own[i].touches(name) {
			return "", false, false
		}
	}
	value, set = k.tx[name]
	return value, set, !isDigits(name)
}

// constant returns the text with the variables' values, or false when one of them is not known.
func (m macro) constant(k *known) (string, bool) {
	var out strings.Builder
	for _, p := range m {
		if p.variable == "" {
			out.WriteString(p.text)
			continue
		}
		name, isTX := strings.CutPrefix(p.variable, "tx.")
		value, set, certain := k.get(name)
		if !isTX || !certain {
			return "", false
		}
		if !set {
			value = p.text // as the engine has it
		}
		out.WriteString(value)
	}
	return out.String(), true
}

// prefix returns the letters before the first variable, and whether that is all.
func (m macro) prefix() (string, bool) {
	if len(m) == 0 {
		return "", true
	}
	if m[0].variable != "" {
		return "", false
	}
	return strings.ToLower(m[0].text), len(m) == 1
}

// touches tells whether the action may change the variable of a name.
func (s *setvar) touches(name string) bool {
	prefix, whole := s.name.prefix()
	return whole && prefix == name || !whole && strings.HasPrefix(name, prefix)
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// setvarOf reads the value of a setvar action. Only those of the form tx.name=value are understood.
func setvarOf(text string) (s setvar, err error) {
	name, value, ok := strings.Cut(text, "=")
	if len(name) < 4 || !strings.EqualFold(name[:3], "tx.") || !ok {
		return s, fmt.Errorf("setvar:%s is not understood", text)
	}
	if s.name, err = parseMacro(name[3:]); err == nil {
		s.value, err = parseMacro(value)
	}
	return s, err
}
