package http2

import (
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// Request is what HTTP/2 itself wants to know of the fields of a request; everything else is judged by package http1 when it reads the head.
type Request struct {
	Method, Scheme, Authority, Path string
	Protocol                        string // of an extended CONNECT (RFC 8441)
	ContentLength                   int64  // -1 = not given

	fields []hpack.HeaderField // without the pseudo fields
	cookie bool                // there is at least one
	host   bool                // among fields
}

// ReadRequest reads the fields of a request. An error says why it is malformed (RFC 9113 §8.1.1); the stream is then reset.
func ReadRequest(stream uint32, fields []hpack.HeaderField) (r Request, err *Error) {
	r.ContentLength = -1
	n := 0
	for n < len(fields) && strings.HasPrefix(fields[n].Name, ":") {
		n++
	}
	bad := r.readPseudo(fields[:n])
	r.fields = fields[n:]
	for i := range r.fields {
		if bad == "" {
			bad = r.readField(&r.fields[i])
		}
	}
	if bad == "" {
		bad = r.check()
	}
	if bad != "" {
		return r, streamError(stream, ProtocolError, bad)
	}
	return r, nil
}

func (r *Request) readPseudo(fields []hpack.HeaderField) (bad string) {
	for i := range fields {
		f := &fields[i]
		var to *string
		switch f.Name {
		case ":method":
			to = &r.Method
		case ":scheme":
			to = &r.Scheme
		case ":authority":
			to = &r.Authority
		case ":path":
			to = &r.Path
		case ":protocol":
			to = &r.Protocol
		default: // an answer's
			return "pseudo-field-unknown"
		}
		switch {
		case *to != "":
			return "pseudo-field-twice"
		case f.Value == "" || !isGraphic(f.Value):
			return "pseudo-field-value"
		}
		*to = f.Value
	}
	return ""
}

// isGraphic reports whether s can stand in a request line without ending anything.
func isGraphic(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// readField judges one field (RFC 9113 §8.2).
func (r *Request) readField(f *hpack.HeaderField) (bad string) {
	if bad := checkField(f); bad != "" {
		return bad
	}
	switch f.Name {
	case "host":
		if r.host {
			return "host-twice"
		}
		r.host = true
		if r.Authority == "" {
			r.Authority = f.Value
		} else if !strings.EqualFold(r.Authority, f.Value) {
			return "host-differs"
		}
	case "cookie":
		r.cookie = true
	case "content-length":
		n, err := strconv.ParseUint(f.Value, 10, 63)
		if r.ContentLength >= 0 || err != nil || f.Value[0] == '+' {
			return "content-length"
		}
		r.ContentLength = int64(n)
	case "te":
		if f.Value != "trailers" {
			return "te"
		}
	}
	return ""
}

// checkField judges a field of a request, an answer or a trailer section.
func checkField(f *hpack.HeaderField) (bad string) {
	name, value := view(f.Name), view(f.Value)
	switch {
	case strings.HasPrefix(f.Name, ":"):
		return "pseudo-field-late"
	case !http1.ValidToken(name):
		return "field-name"
	case !http1.ValidFieldValue(value) || len(value) > 0 && (isBlank(value[0]) || isBlank(value[len(value)-1])):
		return "field-value"
	}
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			return "field-case"
		}
	}
	switch f.Name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return "hop-field"
	}
	return ""
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// view is s as bytes that nobody may change.
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// check judges the pseudo fields together (RFC 9113 §8.3.1).
func (r *Request) check() (bad string) {
	switch {
	case r.Method == "" || !http1.ValidToken(view(r.Method)):
		return "method"
	case r.Protocol != "" && (r.Method != "CONNECT" || r.Authority == ""):
		return "protocol"
	case r.Method == "CONNECT" && r.Protocol == "":
		if r.Scheme != "" || r.Path != "" || r.Authority == "" {
			return "connect"
		}
		return ""
	case r.Scheme == "" || r.Path == "":
		return "pseudo-field-missing"
	case r.Scheme != "http" && r.Scheme != "https":
		return "scheme"
	case r.Path[0] != '/' && (r.Path != "*" || r.Method != "OPTIONS"): // anything else would be read as another form of target
		return "path"
	}
	return ""
}

// AppendHead appends the request's head as that of an HTTP/1.1 message. With end no body follows; else it has the length that was given, or is chunked.
//
// A WebSocket that is asked for by an extended CONNECT becomes an upgrade. The caller adds Sec-WebSocket-Key, which HTTP/2 does not have, and the empty line.
func (r *Request) AppendHead(dst []byte, end bool) []byte {
	dst = append(r.appendTarget(dst), " HTTP/1.1\r\n"...)
	if r.Authority != "" {
		dst = http1.AppendFieldString(dst, "host", r.Authority)
	}
	for i := range r.fields {
		switch f := &r.fields[i]; {
		case f.Name == "host", f.Name == "te", f.Name == "cookie", f.Name == "sec-websocket-key" && r.IsWebSocket():
		default:
			dst = http1.AppendFieldString(dst, f.Name, f.Value)
		}
	}
	if r.cookie {
		dst = r.appendCookie(dst)
	}
	switch {
	case r.IsWebSocket():
		return append(dst, "connection: upgrade\r\nupgrade: websocket\r\n"...)
	case !end && r.ContentLength < 0:
		dst = append(dst, "transfer-encoding: chunked\r\n"...)
	}
	return append(dst, '\r', '\n')
}

// IsWebSocket reports whether the stream is to become a WebSocket.
func (r *Request) IsWebSocket() bool { return r.Protocol == "websocket" }

// appendTarget appends method and target. CONNECT to whatever else keeps its name, under which it is refused.
func (r *Request) appendTarget(dst []byte) []byte {
	switch {
	case r.IsWebSocket():
		return append(append(dst, "GET "...), r.Path...)
	case r.Method == "CONNECT":
		return append(append(dst, "CONNECT "...), r.Authority...)
	}
	return append(append(append(dst, r.Method...), ' '), r.Path...)
}

// appendCookie joins the pieces of a cookie field (RFC 9113 §8.2.3).
func (r *Request) appendCookie(dst []byte) []byte {
	dst = append(dst, "cookie: "...)
	first := true
	for i := range r.fields {
		if r.fields[i].Name != "cookie" {
			continue
		}
		if !first {
			dst = append(dst, "; "...)
		}
		dst, first = append(dst, r.fields[i].Value...), false
	}
	return append(dst, '\r', '\n')
}

// ReadTrailers reads the fields behind a body. They are views of what the decoder keeps until its next block.
func ReadTrailers(stream uint32, fields []hpack.HeaderField, dst []http1.Field) ([]http1.Field, *Error) {
	for i := range fields {
		f := &fields[i]
		if bad := checkField(f); bad != "" {
			return dst, streamError(stream, ProtocolError, bad)
		}
		dst = append(dst, http1.Field{Name: view(f.Name), Value: view(f.Value), ID: http1.LookupField(view(f.Name))})
	}
	return dst, nil
}
