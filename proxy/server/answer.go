package server

import (
	"strconv"

	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// decide carries out what a filter decided: the one way from a decision to the answer, the log line, the audit entry and the metrics.
func (c *conn) decide(w *work, d *filter.Decision) {
	w.action, w.by, w.reason = d.Action, d.By, d.Reason
	if w.begun { // too late for an answer of its own; a broken message tells the client so
		w.keep, w.aborted = false, true
		return
	}
	if d.Action == filter.ActionClose {
		w.keep = false
		return
	}
	w.x.BeginResponse(d.Status, nil)
	h := w.x.ResponseHeader()
	for _, f := range d.Fields {
		if err := h.Add(f.Name, f.Value); err != nil {
			c.s.log.Warn("field of decision left out", "filter", d.By, "error", err)
		}
	}
	body := d.Body
	if d.Action == filter.ActionRedirect {
		_ = h.Set("Location", d.Location) // checked by the chain
	} else if body == nil && d.Status >= 400 {
		body = c.errorBody(w, d.Status)
		_ = h.Set("Content-Type", "application/json")
	}
	c.answer(w, d.Status, h, body)
}

// refuse answers an error of the proxy itself: code is for the log, the client learns no more than the status says.
func (c *conn) refuse(w *work, status int, code string) {
	w.refusal = code
	if w.begun {
		w.keep, w.aborted = false, true
		return
	}
	h := &w.plain
	h.Reset(nil)
	if w.x != nil {
		w.x.BeginResponse(status, nil)
		h = w.x.ResponseHeader()
	}
	if w.grpc {
		c.refuseCall(w, status, h)
		return
	}
	h.AddView(http1.Field{Name: nameContentType, Value: valueJSON, ID: http1.ContentType})
	if status == 503 {
		h.AddView(http1.Field{Name: nameRetryAfter, Value: valueOne, ID: http1.RetryAfter})
	}
	c.answer(w, status, h, c.errorBody(w, status))
}

func (c *conn) tooLarge(w *work) {
	c.s.reached(observe.LimitBodySize, c.peer.Addr())
	c.refuse(w, 413, "body_too_large")
}

var (
	nameContentType = []byte("Content-Type")
	nameRetryAfter  = []byte("Retry-After")
	nameDate        = []byte("Date")
	nameSetCookie   = []byte("Set-Cookie")
	valueJSON       = []byte("application/json")
	valueOne        = []byte("1")
)

// answer sends a complete answer of our own. The body may be memory of w.text.
func (c *conn) answer(w *work, status int, h *filter.Header, body []byte) {
	w.status = status
	drain := c.unreadBody(w)
	c.editResponse(w, h)
	w.out = http1.AppendStatusLine(w.out[:0], status)
	w.out = http1.AppendEndToEnd(w.out, h.Fields())
	if !h.Has("Date") {
		stamp := c.s.clock.Stamp(w.since)
		w.out = http1.AppendField(w.out, nameDate, stamp.HTTPDate[:])
	}
	bodiless := status == 204 || status == 304
	if !bodiless {
		w.out = http1.AppendFieldInt(w.out, "Content-Length", int64(len(body)))
	}
	w.out = c.appendOwn(w.out, w, h)
	w.out = append(w.out, "\r\n"...)
	if bodiless || w.req.MethodID == http1.MethodHead {
		body = nil
	}
	w.begun = true
	if err := c.send(w.out, body); err != nil {
		w.keep, w.aborted = false, true
		return
	}
	w.sent += int64(len(body))
	switch {
	case drain:
		w.keep = c.discard(w)
		fallthrough
	case w.keep:
		w.next = wantMore
	case w.unread:
		w.next = wantLinger
	}
}

// editResponse gives an answer the request id, which is the one that is logged, and then makes the edits that the configuration asks for: they come last, so that
// they also hold for that field.
func (c *conn) editResponse(w *work, h *filter.Header) {
	if len(w.id) > 0 {
		h.SetView(http1.Field{Name: nameRequestID, Value: w.id, ID: http1.XRequestID})
	}
	if w.route != nil {
		w.route.ResponseRules.Apply(h)
	} else {
		c.settings.ResponseRules.Apply(h)
	}
}

// appendOwn appends the fields about the connection that every answer gets.
func (c *conn) appendOwn(dst []byte, w *work, h *filter.Header) []byte {
	if c.s.draining.Load() || c.settings.KeepaliveMaxRequests > 0 && c.requests >= c.settings.KeepaliveMaxRequests {
		w.keep = false
	}
	switch {
	case !w.keep:
		dst = append(dst, "Connection: close\r\n"...)
	case w.req.Minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}

// discardMax is how much of an unwanted request body is read to keep the connection.
const discardMax = 64 << 10

// unreadBody decides, before an answer of our own, what becomes of a request body nobody read: it reports whether to discard it afterwards. Otherwise the
// connection ends with the answer.
func (c *conn) unreadBody(w *work) (drain bool) {
	if !w.unread {
		return false
	}
	r := &w.req
	if w.keep && !r.Expect100 && w.upload == nil && r.Framing == http1.FramingLength && r.ContentLength <= discardMax {
		return true
	}
	w.keep = false
	return false
}

// discard reads the request body away and reports whether that succeeded in time.
func (c *conn) discard(w *work) bool {
	from := w.start + w.headLen
	have := min(int64(w.end-from), w.req.ContentLength)
	w.received = w.req.ContentLength
	deadline := c.s.at(w.since) + int64(c.settings.RequestTimeout)
	c.arm(stageBody, deadline)
	big := c.s.bigBuffer(w)
	for left := w.req.ContentLength - have; left > 0; {
		n, err := c.readBody(big[:min(left, largeBuffer)], deadline, nil)
		if err != nil {
			return false
		}
		left -= int64(n)
	}
	w.rest = w.in[from+int(have) : w.end]
	return true
}

// errorBody renders the JSON body of an error.
func (c *conn) errorBody(w *work, status int) []byte {
	b := append(w.text[:0], `{"error":"`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(append(b, ' '), http1.StatusText(status)...)
	b = append(append(b, `","message":"`...), w.message(status)...)
	b = append(append(b, `","request_id":"`...), w.id...)
	w.text = append(b, '"', '}', '\n')
	return w.text
}

// message explains a status, or better the one refusal that a person usually causes and can mend.
func (w *work) message(status int) string {
	if w.refusal == codePlainHTTP {
		return "This port speaks HTTPS: use https:// in the address."
	}
	return message(status)
}

// message is what a client is told about a status, and all it is told.
func message(status int) string {
	switch status {
	case 400:
		return "The request could not be understood."
	case 401:
		return "Authentication is required."
	case 403:
		return "Access to this resource is not allowed."
	case 404:
		return "There is nothing here."
	case 405:
		return "This method is not allowed here."
	case 408:
		return "The request did not arrive in time."
	case 413:
		return "The request body is too large."
	case 414:
		return "The request target is too long."
	case 417:
		return "The expectation cannot be met."
	case 421:
		return "This connection is not for that host."
	case 429:
		return "Too many requests."
	case 431:
		return "The request header is too large."
	case 500:
		return "Something went wrong here."
	case 501:
		return "This is not implemented."
	case 502:
		return "The server behind this proxy gave no usable answer."
	case 503:
		return "The service is not available at the moment."
	case 504:
		return "The server behind this proxy did not answer in time."
	case 505:
		return "This version of HTTP is not supported."
	}
	return "The request was not served."
}
