package server

import (
	"time"

	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// record writes down how an exchange ended: metrics, access log, audit log.
func (c *conn) record(w *work, end time.Time) {
	r := c.s.noRoute
	if w.route != nil {
		r = w.route.Metrics
	}
	if !w.counted {
		r.Begin(c.stripe)
	}
	w.sample = observe.Sample{
		Stripe: c.stripe, Method: observe.ParseMethod(w.req.Method), Status: w.status, Latency: end.Sub(w.since),
		BytesIn: w.received, BytesOut: w.sent, Retries: max(0, w.attempts-1),
	}
	r.End(&w.sample)
	if w.action > filter.ActionContinue {
		r.Blocked.Add(w.by)
	}
	if w.gen.AccessLog != nil {
		c.logAccess(w, end)
	}
	if w.gen.AuditLog != nil && w.x != nil && (w.action > filter.ActionContinue || len(w.x.Verdicts()) > 0) {
		c.logAudit(w)
	}
}

func (c *conn) logAccess(w *work, end time.Time) {
	req := &w.req
	a := &w.access
	*a = observe.AccessRecord{
		Stripe: c.stripe, Time: w.since, Duration: end.Sub(w.since), RequestID: w.id, ClientIP: w.client, Method: req.Method, Host: req.Host,
		Path: req.Path, Query: req.Query, Protocol: "HTTP/1.1", Status: w.status, BytesSent: w.sent, BytesReceived: w.received,
		Listener: c.ln.id, UpstreamAddr: w.address, UpstreamAttempts: w.attempts, ConnectionReused: w.reused, Refusal: w.refusal,
		UserAgent: req.Get(http1.UserAgent), Referer: req.Get(http1.Referer),
	}
	switch {
	case c.stream != nil:
		a.Protocol = c.stream.protocol()
	case req.Minor == 0:
		a.Protocol = "HTTP/1.0"
	}
	if t := c.facts(); t != nil {
		a.TLSVersion, a.TLSCipher, a.ServerName, a.ClientCert = t.Version, t.Cipher, t.ServerName, t.Client
	}
	if w.route != nil {
		a.Route, a.Upstream = w.route.ID, w.route.UpstreamID
		if w.upstream != "" { // it may have been the fallback
			a.Upstream = w.upstream
		}
	}
	if w.trace[0] != 0 {
		a.TraceID = w.trace[3:35]
	}
	if w.action > filter.ActionContinue {
		a.Agent, a.Decision = w.by, w.action.String()
		if vs := w.x.Verdicts(); len(vs) > 0 {
			a.Agent = vs[len(vs)-1].Agent
		}
	}
	w.gen.AccessLog.Append(a)
}

// auditMessage writes down what an agent said of a message of a WebSocket.
func (c *conn) auditMessage(w *work, v *filter.Verdict) {
	if w.gen.AuditLog != nil {
		c.beginAudit(w, time.Now())
		w.auditVerdict(v)
		w.gen.AuditLog.Append(&w.audit)
	}
}

// beginAudit makes w.audit an entry about the exchange.
func (c *conn) beginAudit(w *work, at time.Time) {
	w.audit = observe.AuditRecord{
		Time: at, RequestID: w.id, ClientIP: w.client, Method: w.req.Method, Host: w.req.Host, Path: w.req.Path, Route: w.route.ID, Generation: w.gen.Number,
	}
}

// auditVerdict makes w.audit tell of a verdict.
func (w *work) auditVerdict(v *filter.Verdict) {
	a := &w.audit
	a.Event, a.Reason, a.Agent, a.RuleIDs, a.Tags, a.Action, a.Status = observe.EventAgentDecision, v.Reason, v.Agent, v.Rules, v.Tags, v.Action, v.Status
	a.Phase = v.Event
	if v.Error != "" {
		a.Reason = v.Error
	}
	switch {
	case v.Action != "allow" && v.Action != "replace":
		a.Event = observe.EventBlocked
	case v.Error != "":
		a.Event = observe.EventFailOpen
	}
}

// logAudit writes one entry per verdict of an agent, and one for a decision that no verdict explains.
func (c *conn) logAudit(w *work) {
	a := &w.audit
	c.beginAudit(w, w.since)
	explained := false
	for _, v := range w.x.Verdicts() {
		w.auditVerdict(&v)
		if a.Event == observe.EventBlocked {
			explained = true
			if a.Status == 0 {
				a.Status = w.status
			}
		}
		w.gen.AuditLog.Append(a)
	}
	if w.action > filter.ActionContinue && !explained {
		a.Event, a.Reason, a.Agent, a.Phase, a.RuleIDs, a.Tags = observe.EventBlocked, w.reason, "", "", nil, nil
		a.Action, a.Status, a.Metadata = w.action.String(), w.status, []observe.Pair{{Name: "filter", Value: w.by}}
		w.gen.AuditLog.Append(a)
	}
}
