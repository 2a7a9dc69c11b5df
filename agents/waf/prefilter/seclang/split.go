package seclang

import (
	"fmt"
	"strings"
)

// splitRule cuts a rule into variables, operator and actions.
func splitRule(text string) (vars, operator, actions string, err error) {
	vars, rest, _ := strings.Cut(strings.Trim(text, " "), " ")
	rest = strings.TrimLeft(rest, " ")
	end := closing(rest)
	if end < 0 {
		return "", "", "", fmt.Errorf("rule without a quoted operator: %.80s", text)
	}
	operator = strings.ReplaceAll(rest[1:end], `\"`, `"`)
	rest = strings.TrimLeft(rest[end+1:], " ")
	if rest != "" && (len(rest) < 2 || rest[0] != '"' || rest[len(rest)-1] != '"') {
		return "", "", "", fmt.Errorf("rule whose actions are not quoted: %.80s", text)
	}
	return vars, operator, unquote(rest), nil
}

// closing returns where the quote ends that the text begins with. A quote behind an odd number of backslashes is none.
func closing(s string) int {
	if s == "" || s[0] != '"' {
		return -1
	}
	backslashes := 0
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			backslashes++
			continue
		case s[i] == '"' && backslashes%2 == 0:
			return i
		}
		backslashes = 0
	}
	return -1
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

// parseOperator reads "@name argument", "!@name argument" and bare regular expressions.
func parseOperator(text string) *Operator {
	switch {
	case text == "" || text[0] != '@' && text[0] != '!':
		text = "@rx " + text
	case text == "!":
		text = "!@rx"
	case text[0] == '!' && text[1] != '@':
		text = "!@rx " + text[1:]
	}
	name, arg, _ := strings.Cut(text, " ")
	name, not := strings.CutPrefix(name, "!")
	return &Operator{Name: strings.ToLower(strings.TrimPrefix(strings.TrimSpace(name), "@")), Arg: strings.TrimSpace(arg), Not: not}
}

// splitActions cuts a list of actions at its commas, but not within quotes.
func splitActions(text string) []Action {
	var out []Action
	begin, colon := 0, -1
	quoted := false
	take := func(end int) {
		a := Action{Name: text[begin:end]}
		if colon >= 0 {
			a = Action{text[begin:colon], unquote(strings.TrimSpace(text[colon+1 : end]))}
		}
		a.Name = strings.ToLower(strings.TrimSpace(a.Name))
		out = append(out, a)
		begin, colon = end+1, -1
	}
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case text[i-1] == '\\':
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == ':' && colon < 0:
			colon = i
		case c == ',':
			take(i)
		}
	}
	if text != "" {
		take(len(text))
	}
	return out
}
