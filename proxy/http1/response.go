package http1

// Response is the head of a response from an upstream. Use one value for many messages, as with Request. An interim
// response (1xx) is a message of its own; whether it, or a 101, was asked for is the driver's to judge.
type Response struct {
	head

	Minor  uint8
	Status int
	Reason []byte // as sent, may be empty

	Framing       Framing // what follows on the connection; FramingNone for HEAD, 1xx, 204 and 304
	ContentLength int64   // as declared, -1 when not given; with HEAD and 304 it does not describe this message
	KeepAlive     bool    // the connection can be used again after the body
	Upgrade       []byte  // Upgrade field of a 101 whose Connection says upgrade, else nil
}

// Reset prepares for the next message. It must be called when the buffer or the connection changes hands.
func (r *Response) Reset() {
	r.head.reset()
	*r = Response{head: r.head}
}

// Parse reads a response head from the start of buf, in the manner of Request.Parse. to is the method of the request
// that it answers: an answer to HEAD has no body. Refusals have status 502 and codes that begin with "upstream_".
func (r *Response) Parse(buf []byte, to Method, l *Limits) (n int, refusal *Refusal) {
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
	n, f := r.parse(buf, to, l)
	if f == ok && n == 0 && full {
		f = headTooLarge
	}
	if f != ok {
		r.stage = stageDone
		return 0, &responseRefusals[f]
	}
	return n, nil
}

func (r *Response) parse(buf []byte, to Method, l *Limits) (int, fault) {
	if r.stage < stageFields {
		if f := r.parseLine(buf); f != ok || r.stage < stageFields {
			return 0, f
		}
	}
	n, f := r.parseFields(buf, l.fields(), FromUpstream)
	if n == 0 {
		return 0, f
	}
	r.stage = stageDone
	return n, r.finish(to)
}

// parseLine reads the status line: "HTTP/1.1 200 OK". The reason may be empty, and with it the space before it may be
// missing, as many servers send it; nothing else about the line is negotiable.
func (r *Response) parseLine(buf []byte) fault {
	const form = "HTTP/1.x nnn"
	for r.scan < len(form) {
		i := r.scan
		if i == len(buf) {
			return ok
		}
		c := buf[i]
		switch form[i] {
		case 'x':
			if c > '1' || c < '0' {
				return badStatusLine
			}
			r.Minor = c - '0'
		case 'n':
			if c-'0' > 9 {
				return badStatusCode
			}
			r.Status = r.Status*10 + int(c-'0')
		default:
			if c != form[i] {
				return badStatusLine
			}
		}
		r.scan++
	}
	if r.Status < 100 || r.Status > 599 {
		return badStatusCode
	}
	end := r.scan
	if end == len(form) {
		if end == len(buf) {
			return ok
		}
		if c := buf[end]; c != ' ' && c != '\r' {
			return lineFault(c, badStatusLine)
		}
	}
	end = scanValue(buf, end)
	r.scan = end
	if end == len(buf) || buf[end] == '\r' && end+1 == len(buf) {
		return ok
	}
	if buf[end] != '\r' || buf[end+1] != '\n' {
		return valueFault(buf[end])
	}
	r.Reason = trimmed(buf, len(form), end)
	r.endLine(end + 2)
	return ok
}

// finish judges the head as a whole. The order of rules is that of RFC 9112 §6.3.
func (r *Response) finish(to Method) (f fault) {
	if r.Framing, r.ContentLength, f = r.framing(r.Minor); f != ok {
		return f
	}
	if r.Status < 200 || r.Status == 204 {
		switch {
		case r.Framing == FramingChunked:
			return encodingNotAllowed
		case r.ContentLength > 0:
			return bodyNotAllowed
		}
		r.Framing = FramingNone
	} else if r.Status == 304 || to == MethodHead {
		r.Framing = FramingNone
	} else if r.Framing == FramingNone {
		r.Framing = FramingUntilClose
	}
	c, f := r.connection(FromUpstream)
	if f != ok {
		return f
	}
	r.KeepAlive = !c.close && (r.Minor == 1 || c.keepAlive) && r.Framing != FramingUntilClose
	if r.Status == 101 && c.upgrade && r.twice&Upgrade.bit() == 0 {
		r.Upgrade = r.Get(Upgrade)
	}
	return ok
}
