package prefilter

import (
	"slices"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/literal"
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/transform"
)

type clause = literal.Clause

// visit is one request on its way through the filter. It is used again for others.
type visit struct {
	filter *Filter
	inputs []input
	by     [classes][]int32 // the numbers of the inputs of each class

	typed     bool   // a Content-Type has been seen
	processor string // of the body
	forced    bool
	form      bool

	texts   []text
	at      []uint8 // by node: its text
	seen    []uint8 // by rule: bits of the clauses that are met
	touched []int32

	matched []string // by the links of a chain
	notes   []note
	groups  []string
	grouped bool
	leaks   bool // a variable has been set that other rules read
}

// text is an input after some transformations.
type text struct {
	text   string
	traits transform.Traits
	nodes  transform.Set
}

// note is a variable that a link of a chain has set; without known, to what is not known.
type note struct {
	name, value string
	known       bool
}

func newVisit(f *Filter) *visit {
	return &visit{filter: f, at: make([]uint8, len(f.nodes)), seen: make([]uint8, len(f.rules))}
}

// reset forgets the request: nothing of it must be left for the next.
func (v *visit) reset() {
	clear(v.inputs)
	clear(v.texts)
	clear(v.matched)
	clear(v.notes)
	clear(v.groups)
	for c := range v.by {
		v.by[c] = v.by[c][:0]
	}
	v.inputs, v.texts, v.matched, v.notes, v.groups = v.inputs[:0], v.texts[:0], v.matched[:0], v.notes[:0], v.groups[:0]
	v.typed, v.processor, v.forced, v.form, v.grouped = false, "", false, false, false
}

// scanAll looks for what rules want to know in every input. It returns Clean or a rule that fires.
func (v *visit) scanAll() int {
	f := v.filter
	for i := range v.inputs {
		in := &v.inputs[i]
		s := f.scopes[in.class]
		if in.class == header {
			if named := f.headers[in.key]; named != nil {
				s = named
			}
		}
		if len(s.nodes) == 0 && !s.wanted.Has(0) {
			continue
		}
		if id := v.scan(in, s); id != Clean {
			return id
		}
	}
	return Clean
}

// scan transforms an input in all the ways that rules want, and looks at each text that comes of it once.
func (v *visit) scan(in *input, s *scope) int {
	v.texts = append(v.texts[:0], text{text: in.value, traits: transform.Look(in.value)})
	if first := &v.texts[0]; !slices.ContainsFunc(s.functions, func(n nodeFunction) bool { return n.function.Changes(&first.traits, n.fold) }) {
		first.nodes = s.wanted
	} else {
		v.transform(s)
	}
	for i := range v.texts {
		if id := v.look(in, s, &v.texts[i]); id != Clean {
			return id
		}
	}
	return Clean
}

func (v *visit) transform(s *scope) {
	if s.wanted.Has(0) {
		v.texts[0].nodes.Add(0)
	}
	for _, n := range s.nodes {
		node := &v.filter.nodes[n]
		from := v.at[node.parent]
		if node.parent == 0 {
			from = 0
		}
		if t := &v.texts[from]; node.function.Changes(&t.traits, node.fold) {
			from = v.textOf(node.function.Apply(t.text))
		}
		v.at[n] = from
		if s.wanted.Has(byte(n)) {
			v.texts[from].nodes.Add(byte(n))
		}
	}
}

// textOf returns the number of a text, which may be there already.
func (v *visit) textOf(s string) uint8 {
	for i := range v.texts {
		if v.texts[i].text == s {
			return uint8(i)
		}
	}
	v.texts = append(v.texts, text{text: s, traits: transform.Look(s)})
	return uint8(len(v.texts) - 1)
}

// look runs the automaton over a text and asks the rules of which everything is there.
func (v *visit) look(in *input, s *scope, t *text) int {
	if t.nodes == (transform.Set{}) {
		return Clean
	}
	f, alarm := v.filter, false
	v.touched = v.touched[:0]
	f.automaton.Scan(t.text, func(ids []int32) bool {
		for _, id := range ids {
			if int(id) >= f.alarms {
				alarm = true
				return false
			}
			for _, u := range f.uses[id] {
				if !s.has(u.rule) {
					continue
				}
				if v.seen[u.rule] == 0 {
					v.touched = append(v.touched, u.rule)
				}
				v.seen[u.rule] |= u.clause
			}
		}
		return true
	})
	id := Clean
	if alarm {
		id = Unknown
	}
	for _, r := range v.touched {
		if id == Clean {
			id = v.met(in, t, int(r))
		}
		v.seen[r] = 0
	}
	for i := 0; i < len(s.bytes) && id == Clean; i++ {
		id = v.met(in, t, s.bytes[i])
	}
	for i := 0; i < len(s.injection) && id == Clean; i++ {
		if r := &f.rules[s.injection[i]]; r.nodes.Meets(&t.nodes) {
			id = v.ask(in, r)
		}
	}
	return id
}

// met asks a rule when its clauses are all met.
func (v *visit) met(in *input, t *text, i int) int {
	r := &v.filter.rules[i]
	if !r.nodes.Meets(&t.nodes) {
		return Clean
	}
	for j := range r.clauses {
		if v.seen[i]>>j&1 == 0 && !r.clauses[j].Bytes.Meets(&t.traits.Bytes) {
			return Clean
		}
	}
	return v.ask(in, r)
}

// ask evaluates a rule: first what it says of this input, then, if that is not all, the whole.
func (v *visit) ask(in *input, r *rule) int {
	gate := &r.links[r.gate]
	if r.phase == 1 && in.class.inBody() || !gate.sees(in) {
		return Clean
	}
	if !r.certain && !gate.matches(in.value, gate.op.fixed, nil) {
		return Clean
	}
	if len(r.links) == 1 || v.fires(r) {
		return r.id
	}
	return Clean
}
