package main

import (
	"strconv"
	"time"

	"github.com/sentinel-stack/sentinel/agents/waf/audit"
	"github.com/sentinel-stack/sentinel/agents/waf/ruleset"
	"github.com/sentinel-stack/sentinel/protocol"
)

// maxTold bounds the rules named in one verdict and one record.
const maxTold = 100

// judged turns what the rules found into a verdict, and counts and logs it.
func (w *waf) judged(v *visit, stage string, refusal *ruleset.Refusal) protocol.Verdict {
	c := &v.rules.set.Config
	verdict := protocol.Allow()
	if refusal != nil {
		verdict = protocol.Block(refusal.Status, protocol.Headers{{Name: "content-type", Value: "text/plain; charset=utf-8"}}, []byte(c.Body))
		w.count.blocked.Add(1)
	}
	verdict = verdict.WithTags("waf", "crs-"+v.rules.set.Version)
	matches := v.matches()
	matches = matches[:min(len(matches), maxTold)]
	if len(matches) == 0 && refusal == nil {
		return verdict
	}
	for i := range matches {
		verdict.Audit.RuleIDs = append(verdict.Audit.RuleIDs, strconv.Itoa(matches[i].ID))
		w.count.hit(matches[i].ID)
	}
	inbound, outbound := v.x.Score()
	verdict = verdict.WithCustom("inbound-score", strconv.Itoa(inbound)).WithCustom("outbound-score", strconv.Itoa(outbound))
	if refusal != nil {
		verdict = verdict.WithReasons("WAF_RULE_" + strconv.Itoa(refusal.Rule))
	} else {
		verdict = verdict.WithTags("waf-detected")
		w.count.detected.Add(1)
	}
	w.record(v, stage, &verdict, matches, inbound, outbound)
	return verdict
}

// record writes the line of the audit log.
func (w *waf) record(v *visit, stage string, verdict *protocol.Verdict, matches []ruleset.Match, inbound, outbound int) {
	w.mu.RLock() // held while writing, so that a log is closed only when nobody writes to it
	defer w.mu.RUnlock()
	if w.log == nil {
		return
	}
	r, m := v.request, &v.request.Metadata
	rec := &audit.Record{Time: time.Now().UTC().Format(time.RFC3339Nano), Request: m.RequestID, Exchange: m.CorrelationID, Client: m.ClientIP, Method: r.Method, Host: r.Headers.Get("host"),
		Target: r.URI, Route: m.RouteID, Stage: stage, Mode: v.rules.set.Config.Mode, Action: verdict.Action.String(), Status: verdict.Status,
		Inbound: inbound, Outbound: outbound, Version: v.rules.set.Version}
	for _, x := range matches {
		rule := audit.Rule{ID: x.ID, Phase: x.Phase, Message: x.Message, Severity: x.Severity, Tags: x.Tags, Data: x.Data}
		for _, p := range x.Places {
			rule.Matched = append(rule.Matched, audit.Found(p))
		}
		rec.Rules = append(rec.Rules, rule)
	}
	v.rules.redact.Apply(rec, v.rules.set.Config.AuditMatchedData)
	w.log.Write(rec)
}
