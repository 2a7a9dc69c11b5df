// Package http1 is the HTTP/1.1 codec of the proxy, for both sides, without any I/O: bytes go in, and out come a parsed
// head, pieces of a body, "need more", or a refusal; messages are turned into bytes by the Append functions.
//
// # Ownership
//
// Everything a parser returns is a view into the buffer the caller passed in; it is valid until the caller changes that
// buffer. Nothing here allocates once a Request, Response or Body has been used a few times (they keep their slices), so
// drivers pool them and call Reset.
//
// # Strictness
//
// A proxy is dangerous where two readers can read one message differently (RFC 9112 §11.2), so this package refuses
// whatever is ambiguous instead of repairing it, from clients and from upstreams alike:
//
//   - Lines end with CRLF. A bare LF, a bare CR, NUL or any other control byte except HTAB in a value is refused.
//   - One empty line (exactly CRLF) is tolerated before a request line, none before a status line.
//   - The request line has exactly two single spaces. Versions are HTTP/1.1 and HTTP/1.0; another well-formed version is
//     505, anything else 400.
//   - Methods are tokens of at most 32 bytes (longer: 501). CONNECT is 501, since this is a gateway and never a tunnel to
//     a place of the client's choice. A standard method in the wrong case ("get") is 400: it is a different method by
//     RFC 9110 §9.1, yet some servers run it as the standard one, so rules on methods could be walked around.
//   - Targets: origin-form; absolute-form with http or https, no user information and an authority equal to Host;
//     asterisk-form with OPTIONS. Bytes outside printable ASCII and the bytes `"`, `#`, `<`, `>` are refused, and in the
//     path also `\`, which some servers take for a slash.
//   - Field names are non-empty tokens directly followed by ":"; obsolete line folding is refused. From clients, a name
//     that becomes a known one when "_" is read as "-" (Content_Length, X_Forwarded_For) is refused, because CGI-like
//     servers cannot tell the two apart.
//   - Host: exactly one in HTTP/1.1, at most one in HTTP/1.0; a registered name of letters, digits, "-", "." and "_", or
//     an IPv6 literal, with an optional port.
//   - Content-Length: at most one field, digits only, within int64. Transfer-Encoding: at most one field, exactly
//     "chunked", never together with Content-Length, never in HTTP/1.0. Another coding is 501.
//   - Connection options are tokens and name no end-to-end field known to this package (RFC 9110 §7.6.1).
//   - Chunk sizes are 1 to 16 hexadecimal digits; chunk extensions are parsed by the grammar without whitespace, bounded
//     and dropped; trailers follow the rules of fields, are bounded, and contain no field that frames, routes or
//     authenticates.
//
// A refused message leaves the connection in doubt, so every refusal asks for it to be closed.
package http1

// Limits bounds one message. A zero member means the default.
type Limits struct {
	MaxHeadBytes     int // request or status line plus fields, terminating empty line included
	MaxTargetBytes   int // request target
	MaxFields        int // field lines in a head; also in a trailer section
	MaxChunkExtBytes int // extensions of one chunk
	MaxTrailerBytes  int // trailer section of a chunked body, terminating empty line included
}

// Defaults for members of Limits that are zero.
const (
	DefaultMaxHeadBytes     = 16 << 10
	DefaultMaxTargetBytes   = 8 << 10
	DefaultMaxFields        = 100
	DefaultMaxChunkExtBytes = 256
	DefaultMaxTrailerBytes  = 4 << 10
)

func (l *Limits) headBytes() int {
	if l == nil || l.MaxHeadBytes <= 0 {
		return DefaultMaxHeadBytes
	}
	return l.MaxHeadBytes
}

func (l *Limits) targetBytes() int {
	if l == nil || l.MaxTargetBytes <= 0 {
		return DefaultMaxTargetBytes
	}
	return l.MaxTargetBytes
}

func (l *Limits) fields() int {
	if l == nil || l.MaxFields <= 0 {
		return DefaultMaxFields
	}
	return l.MaxFields
}

func (l *Limits) chunkExtBytes() int {
	if l == nil || l.MaxChunkExtBytes <= 0 {
		return DefaultMaxChunkExtBytes
	}
	return l.MaxChunkExtBytes
}

func (l *Limits) trailerBytes() int {
	if l == nil || l.MaxTrailerBytes <= 0 {
		return DefaultMaxTrailerBytes
	}
	return l.MaxTrailerBytes
}

// Framing says how the end of a body is found (RFC 9112 §6.3).
type Framing uint8

const (
	FramingNone       Framing = iota // no body at all
	FramingLength                    // ContentLength bytes, possibly 0
	FramingChunked                   // chunked transfer coding
	FramingUntilClose                // responses only: everything until the peer closes
)

// String names the framing for logs and test output.
func (f Framing) String() string {
	switch f {
	case FramingNone:
		return "none"
	case FramingLength:
		return "length"
	case FramingChunked:
		return "chunked"
	case FramingUntilClose:
		return "until-close"
	}
	return "unknown"
}
