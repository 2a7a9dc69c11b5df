package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// laterVariables are filled in by the stack when it starts a process: they stay as they are in command, exec and env.
var laterVariables = []string{"SENTINEL_SOCKET", "SENTINEL_AGENT", "SENTINEL_RUNTIME_DIR"}

// variable finds ${NAME}, ${NAME:-default}, the escape $${ and malformed uses.
var variable = regexp.MustCompile(`\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}|\$\{`)

// expander replaces environment variables in the strings of a tree.
type expander struct {
	lookup  func(string) (string, bool)
	report  *report
	used    map[string]*string  // every variable asked for; nil = unset
	written map[kdl.Span]string // the text of each string that had a variable
	bad     map[kdl.Span]bool   // strings that could not be expanded: nothing else is said about them
}

func newExpander(lookup func(string) (string, bool), r *report) *expander {
	return &expander{lookup: lookup, report: r, used: map[string]*string{}, written: map[kdl.Span]string{}, bad: map[kdl.Span]bool{}}
}

// nodes expands all strings below nodes. Inside command, exec and env the names of laterVariables are left alone.
func (e *expander) nodes(nodes []*kdl.Node, keep bool) {
	for _, n := range nodes {
		keep := keep || n.Name == "command" || n.Name == "exec" || n.Name == "env"
		for i := range n.Args {
			e.value(&n.Args[i], keep)
		}
		for i := range n.Props {
			e.value(&n.Props[i].Value, keep)
		}
		e.nodes(n.Children, keep)
	}
}

func (e *expander) value(v *kdl.Value, keep bool) {
	if v.Kind != kdl.String || !strings.Contains(v.Str, "${") {
		return
	}
	e.written[v.Span] = v.Str
	v.Str = variable.ReplaceAllStringFunc(v.Str, func(match string) string {
		if match == "$${" {
			return "${"
		}
		return e.variable(match, v.Span, keep)
	})
	v.Raw = ""
}

func (e *expander) variable(match string, at kdl.Span, keep bool) string {
	m := variable.FindStringSubmatch(match)
	name, hasDefault, fallback := m[1], m[2] != "", m[3]
	if name == "" {
		e.bad[at] = true
		e.report.fail(at, "variable-syntax", `write "${NAME}" or "${NAME:-default}"; a "${" that is meant literally is written "$${"`, "this string holds a ${ that starts no variable")
		return match
	}
	if keep && slices.Contains(laterVariables, name) {
		return match
	}
	value, ok := e.get(name)
	switch {
	case ok && value != "" || ok && !hasDefault:
	case hasDefault:
		return fallback
	default:
		e.bad[at] = true
		e.report.fail(at, "variable-unset", fmt.Sprintf("set it, or give a default: ${%s:-…}", name), "the environment variable %s is not set", name)
		return ""
	}
	for _, r := range value {
		if kdl.Forbidden(r) {
			e.bad[at] = true
			e.report.fail(at, "variable-value", "", "the environment variable %s holds the character U+%04X, which is not allowed", name, r)
			return ""
		}
	}
	return value
}

func (e *expander) get(name string) (string, bool) {
	if v, seen := e.used[name]; seen {
		if v == nil {
			return "", false
		}
		return *v, true
	}
	value, ok := e.lookup(name)
	e.used[name] = nil
	if ok {
		e.used[name] = &value
	}
	return value, ok
}
