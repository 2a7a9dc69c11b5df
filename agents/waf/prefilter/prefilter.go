// Package prefilter tells of a request, much faster than the engine could, that no rule can fire on it.
//
// It reads the same directives as the engine. What depends on nothing but constants is worked out once (the levels of paranoia, the defaults); of every rule that is left it is worked out what a text
// must hold for the rule to match, and one automaton looks for that of all rules in every input of a request, transformed as the rules ask. Where something is found, that rule is
// evaluated as the engine would. A request is clean when no rule fires that has anything to say or to do.
//
// It errs in one direction only. A variable, an operator, a function or an action that is not known here counts as one that matches; when a rule would therefore match always, New returns an
// error and the engine has to look at everything.
package prefilter

import (
	"io/fs"
	"iter"
	"sync"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/literal"
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/seclang"
)

// Limits are those of the engine: a request beyond them is never clean.
type Limits struct {
	Arguments int // number of parameters
	JSONDepth int
}

// Request is the head of a request.
type Request struct {
	Method, URI, Protocol string
	Client                string // its address
	Headers               iter.Seq2[string, string]
}

// Filter is made of rules once and safe for use by many goroutines.
type Filter struct {
	limits Limits
	rules  []rule // that may fire, in the order of their phases
	flows  []int  // of rules: those that choose how the body is read
	always []int  // of rules: those for which there is nothing to look for

	nodes     []node // of transformations; the first is the text as it came
	automaton *literal.Automaton
	uses      [][]use // by literal
	alarms    int     // literals from this number on are alarms
	scopes    [classes]*scope
	headers   map[string]*scope // fields that rules name
	visits    sync.Pool
}

// New makes a filter of directives, and of the files they include from root, or says what is not understood.
func New(directives string, root fs.FS, limits Limits) (*Filter, error) {
	rules, err := seclang.Read(directives, root)
	if err != nil {
		return nil, err
	}
	f := &Filter{limits: limits}
	if err := f.compile(rules, root); err != nil {
		return nil, err
	}
	if err := f.index(); err != nil {
		return nil, err
	}
	f.visits.New = func() any { return newVisit(f) }
	return f, nil
}

// Verdicts beside the id of a rule.
const (
	Clean   = 0  // no rule can fire
	Unknown = -1 // the request is none this package judges
)

// Check returns Clean, Unknown, or the id of a rule that fires or may fire. A nil body is none.
func (f *Filter) Check(r *Request, body []byte) int {
	v := f.visits.Get().(*visit)
	defer func() {
		v.reset()
		f.visits.Put(v)
	}()
	if !v.read(r) {
		return Unknown
	}
	for _, i := range f.flows {
		v.flow(&f.rules[i])
	}
	if len(body) > 0 && !v.readBody(body) {
		return Unknown
	}
	v.finish()
	if id := v.scanAll(); id != Clean {
		return id
	}
	for _, i := range f.always {
		if v.fires(&f.rules[i]) {
			return f.rules[i].id
		}
	}
	return Clean
}

// Rules returns how many rules can fire, and for how many of them there is nothing to look for.
func (f *Filter) Rules() (all, unindexed int) { return len(f.rules), len(f.always) }
