package http1

// Request is the head of a request. Use one value for many messages: Reset, then Parse until it returns n > 0 or a
// refusal. All slices are views into the buffer given to Parse.
//
// From the shared head it has: Fields, the field lines in order; Has and Get for known names; Find for any name.
type Request struct {
	head

	Method   []byte // as sent
	MethodID Method
	Target   []byte // as sent
	Path     []byte // undecoded; "/" when absolute-form has none, "*" in asterisk-form
	Query    []byte // without "?"; see HasQuery
	HasQuery bool   // tells "/?" from "/"
	Host     []byte // name and optional port as sent; empty only in HTTP/1.0
	Minor    uint8  // 0 or 1: HTTP/1.0 or HTTP/1.1

	Framing       Framing // FramingNone, FramingLength or FramingChunked
	ContentLength int64   // -1 when not given
	KeepAlive     bool    // the client wants to keep the connection
	Expect100     bool    // the client waits for 100 (Continue) before it sends the body
	Upgrade       []byte  // Upgrade field, when it occurs once, Connection asks for it, and no body is between; else nil

	authority []byte // of absolute-form, else nil
}

// Reset prepares for the next message. It must be called when the buffer or the connection changes hands.
func (r *Request) Reset() {
	r.head.reset()
	*r = Request{head: r.head}
}

// Parse reads a request head from the start of buf. It returns the length of the head, or 0 and no refusal when more
// bytes are needed: call it again with the same bytes and more behind them. Parsing goes on where it stopped, so a head
// that comes in pieces costs O(n) in all. A head longer than the limits is refused whether it came at once or not.
func (r *Request) Parse(buf []byte, l *Limits) (n int, refusal *Refusal) {
	full := len(buf) >= l.headBytes()
	if full {
		buf = buf[:l.headBytes()]
	}
	if len(buf) == 0 {
		return 0, nil
	}
	if !r.resume(buf) {
		r.Reset()
		r.resume(buf)
	}
	n, f := r.parse(buf, l)
	if f == ok && n == 0 && full {
		f = headTooLarge
		if r.stage == stageTarget {
			f = targetTooLong
		}
	}
	if f != ok {
		r.stage = stageDone
		return 0, &requestRefusals[f]
	}
	return n, nil
}

func (r *Request) parse(buf []byte, l *Limits) (int, fault) {
	if r.stage < stageFields {
		if f := r.parseLine(buf, l.targetBytes()); f != ok || r.stage < stageFields {
			return 0, f
		}
	}
	n, f := r.parseFields(buf, l.fields(), FromClient)
	if n == 0 {
		return 0, f
	}
	r.stage = stageDone
	return n, r.finish()
}

// parseLine reads the request line, preceded by at most one empty line (RFC 9112 §2.2).
func (r *Request) parseLine(buf []byte, maxTarget int) fault {
	if r.stage == stageStart {
		if f := r.skipEmptyLine(buf); f != ok || r.stage == stageStart {
			return f
		}
	}
	if r.stage == stageMethod {
		if f := r.parseMethod(buf); f != ok || r.stage == stageMethod {
			return f
		}
	}
	if r.stage == stageTarget {
		if f := r.parseTarget(buf, maxTarget); f != ok || r.stage == stageTarget {
			return f
		}
	}
	return r.parseVersion(buf)
}

func (r *Request) skipEmptyLine(buf []byte) fault {
	if buf[0] == '\r' {
		if len(buf) < 3 {
			if len(buf) == 2 && buf[1] != '\n' {
				return bareCR
			}
			return ok
		}
		if buf[1] != '\n' {
			return bareCR
		}
		if buf[2] == '\r' {
			return leadingEmptyLines
		}
		r.start, r.scan = 2, 2
	}
	r.stage = stageMethod
	return ok
}

func (r *Request) parseMethod(buf []byte) fault {
	i := r.scan
	for i < len(buf) && classes[buf[i]]&classToken != 0 {
		i++
	}
	if i-r.start > maxMethodBytes {
		return methodTooLong
	}
	if i == len(buf) {
		r.scan = i
		return ok
	}
	if buf[i] != ' ' || i == r.start {
		return lineFault(buf[i], badMethod)
	}
	r.Method = buf[r.start:i:i]
	r.MethodID = LookupMethod(r.Method)
	switch r.MethodID {
	case MethodConnect:
		return methodConnect
	case MethodOther:
		if isMiscased(r.Method) {
			return methodCase
		}
	}
	r.start, r.scan, r.stage = i+1, i+1, stageTarget
	return ok
}

// lineFault names what is wrong with a byte in a request line; otherwise is for bytes that are not control bytes.
func lineFault(c byte, otherwise fault) fault {
	switch {
	case c == '\n':
		return bareLF
	case c == '\r' || c == ' ' || c == '\t':
		return badRequestLine
	case c < 0x20 || c == 0x7f:
		return controlByte
	}
	return otherwise
}

func (r *Request) parseVersion(buf []byte) fault {
	const version = "HTTP/1.1\r\n"
	line := buf[r.start:]
	if len(line) >= len(version) && string(line[:len(version)]) == version {
		r.Minor = 1
		r.endLine(r.start + len(version))
		return ok
	}
	for i, c := range line {
		switch {
		case i < 5 && c == version[i], i == 5 && c-'0' <= 9, i == 6 && c == '.', i == 7 && c-'0' <= 9, i == 8 && c == '\r':
			continue
		case i == 9 && c == '\n':
			return r.endVersion(line[5], line[7])
		case i == 9:
			return bareCR
		}
		if i == 0 {
			return lineFault(c, badVersion)
		}
		if c == '\n' {
			return bareLF
		}
		return badVersion
	}
	return ok
}

// endVersion judges a well-formed version. No minor version above 1 exists, so a client that claims one is not a client.
func (r *Request) endVersion(major, minor byte) fault {
	if major != '1' || minor > '1' {
		return versionUnsupported
	}
	r.Minor = minor - '0'
	r.endLine(r.start + len("HTTP/1.1\r\n"))
	return ok
}

func (h *head) endLine(next int) {
	h.start, h.scan, h.stage = next, next, stageFields
}

// finish judges the head as a whole, once all its fields are known.
func (r *Request) finish() (f fault) {
	if f := r.finishHost(); f != ok {
		return f
	}
	if r.Framing, r.ContentLength, f = r.framing(r.Minor); f != ok {
		return f
	}
	if r.MethodID == MethodTrace && r.Framing != FramingNone {
		return bodyNotAllowed // RFC 9110 §9.3.8
	}
	c, f := r.connection(FromClient)
	if f != ok {
		return f
	}
	r.KeepAlive = !c.close && (r.Minor == 1 || c.keepAlive)
	if r.Minor == 0 {
		return ok
	}
	if r.Has(Expect) {
		if r.twice&Expect.bit() != 0 || !EqualFold(r.Get(Expect), "100-continue") {
			return expectationFailed
		}
		r.Expect100 = r.Framing == FramingChunked || r.ContentLength > 0
	}
	if c.upgrade && r.twice&Upgrade.bit() == 0 && r.Framing != FramingChunked && r.ContentLength <= 0 {
		r.Upgrade = r.Get(Upgrade)
	}
	return ok
}

// finishHost checks Host and absolute-form's authority against each other (RFC 9112 §3.2).
func (r *Request) finishHost() fault {
	switch {
	case r.twice&Host.bit() != 0:
		return hostDuplicate
	case r.Has(Host):
		r.Host = r.Get(Host)
		if !ValidHost(r.Host) {
			return hostInvalid
		}
		if r.authority != nil && !EqualFoldBytes(r.authority, r.Host) {
			return hostMismatch
		}
	case r.Minor == 1:
		return hostMissing
	default:
		r.Host = r.authority
	}
	return ok
}

// IsWebSocket reports whether the request is a GET that asks for an upgrade to WebSocket and nothing else.
func (r *Request) IsWebSocket() bool {
	return r.MethodID == MethodGet && EqualFold(r.Upgrade, "websocket")
}
