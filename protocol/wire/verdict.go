package wire

import (
	"math"

	"github.com/sentinel-stack/sentinel/protocol"
)

// response writes an answer. JSON carries every key, because foreign peers may insist on them; msgpack leaves out what has its default.
func (e *encoder) response(r *protocol.Response) {
	v := &r.Verdict
	full := !e.msgpack
	n := 4 + e.greased()
	for _, present := range [...]bool{full || len(v.RequestHeaders) > 0, full || len(v.ResponseHeaders) > 0, full || len(v.Routing) > 0,
		full || v.NeedsMore, full || v.RequestBody != nil, full || v.ResponseBody != nil, full || v.Socket != nil, r.Error != ""} {
		if present {
			n++
		}
	}
	e.mapStart(n)
	e.key("correlation_id")
	e.str(r.CorrelationID)
	e.key("version")
	e.int(protocol.Version)
	e.key("decision")
	e.decision(r)
	if full || len(v.RequestHeaders) > 0 {
		e.key("request_headers")
		e.headerOps(v.RequestHeaders)
	}
	if full || len(v.ResponseHeaders) > 0 {
		e.key("response_headers")
		e.headerOps(v.ResponseHeaders)
	}
	if full || len(v.Routing) > 0 {
		e.key("routing_metadata")
		e.strMap(v.Routing)
	}
	e.key("audit")
	e.audit(r)
	if full || v.NeedsMore {
		e.key("needs_more")
		e.bool(v.NeedsMore)
	}
	if full || v.RequestBody != nil {
		e.key("request_body_mutation")
		e.bodyMutation(v.RequestBody)
	}
	if full || v.ResponseBody != nil {
		e.key("response_body_mutation")
		e.bodyMutation(v.ResponseBody)
	}
	if full || v.Socket != nil {
		e.key("websocket_decision")
		e.socketVerdict(v.Socket)
	}
	if r.Error != "" {
		e.key("error")
		e.str(r.Error)
	}
	e.writeGrease()
	e.mapEnd()
}

// decision writes the verdict's action. An agent that could not decide says so in "error"; for peers that do not know that key it blocks.
func (e *encoder) decision(r *protocol.Response) {
	v := &r.Verdict
	if r.Error != "" || v.Action == protocol.Undecided {
		e.wrapped("block", 3)
		e.block(500, nil, nil)
		e.mapEnd()
		return
	}
	switch v.Action {
	case protocol.ActionAllow:
		e.str("allow")
		return
	case protocol.ActionBlock:
		e.wrapped("block", 3)
		e.block(v.Status, v.Headers, v.Body)
	case protocol.ActionRedirect:
		e.wrapped("redirect", 2)
		e.key("url")
		e.str(v.URL)
		e.key("status")
		e.int(int64(v.Status))
		e.mapEnd()
	case protocol.ActionChallenge:
		e.wrapped("challenge", 2)
		e.key("challenge_type")
		e.str(v.ChallengeType)
		e.key("params")
		e.strMap(v.Params)
		e.mapEnd()
	}
	e.mapEnd()
}

// wrapped opens {"<name>":{ with n keys inside.
func (e *encoder) wrapped(name string, n int) {
	e.mapStart(1)
	e.key(name)
	e.mapStart(n)
}

func (e *encoder) block(status int, h protocol.Headers, body []byte) {
	e.key("status")
	e.int(int64(status))
	e.key("body")
	if body == nil {
		e.null()
	} else {
		e.bytesStr(body)
	}
	e.key("headers")
	if len(h) == 0 {
		e.null()
	} else {
		e.lastWins(h)
	}
	e.mapEnd()
}

// lastWins writes fields as the map name to value that the wire has here; of several lines with one name the last is kept.
func (e *encoder) lastWins(h protocol.Headers) {
	var kept []protocol.Header
	for i := range h {
		again := false
		for j := i + 1; j < len(h) && !again; j++ {
			again = equalFold(h[i].Name, h[j].Name)
		}
		if !again {
			kept = append(kept, h[i])
		}
	}
	e.strMap(kept)
}

func (e *encoder) headerOps(ops []protocol.HeaderOp) {
	e.within(len(ops), protocol.MaxHeaderOps)
	e.listStart(len(ops))
	for i := range ops {
		op := &ops[i]
		e.mapStart(1)
		switch op.Kind {
		case protocol.HeaderRemove:
			e.key("remove")
			e.mapStart(1)
			e.key("name")
			e.str(op.Name)
			e.mapEnd()
			e.mapEnd()
			continue
		case protocol.HeaderAdd:
			e.key("add")
		default:
			e.key("set")
		}
		e.mapStart(2)
		e.key("name")
		e.str(op.Name)
		e.key("value")
		e.str(op.Value)
		e.mapEnd()
		e.mapEnd()
	}
	e.listEnd()
}

func (e *encoder) audit(r *protocol.Response) {
	a := &r.Verdict.Audit
	full := !e.msgpack
	n := 1
	for _, present := range [...]bool{full || len(a.Tags) > 0, full || len(a.RuleIDs) > 0, full || len(a.ReasonCodes) > 0, full || a.Confidence != 0} {
		if present {
			n++
		}
	}
	e.mapStart(n)
	if full || len(a.Tags) > 0 {
		e.key("tags")
		e.strList(a.Tags)
	}
	if full || len(a.RuleIDs) > 0 {
		e.key("rule_ids")
		e.strList(a.RuleIDs)
	}
	if full || a.Confidence != 0 {
		e.key("confidence")
		if a.Confidence == 0 {
			e.null()
		} else {
			e.float(a.Confidence)
		}
	}
	if full || len(a.ReasonCodes) > 0 {
		e.key("reason_codes")
		e.strList(a.ReasonCodes)
	}
	e.key("custom")
	facts := 0
	for i := range a.Custom {
		if a.Custom[i].Name != "correlation_id" {
			facts++
		}
	}
	e.within(facts, protocol.MaxAuditItems)
	e.mapStart(1 + facts)
	e.key("correlation_id")
	e.str(r.CorrelationID)
	for i := range a.Custom {
		if a.Custom[i].Name == "correlation_id" {
			continue // the protocol's
		}
		e.foreignKey(a.Custom[i].Name)
		e.str(a.Custom[i].Value)
	}
	e.mapEnd()
	e.mapEnd()
}

func (e *encoder) bodyMutation(m *protocol.BodyMutation) {
	if m == nil {
		e.null()
		return
	}
	e.mapStart(2)
	e.key("data")
	if m.Data == nil {
		e.null()
	} else {
		e.data(m.Data)
	}
	e.key("chunk_index")
	e.uint(uint64(m.Index))
	e.mapEnd()
}

// response reads an answer. The correlation id is the top-level one, else the one in audit.custom.
func (d *decoder) response(r *protocol.Response) {
	v, inAudit := &r.Verdict, ""
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			break
		}
		switch string(k) {
		case "correlation_id":
			r.CorrelationID = d.correlation()
		case "decision":
			d.require(v.Action == protocol.Undecided)
			d.decision(v)
		case "request_headers":
			v.RequestHeaders = d.headerOps()
		case "response_headers":
			v.ResponseHeaders = d.headerOps()
		case "routing_metadata":
			v.Routing = d.strMap(protocol.MaxAuditItems)
		case "audit":
			inAudit = d.audit(&v.Audit)
		case "needs_more":
			v.NeedsMore = d.bool()
		case "request_body_mutation":
			v.RequestBody = d.bodyMutation()
		case "response_body_mutation":
			v.ResponseBody = d.bodyMutation()
		case "websocket_decision":
			v.Socket = d.socketVerdict()
		case "error":
			r.Error = d.str()
		default:
			d.skip()
		}
	}
	if r.CorrelationID == "" {
		r.CorrelationID = inAudit
	}
	d.require(v.Action != protocol.Undecided)
}

func (d *decoder) decision(v *protocol.Verdict) {
	if d.isText() {
		d.require(string(d.view()) == "allow")
		v.Action = protocol.ActionAllow
		return
	}
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		d.require(v.Action == protocol.Undecided)
		switch string(k) {
		case "block":
			v.Action = protocol.ActionBlock
			d.block(v)
			d.require(v.Status >= 100)
		case "redirect":
			v.Action = protocol.ActionRedirect
			d.block(v)
			d.require(v.URL != "" && v.Status >= 100)
		case "challenge":
			v.Action = protocol.ActionChallenge
			d.block(v)
		default:
			d.fail(ErrMalformed)
		}
	}
}

// block reads the inside of a block, redirect or challenge; their keys do not overlap in meaning.
func (d *decoder) block(v *protocol.Verdict) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "status":
			v.Status = int(d.int(0, 999))
		case "body":
			if d.peek() == kindNull {
				d.skip()
			} else {
				v.Body = append([]byte{}, d.view()...)
			}
		case "headers":
			v.Headers = d.strMap(protocol.MaxHeaderOps)
		case "url":
			v.URL = d.str()
		case "challenge_type":
			v.ChallengeType = d.str()
		case "params":
			v.Params = d.strMap(protocol.MaxAuditItems)
		default:
			d.skip()
		}
	}
}

func (d *decoder) headerOps() []protocol.HeaderOp {
	var out []protocol.HeaderOp
	for l := d.listStart(); d.more(&l); {
		if len(out) == protocol.MaxHeaderOps {
			d.fail(ErrLimit)
			return nil
		}
		out = append(out, d.headerOp())
	}
	return out
}

func (d *decoder) headerOp() (op protocol.HeaderOp) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			d.require(op.Name != "")
			return op
		}
		d.require(op.Kind == 0)
		switch string(k) {
		case "set":
			op.Kind = protocol.HeaderSet
			d.nameValue(&op)
		case "add":
			op.Kind = protocol.HeaderAdd
			d.nameValue(&op)
		case "remove":
			op.Kind = protocol.HeaderRemove
			d.nameValue(&op)
			op.Value = ""
		default:
			d.fail(ErrMalformed)
		}
	}
}

func (d *decoder) nameValue(op *protocol.HeaderOp) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return
		}
		switch string(k) {
		case "name":
			op.Name = d.str()
		case "value":
			op.Value = d.str()
		default:
			d.skip()
		}
	}
}

// audit returns the correlation id it finds in custom, which is the protocol's and not kept among the facts.
func (d *decoder) audit(a *protocol.Audit) (id string) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return id
		}
		switch string(k) {
		case "tags":
			a.Tags = d.strList(protocol.MaxAuditItems)
		case "rule_ids":
			a.RuleIDs = d.strList(protocol.MaxAuditItems)
		case "reason_codes":
			a.ReasonCodes = d.strList(protocol.MaxAuditItems)
		case "confidence":
			a.Confidence = d.float()
		case "custom":
			id, a.Custom = d.custom()
		default:
			d.skip()
		}
	}
}

func (d *decoder) custom() (id string, facts []protocol.Header) {
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return id, facts
		}
		if string(k) == "correlation_id" && d.isText() {
			id = d.correlation()
			continue
		}
		if len(facts) == protocol.MaxAuditItems {
			d.fail(ErrLimit)
			return "", nil
		}
		name := d.keep(k, d.keyAt)
		facts = append(facts, protocol.Header{Name: name, Value: d.scalar()})
	}
}

func (d *decoder) bodyMutation() *protocol.BodyMutation {
	if d.peek() == kindNull {
		d.skip()
		return nil
	}
	out := &protocol.BodyMutation{}
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return out
		}
		switch string(k) {
		case "data":
			out.Data = d.data()
		case "chunk_index":
			out.Index = uint32(d.int(0, math.MaxUint32))
		default:
			d.skip()
		}
	}
}
