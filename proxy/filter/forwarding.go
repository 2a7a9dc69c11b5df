package filter

import "github.com/sentinel-stack/sentinel/proxy/http1"

// Forwarding is what a request said about its way here, taken out of the header by DropForwarding.
type Forwarding struct {
	For       []byte // X-Forwarded-For, joined
	Forwarded []byte
	Trace     []byte // traceparent

	Proto, Host, Port bool // X-Forwarded-Proto, -Host and -Port stayed in the header
}

// DropForwarding removes the forwarding fields, so that the server can write its own. With all true, everything a client could use to pretend to be
// somebody else goes. Otherwise what a trusted proxy said is returned, and X-Forwarded-Proto, -Host and -Port stay.
func (h *Header) DropForwarding(all bool) Forwarding {
	var f Forwarding
	fields := h.fields[:0]
	for i := range h.fields {
		field := h.fields[i]
		keep := !all
		switch field.ID {
		case http1.XForwardedFor:
			if keep {
				f.For = h.Join(f.For, field.Value)
			}
			continue
		case http1.Forwarded:
			if keep {
				f.Forwarded = h.Join(f.Forwarded, field.Value)
			}
			continue
		case http1.Traceparent:
			if keep {
				f.Trace = field.Value
			}
			continue
		case http1.XRequestID:
			continue
		case http1.XForwardedProto:
			f.Proto = keep
		case http1.XForwardedHost:
			f.Host = keep
		case http1.XForwardedPort:
			f.Port = keep
		case http1.Tracestate, http1.XRealIP:
		default:
			keep = true
		}
		if keep {
			fields = append(fields, field)
		}
	}
	h.fields = fields
	return f
}

// Join returns "a, b", or b when a is empty, in memory that is valid until the exchange is over.
func (h *Header) Join(a, b []byte) []byte {
	if len(a) == 0 {
		return b
	}
	n := len(h.arena)
	h.arena = append(append(append(h.arena, a...), ", "...), b...)
	return h.arena[n:len(h.arena):len(h.arena)]
}
