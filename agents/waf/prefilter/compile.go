package prefilter

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/seclang"
)

// compiler works out what depends on nothing but constants, as the engine would on a request on which no rule fires.
type compiler struct {
	filter *Filter
	root   fs.FS
	all    []seclang.Rule
	tx     map[string]string // the rule language's own variables, so far

	skipAfter string
	reached   []*seclang.Rule // rules that are not skipped
	live      []*seclang.Rule // those of them that may fire, or do
	acted     []*seclang.Rule // rules that always fire, and without which others would mean something else
	quiet     []quiet
	counted   []*seclang.Rule // rules that a quiet rule skips by counting
}

// quiet is a rule that may fire without having anything to say, and whose actions are yet to be looked at.
type quiet struct {
	src *seclang.Rule
	at  int // of Filter.rules, or -1: it fires on every request
}

// lastPhase of the request.
const lastPhase = 2

func (f *Filter) compile(all []seclang.Rule, root fs.FS) error {
	c := &compiler{filter: f, root: root, all: all, tx: map[string]string{}}
	for phase := 1; phase <= lastPhase; phase++ {
		c.skipAfter = ""
		for i := range all {
			if err := c.next(&all[i], phase); err != nil {
				return err
			}
		}
	}
	return c.effects()
}

// next takes the next rule, unless it is skipped.
func (c *compiler) next(r *seclang.Rule, phase int) error {
	switch {
	case r.Marker == "" && r.Phase != phase:
		return nil
	case c.skipAfter != "":
		if r.Marker == c.skipAfter {
			c.skipAfter = ""
		}
		return nil
	case r.Marker != "":
		return nil
	}
	c.reached = append(c.reached, r)
	compiled, fires, err := c.reduce(r)
	if err != nil {
		return fmt.Errorf("rule %d: %v", r.ID, err)
	}
	if compiled == nil && !fires {
		return nil
	}
	c.live = append(c.live, r)
	if fires {
		return c.fire(r)
	}
	if !r.Visible() && !r.Disruptive() || r.ID/1000 == initialisation && !r.Disruptive() {
		c.quiet = append(c.quiet, quiet{src: r, at: len(c.filter.rules)})
	}
	c.filter.rules = append(c.filter.rules, *compiled)
	return nil
}

// initialisation is the block of ids, divided by 1000, whose messages nobody reports.
const initialisation = 901

// reduce evaluates the links that depend on constants only. It returns what is left, or whether the rule always fires; neither when it never does.
func (c *compiler) reduce(r *seclang.Rule) (left *rule, fires bool, err error) {
	out := &rule{id: r.ID, phase: r.Phase, src: r}
	k := &known{tx: c.tx}
	dropped := false
	for i := range r.Links {
		l := &r.Links[i]
		holds, constant := c.constant(l, r.Dir, k)
		switch {
		case constant && !holds:
			if len(out.links) == 0 || !acts(r.Links[:i]) {
				return nil, false, nil
			}
			return out, false, nil // what the links before this one do is done all the same
		case constant && i < len(r.Links)-1 && len(l.Actions) > 0:
			return nil, false, fmt.Errorf("a condition that always holds acts before the end of its chain")
		case constant && i < len(r.Links)-1:
			dropped = true
			continue
		}
		compiled := c.link(r, i, k)
		if constant {
			compiled.op = operator{always: true}
		}
		if dropped {
			compiled.forgetMatches()
		}
		out.links = append(out.links, compiled)
		k.own = append(k.own, compiled.sets...)
	}
	if n := len(out.links); n == 1 && out.links[0].op.always {
		return nil, true, nil
	}
	return out, false, nil
}

// acts tells whether one of the links does something when it matches.
func acts(links []seclang.Link) bool {
	for i := range links {
		if len(links[i].Actions) > 0 {
			return true
		}
	}
	return false
}

// constant evaluates a link that looks at nothing but the rule language's own variables.
func (c *compiler) constant(l *seclang.Link, dir string, k *known) (holds, constant bool) {
	if l.Operator == nil {
		return true, true
	}
	for _, t := range l.Targets {
		if t.Variable != "TX" || t.Key.Rx || t.Key.Text == "" || len(t.Except) > 0 {
			return false, false
		}
		if _, _, certain := k.get(strings.ToLower(t.Key.Text)); !certain {
			return false, false
		}
	}
	op, err := compileOperator(l.Operator, dir, c.root, k)
	chain, known := functions(l.Transforms)
	if err != nil || op.unknown || !op.isFixed || !known || l.MultiMatch {
		return false, false
	}
	for _, t := range l.Targets {
		value, set := c.tx[strings.ToLower(t.Key.Text)]
		switch {
		case t.Count && set:
			value = "1"
		case t.Count:
			value = "0"
		case !set:
			continue
		}
		for _, f := range chain {
			value = f.Apply(value)
		}
		if op.match(value, op.fixed) != op.not {
			return true, true
		}
	}
	return false, true
}

// fire does what a rule does that fires on every request.
func (c *compiler) fire(r *seclang.Rule) error {
	if r.Visible() && r.ID/1000 != initialisation || r.Disruptive() {
		return fmt.Errorf("rule %d fires on every request", r.ID)
	}
	acted := false
	for i := range r.Links {
		for _, a := range r.Links[i].Actions {
			if err := c.act(r, a); err != nil {
				return fmt.Errorf("rule %d: %v", r.ID, err)
			}
			acted = true
		}
	}
	if acted {
		c.acted = append(c.acted, r)
	}
	return nil
}

func (c *compiler) act(r *seclang.Rule, a seclang.Action) (err error) {
	switch a.Name {
	case "skipafter":
		c.skipAfter = a.Value
	case "setvar":
		var s setvar
		if s, err = setvarOf(a.Value); err == nil {
			err = c.set(s)
		}
	case "ctl":
		c.quiet = append(c.quiet, quiet{src: r, at: -1})
	default:
		err = fmt.Errorf("%s:%s on every request is not understood", a.Name, a.Value)
	}
	return err
}

func (c *compiler) set(s setvar) error {
	k := &known{tx: c.tx}
	name, ok := s.name.constant(k)
	value, ok2 := s.value.constant(k)
	if !ok || !ok2 {
		return fmt.Errorf("setvar with what is not constant")
	}
	name = strings.ToLower(name)
	if value != "" && (value[0] == '+' || value[0] == '-') {
		by, err := strconv.Atoi(value)
		old, err2 := strconv.Atoi(c.tx[name])
		if err != nil || c.tx[name] != "" && err2 != nil {
			return fmt.Errorf("setvar of %s adds %q to %q", name, value, c.tx[name])
		}
		value = strconv.Itoa(old + by)
	}
	c.tx[name] = value
	return nil
}
