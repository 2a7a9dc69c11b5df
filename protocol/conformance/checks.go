// Package conformance tests agents over their sockets, whatever language they are written in: each check plays a proxy that keeps SPEC.md, or breaks it, and looks at what the
// agent makes of it. The Go SDK's tests run the checks through protocoltest, everybody else through the program sentinel-conformance in cmd.
package conformance

import (
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
)

// Agent is an agent under test.
type Agent struct {
	Socket   string
	Stop     func() error  // begins its drain and waits for its end; nil: this one cannot be stopped
	Patience time.Duration // how long to wait for what must come; 0: ten seconds
}

// patience is how long a check waits for what must come when the Agent does not say.
const patience = 10 * time.Second

// quiet is how long a check listens for what must not come.
const quiet = 100 * time.Millisecond

// Check is one rule of SPEC.md. A check reports the first violations it finds and leaves the agent as it was, except one that Stops it.
type Check struct {
	Name    string
	Section string // of SPEC.md
	About   string
	Stops   bool // ends the agent: to be run last
	run     func(*visit)
}

// visit is a run of a check.
type visit struct {
	T
	agent *Agent
}

// Run runs the check.
func (c Check) Run(t T, a *Agent) {
	t.Helper()
	if c.Stops && a.Stop == nil {
		t.Fatalf("cannot stop this agent")
	}
	c.run(&visit{T: t, agent: a})
}

// Checks returns every check, in the order in which they are to be run.
func Checks() []Check {
	var all []Check
	for _, part := range [][]Check{handshakeChecks, eventChecks, tolerance, brokenPeers(), connectionChecks, stopping} {
		all = append(all, part...)
	}
	return all
}

// dial connects.
func (v *visit) dial() *Conn {
	v.Helper()
	c := Dial(v, v.agent.Socket)
	if v.agent.Patience > 0 {
		c.patience = v.agent.Patience
	}
	return c
}

// open connects and shakes hands.
func (v *visit) open(offer ...protocol.Encoding) (*Conn, *protocol.HandshakeResponse) {
	v.Helper()
	c := v.dial()
	r := c.Handshake(Hello(offer...))
	if !r.Success {
		v.Fatalf("handshake refused: %s", r.Error)
	}
	return c, r
}

// encodings runs a part in both encodings.
func (v *visit) encodings(f func(*Conn, *protocol.HandshakeResponse)) {
	v.Helper()
	for _, enc := range []protocol.Encoding{protocol.JSON, protocol.MsgPack} {
		c, r := v.open(enc)
		f(c, r)
		c.Close()
	}
}

// decided checks that r is a verdict on id.
func (v *visit) decided(r *protocol.Response, id, what string) {
	v.Helper()
	if r.CorrelationID != id {
		v.Errorf("%s: answer is for %q, want %q", what, r.CorrelationID, id)
	}
	if r.Error != "" || r.Verdict.Action == protocol.Undecided {
		v.Errorf("%s: no verdict: %s", what, r.Error)
	}
}

// refused checks the answer to an event that the agent cannot handle.
func (v *visit) refused(r *protocol.Response, id string) {
	v.Helper()
	if r.CorrelationID != id || r.Error == "" || r.Verdict.Action == protocol.ActionAllow {
		v.Errorf("answer for %q with error %q and decision %s, want an error for %q and no allow", r.CorrelationID, r.Error, r.Verdict.Action, id)
	}
}

// served checks that a new proxy gets an answer.
func (v *visit) served(id string) {
	v.Helper()
	c, _ := v.open(protocol.MsgPack, protocol.JSON)
	v.decided(c.Ask(Request(id)), id, "a proxy that keeps the rules")
	c.Close()
}
