// Package seclang reads rules in the language of the engine, Coraza, as that reads them, into what the pre-filter reasons about. It knows the directives that rule files hold; anything else is
// an error, because what is not understood cannot be left out.
package seclang

// Rule is a rule with those chained to it, or a marker.
type Rule struct {
	ID     int
	Phase  int
	Marker string // with it there is nothing else
	Tags   []string
	Msg    string // of the first link
	Dir    string // where relative names of files begin
	Links  []Link
}

// Link is one condition of a chain, with what is done when it holds.
type Link struct {
	Targets    []Target
	Operator   *Operator // nil: it always holds
	Transforms []string
	MultiMatch bool
	Capture    bool
	HasMsg     bool
	Disruptive string // pass, deny, …; block is what the defaults say
	Actions    []Action
}

// Target is a variable that a link looks at.
type Target struct {
	Variable string // in upper case
	Key      Key
	Count    bool  // the number of values, in their place
	Except   []Key // of the variable's keys
}

// Key selects of a collection; the zero Key selects everything.
type Key struct {
	Text string // in the case of the rule
	Rx   bool   // Text is a regular expression
}

// Operator is what a link asks about each value.
type Operator struct {
	Name string // in lower case
	Arg  string
	Not  bool
}

// Action is one of a rule's actions that is neither disruptive nor a description.
type Action struct{ Name, Value string }

// Visible tells whether the rule has something to say when it fires.
func (r *Rule) Visible() bool {
	for i := range r.Links {
		if r.Links[i].HasMsg {
			return true
		}
	}
	return false
}

// Disruptive tells whether the rule ends the exchange when it fires, or changes how it is handled.
func (r *Rule) Disruptive() bool {
	return len(r.Links) > 0 && r.Links[0].Disruptive != "" && r.Links[0].Disruptive != "pass"
}
