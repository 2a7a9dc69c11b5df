package http1

import "bytes"

// parseLength reads a Content-Length value: 1 to 19 digits within int64 (RFC 9110 §8.6).
func parseLength(value []byte) (int64, bool) {
	if len(value) == 0 || len(value) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range value {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + uint64(c-'0') // 19 digits fit in 64 bits
	}
	return int64(n), n <= 1<<63-1
}

// framing decides how the end of the body is found from the fields alone, by the rules both sides share. Without
// Content-Length and Transfer-Encoding it returns FramingNone and length -1.
func (h *head) framing(minor uint8) (framing Framing, length int64, f fault) {
	if h.seen&(1<<ContentLength|1<<TransferEncoding) == 0 {
		return FramingNone, -1, ok
	}
	if h.Has(TransferEncoding) {
		switch {
		case h.Has(ContentLength):
			return 0, 0, lengthAndEncoding
		case h.twice&TransferEncoding.bit() != 0:
			return 0, 0, encodingDuplicate
		case minor == 0:
			return 0, 0, encodingOldVersion
		}
		if value := h.Get(TransferEncoding); !EqualFold(value, "chunked") {
			return 0, 0, encodingFault(value)
		}
		return FramingChunked, -1, ok
	}
	if h.twice&ContentLength.bit() != 0 {
		return 0, 0, lengthDuplicate
	}
	length, valid := parseLength(h.Get(ContentLength))
	if !valid {
		return 0, 0, lengthInvalid
	}
	return FramingLength, length, ok
}

// encodingFault judges a value other than "chunked": a well-formed list with a coding we do not implement is 501; one
// that is malformed, or in which chunked is not last or not alone of its kind, is invalid (RFC 9112 §6.1).
func encodingFault(value []byte) fault {
	if len(value) == 0 || value[len(value)-1] == ',' {
		return encodingInvalid
	}
	for rest := value; len(rest) > 0; {
		var coding []byte
		coding, rest = NextElement(rest)
		if !ValidToken(coding) || EqualFold(coding, "chunked") && len(rest) > 0 {
			return encodingInvalid
		}
	}
	return encodingUnsupported
}

// NextElement splits off the first element of a comma-separated list of tokens, whitespace trimmed. Loop while rest is
// not empty; elements may be empty. Quoted strings are not known here.
func NextElement(list []byte) (element, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return trim(list[:i]), list[i+1:]
	}
	return trim(list), nil
}

// HasToken reports whether a comma-separated list contains a token in any case.
func HasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var element []byte
		if element, list = NextElement(list); EqualFold(element, token) {
			return true
		}
	}
	return false
}

// maxConnectionOptions bounds the options that name fields unknown to this package: each costs a pass over the fields.
const maxConnectionOptions = 16

// connection holds what the Connection fields of a message say.
type connection struct {
	close, keepAlive, upgrade bool
}

// connection reads all Connection fields and marks the fields they name as belonging to this hop.
// An option that names a known end-to-end field would make us drop, say, Authorization or X-Forwarded-For on the sender's
// word: clients are refused, upstreams not obeyed.
func (h *head) connection(side Side) (c connection, f fault) {
	if !h.Has(Connection) {
		return c, ok
	}
	named := 0
	for i := range h.Fields {
		if h.Fields[i].ID != Connection {
			continue
		}
		for rest := h.Fields[i].Value; len(rest) > 0; {
			var option []byte
			option, rest = NextElement(rest)
			switch {
			case len(option) == 0: // RFC 9110 §5.6.1.2: a recipient ignores empty elements
				continue
			case EqualFold(option, "keep-alive"):
				c.keepAlive = true
				continue
			case EqualFold(option, "close"):
				c.close = true
				continue
			case EqualFold(option, "upgrade"):
				c.upgrade = true
				continue
			case !ValidToken(option):
				return c, connectionOption
			}
			if id := lookupToken(option); id != Unknown {
				if side == FromClient && !IsHopByHop(id) {
					return c, connectionOption
				}
				continue
			}
			if named++; named > maxConnectionOptions {
				return c, connectionOption
			}
			h.markHop(option)
		}
	}
	return c, ok
}

// markHop marks every field with this name as belonging to this hop.
func (h *head) markHop(name []byte) {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == Unknown && EqualFoldBytes(f.Name, name) {
			f.Hop = true
		}
	}
}
