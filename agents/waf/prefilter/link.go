package prefilter

import (
	"regexp"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/seclang"
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/transform"
)

func functions(names []string) (list []*transform.Function, known bool) {
	for _, n := range names {
		f := transform.Lookup(n)
		if f == nil {
			return nil, false
		}
		list = append(list, f)
	}
	return list, true
}

// link compiles a link that depends on the request.
func (c *compiler) link(r *seclang.Rule, i int, k *known) link {
	src := &r.Links[i]
	last := i == len(r.Links)-1
	out := link{multi: src.MultiMatch, capture: src.Capture, final: last}
	var err error
	if out.op, err = compileOperator(src.Operator, r.Dir, c.root, k); err != nil {
		out.op.unknown = true
	}
	var all bool
	if out.chain, all = functions(src.Transforms); !all {
		out.op.unknown = true
	}
	for _, t := range src.Targets {
		out.targets = append(out.targets, c.target(t, r.Phase, i, k))
	}
	out.keeps = looksBack(r.Links[i+1:])
	for _, a := range src.Actions {
		switch a.Name {
		case "setvar":
			s, err := setvarOf(a.Value)
			out.final = out.final || err != nil
			out.sets = append(out.sets, s)
		case "ctl":
			if !last {
				out.final = true
			}
			if ctl, ok := controlOf(a.Value); ok {
				out.ctl = append(out.ctl, ctl)
			}
		case "skip", "skipafter":
		default:
			out.final = true
		}
	}
	return out
}

// forgetMatches marks what looks at the matches of links before it, when those are not all kept.
func (l *link) forgetMatches() {
	for i := range l.targets {
		if l.targets[i].kind == ofMatches {
			l.targets[i].kind = notHandled
		}
	}
}

// controlOf reads an action that changes how the body is read.
func controlOf(text string) (c control, ok bool) {
	name, value, _ := strings.Cut(text, "=")
	switch name {
	case "requestBodyProcessor":
		return control{processor: strings.ToUpper(value)}, true
	case "forceRequestBodyVariable":
		return control{force: true}, strings.EqualFold(value, "on")
	}
	return c, false
}

// looksBack tells whether one of the links looks at what links before it matched or noted.
func looksBack(links []seclang.Link) bool {
	for i := range links {
		for _, t := range links[i].Targets {
			if t.Variable == "TX" || strings.HasPrefix(t.Variable, "MATCHED_VAR") {
				return true
			}
		}
		if o := links[i].Operator; o != nil && strings.Contains(o.Arg, "%{") {
			return true
		}
	}
	return false
}

func (c *compiler) target(t seclang.Target, phase, i int, k *known) target {
	out := target{kind: notHandled, count: t.Count}
	classes, known := variables[t.Variable]
	value, constant := constants[t.Variable]
	switch {
	case known && (phase > 1 || t.Variable != "ARGS_COMBINED_SIZE"):
		out.kind, out.classes = ofClass, classes
	case constant && !t.Count:
		out.kind, out.text = ofText, value
	case t.Variable == "TX" && !t.Count && t.Key.Text != "":
		out.kind, out.text = ofOwn(t.Key, k)
	case (t.Variable == "MATCHED_VARS" || t.Variable == "MATCHED_VAR") && i > 0 && !t.Count && t.Key == seclang.Key{}:
		out.kind = ofMatches
	}
	if err := out.selectors(t); err != nil {
		out.kind = notHandled
	}
	if t.Variable == "TX" && len(out.except) > 0 {
		out.kind = notHandled
	}
	return out
}

// engineSets are variables of the rule language's own that the engine sets by itself: the body, and what expressions capture.
var engineSets = []string{"json_request_body", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

// ofOwn tells how to come by a variable of the rule language's own: it has a value that is certain, or none, or the rule gives it one itself.
func ofOwn(key seclang.Key, k *known) (kind, string) {
	if key.Rx {
		rx, err := regexp.Compile(strings.ToLower(key.Text))
		if err != nil || slices.ContainsFunc(engineSets, rx.MatchString) {
			return notHandled, ""
		}
		for name := range k.tx {
			if rx.MatchString(name) {
				return notHandled, ""
			}
		}
		return ofTX, ""
	}
	if strings.EqualFold(key.Text, engineSets[0]) {
		return notHandled, ""
	}
	value, set, certain := k.get(strings.ToLower(key.Text))
	switch {
	case !certain:
		return ofTX, ""
	case set:
		return ofText, value
	}
	return ofClass, "" // of no class: it has no value
}

func (t *target) selectors(src seclang.Target) (err error) {
	if t.key, err = selectorOf(src.Variable, src.Key); err != nil {
		return err
	}
	for _, e := range src.Except {
		s, err := selectorOf(src.Variable, e)
		if err != nil {
			return err
		}
		t.except = append(t.except, s)
	}
	return nil
}

// selectorOf compiles a key. Expressions for the keys of parameters keep their case, as in the engine, although the keys do not.
func selectorOf(variable string, k seclang.Key) (s selector, err error) {
	if !k.Rx {
		return selector{text: strings.ToLower(k.Text)}, nil
	}
	text := k.Text
	if !strings.HasPrefix(variable, "ARGS") {
		text = strings.ToLower(text)
	}
	s.rx, err = regexp.Compile(text)
	return s, err
}
