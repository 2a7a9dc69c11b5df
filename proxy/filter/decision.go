package filter

import (
	"strconv"
	"time"
)

// Action is what a Decision asks for.
type Action uint8

// The zero Action is not Continue: a filter that forgets to decide fails closed.
const (
	undecided       Action = iota
	ActionContinue         // go on
	ActionRespond          // answer with Status, Fields and Body
	ActionRedirect         // answer with Status and Location
	ActionChallenge        // answer with Status, Fields and Body that ask the client to prove something
	ActionClose            // close the connection without an answer
)

// String returns the word used in logs and metrics.
func (a Action) String() string {
	switch a {
	case ActionContinue:
		return "continue"
	case ActionRespond:
		return "block"
	case ActionRedirect:
		return "redirect"
	case ActionChallenge:
		return "challenge"
	case ActionClose:
		return "close"
	}
	return "undecided"
}

// Field is a header field of a Decision.
type Field struct {
	Name, Value string
}

// Decision is what a filter or a builtin handler returns. Build it with Continue, Respond, Redirect, Challenge or Close.
type Decision struct {
	Action   Action
	Status   int     // Respond, Redirect, Challenge
	Fields   []Field // Respond, Challenge, Redirect: added to the answer; framing fields are the proxy's and ignored here
	Body     []byte  // not changed and not kept; nil with Respond = the standard JSON error body of Status when Status is an error
	Location string  // Redirect
	Reason   string  // for the logs, never sent to the client
	By       string  // name of the filter that decided; the Chain fills it in
}

// Continue lets the exchange go on.
func Continue() Decision { return Decision{Action: ActionContinue} }

// Respond answers instead of the upstream.
func Respond(status int, body []byte, fields ...Field) Decision {
	return Decision{Action: ActionRespond, Status: status, Body: body, Fields: fields}
}

// Redirect answers with a Location.
func Redirect(status int, location string) Decision {
	return Decision{Action: ActionRedirect, Status: status, Location: location}
}

// Challenge answers with a demand, such as 401 with WWW-Authenticate.
func Challenge(status int, body []byte, fields ...Field) Decision {
	return Decision{Action: ActionChallenge, Status: status, Body: body, Fields: fields}
}

// Close ends the connection without an answer.
func Close(reason string) Decision { return Decision{Action: ActionClose, Reason: reason} }

// Because returns d with a reason for the logs.
func (d Decision) Because(reason string) Decision {
	d.Reason = reason
	return d
}

// Continues reports whether the exchange goes on.
func (d *Decision) Continues() bool { return d.Action == ActionContinue }

// check turns a decision that cannot be carried out into a refusal: nothing passes because of a mistake in a filter.
func (d Decision) check() Decision {
	switch d.Action {
	case ActionContinue, ActionClose:
		return d
	case ActionRespond, ActionChallenge:
		if d.Status >= 200 && d.Status <= 599 {
			return d
		}
	case ActionRedirect:
		if d.Status >= 300 && d.Status <= 399 && d.Location != "" && validValue(d.Location) {
			return d
		}
	}
	return Decision{Action: ActionRespond, Status: 500, By: d.By, Reason: "filter returned an unusable decision: " + d.Action.String() + " " + strconv.Itoa(d.Status)}
}

// Verdict is what one agent said, kept for the audit log. A filter adds one per call with Exchange.AddVerdict.
type Verdict struct {
	Agent    string
	Event    string // request_headers, request_body, …
	Action   string // allow, block, redirect, challenge
	Status   int    // of a block, redirect or challenge
	Reason   string
	Tags     []string
	Rules    []string // ids of the rules that matched
	Error    string   // why there was no answer; Action then follows the failure mode
	Duration time.Duration
}
