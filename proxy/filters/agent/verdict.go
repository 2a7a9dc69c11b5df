package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/client"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

var (
	errTooLong  = errors.New("body is longer than the agent is to see")
	errMutation = errors.New("agent wants to change the body, which is not available yet")
)

// question is one event for the agent.
type question struct {
	event   string
	message any
	timeout time.Duration
	phase   filter.Phase
	last    bool // of a body
}

// ask sends the question and turns the answer, or its absence, into a decision.
func (a *asking) ask(x *filter.Exchange, v *visit, q question) filter.Decision {
	if v.over {
		return filter.Continue()
	}
	start := time.Now()
	deadline := start.Add(q.timeout)
	if end := x.Deadline(); end.Before(deadline) {
		deadline = end
	}
	err := v.session.Call(q.message, deadline, x, &v.resp)
	took := time.Since(start)
	if err == nil {
		err = usable(&v.resp.Verdict)
	}
	a.count(took, err, &v.resp.Verdict)
	if err != nil {
		return a.failed(x, v, q.event, err, statusOf(err), took)
	}
	return a.decide(x, v, &q, took)
}

// count adds the call to the metrics. A client that went away says nothing about the agent.
func (a *asking) count(took time.Duration, err error, v *protocol.Verdict) {
	switch {
	case errors.Is(err, client.ErrCanceled):
	case errors.Is(err, client.ErrTimeout):
		a.shared.metrics.Done(took, observe.CallTimeout, "")
	case errors.Is(err, client.ErrOverload):
		a.shared.process.Hit(observe.LimitAgentQueue)
		a.shared.metrics.Done(took, observe.CallError, "")
	case err != nil:
		a.shared.metrics.Done(took, observe.CallError, "")
	default:
		a.shared.metrics.Done(took, observe.CallOK, v.Action.String())
	}
}

// usable refuses a verdict of which any part could not be carried out: half a verdict is none.
func usable(v *protocol.Verdict) error {
	for _, m := range []*protocol.BodyMutation{v.RequestBody, v.ResponseBody} {
		if m != nil && m.Data != nil {
			return errMutation
		}
	}
	for _, ops := range [][]protocol.HeaderOp{v.RequestHeaders, v.ResponseHeaders} {
		for i := range ops {
			if err := filter.CheckField(ops[i].Name, ops[i].Value); err != nil {
				return fmt.Errorf("agent asks for an impossible change: %w", err)
			}
		}
	}
	switch {
	case v.Action == protocol.ActionBlock && (v.Status < 200 || v.Status > 599), v.Action == protocol.ActionRedirect && (v.Status < 300 || v.Status > 399):
		return fmt.Errorf("agent asks for an impossible answer: %s with status %d", v.Action, v.Status)
	case v.Action == protocol.ActionRedirect:
		if err := filter.CheckField("Location", v.URL); err != nil {
			return fmt.Errorf("agent asks for an impossible answer: %w", err)
		}
	}
	for i := range v.Headers {
		if err := filter.CheckField(v.Headers[i].Name, v.Headers[i].Value); err != nil {
			return fmt.Errorf("agent asks for an impossible answer: %w", err)
		}
	}
	return nil
}

// statusOf is what the client gets when there is no verdict and the failure mode is closed.
func statusOf(err error) int {
	if errors.Is(err, client.ErrTimeout) {
		return 504
	}
	return 503
}

// decide carries a verdict out.
func (a *asking) decide(x *filter.Exchange, v *visit, q *question, took time.Duration) filter.Decision {
	verdict := &v.resp.Verdict
	if verdict.NeedsMore && !q.last && q.phase&(filter.OnRequestBody|filter.OnResponseBody) != 0 {
		return filter.Continue() // provisional; the chunk that decides is recorded
	}
	d := decision(verdict)
	x.AddVerdict(filter.Verdict{Agent: a.agent, Event: q.event, Action: verdict.Action.String(), Status: d.Status, Reason: reason(verdict),
		Tags: verdict.Audit.Tags, Rules: verdict.Audit.RuleIDs, Duration: took})
	if !d.Continues() {
		return d.Because(reason(verdict))
	}
	if q.phase == filter.OnRequest {
		apply(x.RequestHeader(), verdict.RequestHeaders)
	}
	switch q.phase {
	case filter.OnRequest, filter.OnRequestBody:
		v.later = append(v.later, verdict.ResponseHeaders...)
	case filter.OnResponse:
		apply(x.ResponseHeader(), verdict.ResponseHeaders)
	}
	return d
}

// failed applies the failure mode: the exchange is refused, or goes on without this agent.
func (a *asking) failed(x *filter.Exchange, v *visit, event string, err error, status int, took time.Duration) filter.Decision {
	mode := a.onFail
	if mode == "" {
		mode = x.OnFailure()
	}
	v.over = true
	v.free()
	record := filter.Verdict{Agent: a.agent, Event: event, Action: "allow", Error: err.Error(), Duration: took}
	if mode == config.FailOpen && !errors.Is(err, client.ErrCanceled) {
		a.shared.metrics.FailOpens.Add(1)
		x.AddVerdict(record)
		return filter.Continue()
	}
	record.Action, record.Status = "block", status
	x.AddVerdict(record)
	return filter.Respond(status, nil).Because("agent " + a.agent + " did not decide: " + err.Error())
}

// reason is the shortest account of a verdict for the logs.
func reason(v *protocol.Verdict) string {
	switch {
	case len(v.Audit.ReasonCodes) > 0:
		return v.Audit.ReasonCodes[0]
	case len(v.Audit.RuleIDs) > 0:
		return v.Audit.RuleIDs[0]
	case len(v.Audit.Tags) > 0:
		return v.Audit.Tags[0]
	case v.Action == protocol.ActionChallenge:
		return v.ChallengeType
	}
	return ""
}

// header is what apply changes.
type header interface {
	Add(name, value string) error
	Set(name, value string) error
	Remove(name string) int
}

// apply makes changes that usable has checked, so none can fail.
func apply(h header, ops []protocol.HeaderOp) {
	for i := range ops {
		switch op := &ops[i]; op.Kind {
		case protocol.HeaderSet:
			_ = h.Set(op.Name, op.Value)
		case protocol.HeaderAdd:
			_ = h.Add(op.Name, op.Value)
		case protocol.HeaderRemove:
			h.Remove(op.Name)
		}
	}
}
