package agent

import (
	"encoding/json"
	"strings"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/proxy/filter"
)

// decision turns a verdict into a decision. Header changes of the answer that the agent asks for together with a refusal go into the refusal.
func decision(v *protocol.Verdict) filter.Decision {
	var d filter.Decision
	switch v.Action {
	case protocol.ActionAllow:
		return filter.Continue()
	case protocol.ActionBlock:
		d = filter.Respond(v.Status, v.Body, fieldsOf(v.Headers)...)
	case protocol.ActionRedirect:
		d = filter.Redirect(v.Status, v.URL)
	case protocol.ActionChallenge:
		d = challenge(v)
	}
	d.Fields = change(d.Fields, v.ResponseHeaders)
	return d
}

func fieldsOf(h protocol.Headers) []filter.Field {
	out := make([]filter.Field, len(h))
	for i := range h {
		out[i] = filter.Field{Name: h[i].Name, Value: h[i].Value}
	}
	return out
}

// change applies header operations to the fields of an answer.
func change(fields []filter.Field, ops []protocol.HeaderOp) []filter.Field {
	for i := range ops {
		op := &ops[i]
		if op.Kind != protocol.HeaderAdd {
			kept := fields[:0]
			for _, f := range fields {
				if !strings.EqualFold(f.Name, op.Name) {
					kept = append(kept, f)
				}
			}
			fields = kept
		}
		if op.Kind != protocol.HeaderRemove {
			fields = append(fields, filter.Field{Name: op.Name, Value: op.Value})
		}
	}
	return fields
}

// schemes are the challenge types that are HTTP authentication schemes, which browsers and clients answer by themselves (RFC 9110 section 11).
func scheme(kind string) (string, bool) {
	switch strings.ToLower(kind) {
	case "basic":
		return "Basic", true
	case "bearer":
		return "Bearer", true
	case "digest":
		return "Digest", true
	case "negotiate":
		return "Negotiate", true
	}
	return "", false
}

// challenge is 401 with WWW-Authenticate for authentication schemes, the parameters being those of the scheme. Any other kind ("captcha", "javascript", …)
// is 403 with the kind and the parameters as JSON, for the page's own script to act on. Neither may be cached.
func challenge(v *protocol.Verdict) filter.Decision {
	noStore := filter.Field{Name: "Cache-Control", Value: "no-store"}
	if name, ok := scheme(v.ChallengeType); ok {
		return filter.Challenge(401, nil, filter.Field{Name: "WWW-Authenticate", Value: name + authParams(v.Params)}, noStore)
	}
	params := make(map[string]string, len(v.Params))
	for _, p := range v.Params {
		params[p.Name] = p.Value
	}
	body, err := json.Marshal(map[string]any{"challenge": map[string]any{"type": v.ChallengeType, "params": params}})
	if err != nil { // strings always marshal
		return filter.Challenge(403, nil, noStore)
	}
	return filter.Challenge(403, body, filter.Field{Name: "Content-Type", Value: "application/json"}, noStore)
}

// authParams writes parameters as quoted strings. One that could not stand in a header field is left out.
func authParams(params []protocol.Header) string {
	var b strings.Builder
	for _, p := range params {
		if filter.CheckField(p.Name, p.Value) != nil {
			continue
		}
		sep := " "
		if b.Len() > 0 {
			sep = ", "
		}
		b.WriteString(sep)
		b.WriteString(p.Name)
		b.WriteString(`="`)
		for i := range len(p.Value) {
			if c := p.Value[i]; c == '"' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(p.Value[i])
		}
		b.WriteByte('"')
	}
	return b.String()
}
