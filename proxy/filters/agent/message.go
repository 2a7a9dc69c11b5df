package agent

import (
	"errors"
	"strconv"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

var errNoWebSocket = errors.New("agent does not judge WebSocket messages, although its events say so")

// Message asks the agent about a message of a WebSocket. A filter of phase "request" looks at those of the client, one of phase "response" at those of the upstream.
func (a *asking) Message(x *filter.Exchange, m *filter.Message) filter.MessageDecision {
	if m.FromClient && a.phase == "response" || !m.FromClient && a.phase == "request" {
		return filter.Pass()
	}
	v := a.visit(x)
	if v.over {
		a.renew(x, v)
	}
	f := &protocol.WebSocketFrame{CorrelationID: v.session.ID(), Opcode: protocol.Opcode(m.Opcode), Data: m.Data, FromClient: m.FromClient, Index: m.Index, RouteID: x.Route(),
		ClientIP: x.Client().Addr().String()}
	start := time.Now()
	err := a.judge(x, v, f, start)
	took := time.Since(start)
	a.count(took, err, &v.resp.Verdict)
	if err != nil {
		return a.undecided(x, v, err, took)
	}
	return carry(m, &v.resp.Verdict, a.agent, took)
}

// judge gets a verdict that can be carried out.
func (a *asking) judge(x *filter.Exchange, v *visit, f *protocol.WebSocketFrame, start time.Time) error {
	if caps, ok := v.session.Capabilities(); ok && !caps.Features.WebSocket {
		return errNoWebSocket
	}
	if err := v.session.Call(f, start.Add(a.timeout), x, &v.resp); err != nil {
		return err
	}
	if s := v.resp.Verdict.Socket; s != nil {
		return f.Check(s)
	}
	return nil
}

// carry turns a verdict into a decision. One that is not about messages but would refuse a request ends the WebSocket.
func carry(m *filter.Message, v *protocol.Verdict, agent string, took time.Duration) filter.MessageDecision {
	d := filter.Pass()
	action := protocol.SocketAllow
	switch s := v.Socket; {
	case v.Action != protocol.ActionAllow:
		d, action = filter.CloseWith(websocket.ClosePolicy, ""), protocol.SocketClose
	case s == nil:
	default:
		switch action = s.Action; action {
		case protocol.SocketDrop:
			d = filter.Drop()
		case protocol.SocketReplace:
			m.Replace(s.Data)
		case protocol.SocketClose:
			d = filter.CloseWith(s.Code, s.Reason)
		}
	}
	if action != protocol.SocketAllow || len(v.Audit.Tags) > 0 || len(v.Audit.RuleIDs) > 0 {
		d.Verdict = filter.Verdict{Agent: agent, Event: "websocket_frame", Action: action.String(), Reason: reason(v), Tags: v.Audit.Tags, Rules: v.Audit.RuleIDs, Duration: took}
	}
	return d
}

// undecided applies the failure mode to a message: the WebSocket ends, or the message passes. The next one is asked about again, since a WebSocket may outlive many failures.
func (a *asking) undecided(x *filter.Exchange, v *visit, err error, took time.Duration) filter.MessageDecision {
	v.over = true
	mode := a.onFail
	if mode == "" {
		mode = x.OnFailure()
	}
	d := filter.CloseWith(websocket.CloseInternal, "")
	d.Verdict = filter.Verdict{Agent: a.agent, Event: "websocket_frame", Action: "close", Error: err.Error(), Duration: took}
	if mode == config.FailOpen {
		a.shared.metrics.FailOpens.Add(1)
		d.Action, d.Code, d.Verdict.Action = filter.PassMessage, 0, "allow"
	}
	return d
}

// renew begins another session after a failure: a late answer to the old one must not be taken for an answer to what is asked now.
func (a *asking) renew(x *filter.Exchange, v *visit) {
	v.session.End()
	v.renewals++
	v.session = a.pool.Session(a.correlation(x) + "-" + strconv.Itoa(v.renewals))
	v.over = false
}
