package prefilter

import (
	"fmt"
	"slices"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/literal"
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/transform"
)

// node is a text transformed so far; the first is the text as it came.
type node struct {
	function *transform.Function
	parent   int
	fold     bool // nothing that comes of it depends on the case of ASCII letters
}

// maxNodes is what a set of bytes can name.
const maxNodes = 256

// use is a clause of a rule.
type use struct {
	rule   int32
	clause uint8 // a bit
}

// index chooses for each rule what is looked for, and builds the automaton.
func (f *Filter) index() error {
	f.nodes = []node{{fold: true}}
	for i := range f.rules {
		r := &f.rules[i]
		if slices.Contains(f.flows, i) {
			continue
		}
		if !r.choose() {
			f.always = append(f.always, i)
			continue
		}
		if err := f.addNodes(r); err != nil {
			return err
		}
	}
	f.markFold()
	if err := f.build(); err != nil {
		return err
	}
	f.makeScopes()
	return nil
}

// choose picks the link whose clauses tell most, among those without which nothing happens.
func (r *rule) choose() bool {
	r.gate = -1
	for i := range r.links {
		l := &r.links[i]
		if l.searchable() && (r.gate < 0 || l.op.better(&r.links[r.gate].op)) {
			r.gate = i
		}
		if l.final {
			break
		}
	}
	if r.gate < 0 {
		return false
	}
	gate := &r.links[r.gate]
	r.clauses, r.certain = gate.op.clauses, gate.op.certain
	for _, t := range gate.targets {
		for _, c := range t.classes {
			r.sees[c] = true
		}
	}
	return true
}

// searchable tells whether the link matches when one input does, each for itself, and there is something to look for in it.
func (l *link) searchable() bool {
	for i := range l.targets {
		if t := &l.targets[i]; t.kind != ofClass || t.count || slices.Contains(t.classes, argsSize) || slices.Contains(t.classes, processor) {
			return false
		}
	}
	return !l.op.unknown && !l.op.not && l.op.isFixed && (len(l.op.clauses) > 0 || l.op.injection)
}

func (o *operator) better(than *operator) bool {
	if len(o.clauses) == 0 || len(than.clauses) == 0 {
		return len(o.clauses) > 0
	}
	return o.clauses[0].Cost() < than.clauses[0].Cost()
}

// addNodes adds the rule's transformations to the tree.
func (f *Filter) addNodes(r *rule) error {
	at, l := 0, &r.links[r.gate]
	if l.multi || len(l.chain) == 0 {
		r.nodes.Add(0)
	}
	for i, function := range l.chain {
		next := slices.IndexFunc(f.nodes, func(n node) bool { return n.function == function && n.parent == at })
		if next < 0 {
			next = len(f.nodes)
			f.nodes = append(f.nodes, node{function: function, parent: at, fold: true})
		}
		if at = next; at >= maxNodes {
			return fmt.Errorf("more than %d sequences of transformations", maxNodes)
		}
		if l.multi || i == len(l.chain)-1 {
			r.nodes.Add(byte(at))
		}
	}
	return nil
}

// markFold finds the nodes whose case matters: those with a function behind them that is not blind to it. A parent stands before its children.
func (f *Filter) markFold() {
	for i := len(f.nodes) - 1; i > 0; i-- {
		n := &f.nodes[i]
		if !n.fold || !n.function.Blind {
			f.nodes[n.parent].fold = false
		}
	}
}

// build makes the automaton of every literal of every clause.
func (f *Filter) build() error {
	ids := map[string]int{}
	var all []string
	add := func(l string) int {
		id, known := ids[l]
		if !known {
			id = len(all)
			ids[l] = id
			all = append(all, l)
			f.uses = append(f.uses, nil)
		}
		return id
	}
	for i := range f.rules {
		for j, c := range f.rules[i].clauses {
			for _, l := range c.Literals {
				id := add(l)
				f.uses[id] = append(f.uses[id], use{int32(i), 1 << j})
			}
		}
	}
	f.alarms = len(all)
	all = append(all, literal.Alarms...)
	var err error
	f.automaton, err = literal.Build(all)
	return err
}
