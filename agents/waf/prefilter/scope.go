package prefilter

import (
	"slices"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/transform"
)

// scope is what rules want to know of inputs of one class, or of one field.
type scope struct {
	rules     []uint64 // a set of those that look at such inputs
	nodes     []int    // the transformations that takes, parents first
	wanted    transform.Set
	functions []nodeFunction // that occur among the nodes
	bytes     []int          // rules that some bytes may be enough for
	injection []int          // rules that are asked of every input
}

// nodeFunction is a function, and whether a change of case by it counts.
type nodeFunction struct {
	function *transform.Function
	fold     bool
}

func (s *scope) has(rule int32) bool { return s.rules[rule>>6]>>(rule&63)&1 != 0 }

// makeScopes makes one scope for each class, and one for each field that some rule names.
func (f *Filter) makeScopes() {
	for c := range classes {
		f.scopes[c] = f.makeScope(c, "")
	}
	f.headers = map[string]*scope{}
	for i := range f.rules {
		r := &f.rules[i]
		if len(r.clauses) == 0 && !r.asks() {
			continue
		}
		for _, t := range r.links[r.gate].targets {
			if !slices.Contains(t.classes, header) {
				continue
			}
			for _, s := range append(slices.Clone(t.except), t.key) {
				if s.text != "" {
					f.headers[s.text] = nil
				}
			}
		}
	}
	for name := range f.headers {
		f.headers[name] = f.makeScope(header, name)
	}
}

// asks tells whether the rule's gate has nothing to look for and is asked of every input.
func (r *rule) asks() bool {
	return r.gate >= 0 && len(r.clauses) == 0 && r.links[r.gate].op.injection
}

// makeScope collects the rules that look at a class, and for fields at one of a name; without a name they are fields that no rule names.
func (f *Filter) makeScope(c class, name string) *scope {
	s := &scope{rules: make([]uint64, len(f.rules)/64+1)}
	var nodes transform.Set
	for i := range f.rules {
		r := &f.rules[i]
		if len(r.clauses) == 0 && !r.asks() || !r.looksAt(c, name) {
			continue
		}
		s.rules[i>>6] |= 1 << (i & 63)
		for n := range nodes {
			s.wanted[n] |= r.nodes[n]
		}
		switch {
		case r.asks():
			s.injection = append(s.injection, i)
		case r.bytesMaySuffice():
			s.bytes = append(s.bytes, i)
		}
	}
	for i := len(f.nodes) - 1; i > 0; i-- {
		if s.wanted.Has(byte(i)) || nodes.Has(byte(i)) {
			s.nodes = append(s.nodes, i)
			nodes.Add(byte(f.nodes[i].parent))
		}
	}
	slices.Reverse(s.nodes)
	for _, i := range s.nodes {
		if nf := (nodeFunction{f.nodes[i].function, f.nodes[i].fold}); !slices.Contains(s.functions, nf) {
			s.functions = append(s.functions, nf)
		}
	}
	return s
}

func (r *rule) looksAt(c class, name string) bool {
	return r.gate >= 0 && slices.ContainsFunc(r.links[r.gate].targets, func(t target) bool {
		if !slices.Contains(t.classes, c) {
			return false
		}
		switch {
		case c != header:
			return true
		case name != "":
			return t.selects(name)
		}
		return t.key.all() || t.key.rx != nil
	})
}

func (r *rule) bytesMaySuffice() bool {
	return !slices.ContainsFunc(r.clauses, func(c clause) bool { return c.Bytes == transform.Set{} })
}
