package prefilter

import (
	"regexp"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/literal"
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/seclang"
	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/transform"
)

// rule is one that may fire, depending on the request.
type rule struct {
	id    int
	phase int
	src   *seclang.Rule
	links []link

	gate    int // of the links: the one the automaton looks for
	clauses []literal.Clause
	certain bool          // the clause says all, the operator need not be asked
	nodes   transform.Set // the transformations of the gate
	sees    [classes]bool // classes the gate looks at
}

// link is one condition of a rule.
type link struct {
	targets []target
	chain   []*transform.Function
	multi   bool
	op      operator

	keeps   bool // a later link looks at what this one matched
	capture bool
	sets    []setvar
	final   bool // when this link matches, something is done that is not followed here
	ctl     []control
}

// kind says what a target is.
type kind uint8

const (
	ofClass    kind = iota
	ofText          // a constant
	ofTX            // a variable of the rule language's own that links of the same rule set
	ofMatches       // what the links before matched
	notHandled      // it may hold anything
)

type target struct {
	kind    kind
	classes []class
	text    string
	key     selector
	count   bool
	except  []selector
}

// selector chooses among keys. Keys are in lower case.
type selector struct {
	text string
	rx   *regexp.Regexp
}

func (s *selector) all() bool { return s.text == "" && s.rx == nil }

func (s *selector) selects(key string) bool {
	if s.rx != nil {
		return s.rx.MatchString(key)
	}
	return s.text == "" || s.text == key
}

// selects tells whether the target includes a key.
func (t *target) selects(key string) bool {
	if !t.key.selects(key) {
		return false
	}
	for i := range t.except {
		if t.except[i].selects(key) {
			return false
		}
	}
	return true
}

// setvar is what a link notes for those behind it.
type setvar struct {
	name, value macro
	foreign     []*regexp.Regexp // of other rules that read variables whose names match
}

// control is a change of how the body is read.
type control struct {
	processor string
	force     bool
}
