package server

import (
	"errors"
	"io"
	"os"

	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// maxInterim bounds the interim answers to one request.
const maxInterim = 16

// reply reads the answer, of which w.upIn[:w.upEnd] is here, and relays it.
func (c *conn) reply(w *work) (res result, reusable bool) {
	start, interims := 0, 0
	for {
		n, refusal := w.resp.Parse(w.upIn[start:w.upEnd], w.req.MethodID, &w.gen.head)
		switch {
		case refusal != nil:
			return protocolError(refusal.Code), false
		case n == 0:
			if w.upEnd == len(w.upIn) {
				w.makeRoom(&start)
			}
			c.armUpstream(w)
			m, err := w.up.read(w.upIn[w.upEnd:])
			if err != nil {
				return c.cut(err), false
			}
			w.upEnd += m
			continue
		}
		if status := w.resp.Status; status >= 200 {
			if w.pool.Learns() {
				w.headAt = c.s.now()
			}
			if c.dismiss(w) {
				if status < 400 { // an outcome of gRPC
					status = 503
				}
				return result{kind: observe.FailureStatus, code: "upstream_status", retry: true, status: status}, false
			}
			w.patience = w.deadline
			return c.relay(w, start+n)
		} else if status == 101 {
			return c.upgrade(w, start+n)
		}
		if interims++; interims > maxInterim {
			return protocolError("upstream_too_many_interim"), false
		}
		if res := c.interim(w); res.kind != observe.FailureNone {
			return res, false
		}
		start += n
		w.resp.Reset()
	}
}

// makeRoom makes place for more of a head: by dropping what came before it, else with a larger buffer. The parser's limit bounds it.
func (w *work) makeRoom(start *int) {
	if *start > 0 {
		w.upEnd = copy(w.upIn, w.upIn[*start:w.upEnd])
		*start = 0
		w.resp.Reset()
		return
	}
	w.upIn = append(w.upIn, make([]byte, len(w.upIn))...)
}

// cut says what it means that the upstream connection ended inside an answer.
func (c *conn) cut(err error) result {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return c.ended()
	case isViolation(err):
		return protocolError("upstream_http2")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return result{kind: observe.FailureRead, code: "upstream_truncated"}
	}
	return result{kind: observe.FailureRead, code: "upstream_closed"}
}

// interim passes a 1xx answer on. 100 is only welcome when the client waits for it (RFC 9110 §10.1.1).
func (c *conn) interim(w *work) result {
	if w.resp.Status == 100 {
		if !w.expect || w.upload == nil {
			return protocolError("upstream_unasked_continue")
		}
		w.upload.proceed()
		return result{}
	}
	if w.req.Minor == 0 {
		return result{}
	}
	if w.upload != nil {
		w.upload.speaking.Lock()
		defer w.upload.speaking.Unlock()
	}
	w.out = http1.AppendStatusLineReason(w.out[:0], w.resp.Status, w.resp.Reason)
	w.out = append(http1.AppendEndToEnd(w.out, w.resp.Fields), "\r\n"...)
	if c.send(w.out, nil) != nil {
		return clientGone
	}
	return result{}
}

var clientGone = result{kind: observe.FailureCanceled, code: "client_gone"}

// relay passes the final answer on, whose head ends at w.upIn[at].
func (c *conn) relay(w *work, at int) (res result, reusable bool) {
	resp := &w.resp
	src := w.upIn[at:w.upEnd]
	w.reply.Init(resp.Framing, resp.ContentLength, http1.FromUpstream, &w.gen.head)
	if resp.Framing == http1.FramingNone && len(src) > 0 || resp.Framing == http1.FramingLength && int64(len(src)) > resp.ContentLength {
		return protocolError("upstream_extra_bytes"), false
	}
	if w.upload != nil {
		w.upload.answered()
		if !w.upload.consumed.Load() {
			w.keep = false
		}
	}
	w.x.BeginResponse(resp.Status, resp.Fields)
	phases := w.route.Chain.Phases()
	if phases.Has(filter.OnResponse) {
		if d := c.responsePhase(w); !d.Continues() {
			c.decide(w, &d)
			return result{}, false
		}
	}
	c.stick(w)
	c.editResponse(w, w.x.ResponseHeader())
	w.status = resp.Status
	c.appendResponse(w)
	if resp.Framing == http1.FramingNone {
		if c.flush(w, nil) != nil {
			return clientGone, false
		}
		return c.relayed(w, resp.KeepAlive)
	}
	if w.chunked && endless(w) {
		c.streaming.Store(true)
		defer c.streaming.Store(false)
	}
	return c.relayBody(w, src, at, phases.Has(filter.OnResponseBody))
}

// stick gives the client the cookie with which it comes back to the target.
func (c *conn) stick(w *work) {
	if cookie := w.pool.Cookie(&w.hint, w.target); cookie != nil {
		w.x.ResponseHeader().AddView(http1.Field{Name: nameSetCookie, Value: cookie, ID: http1.SetCookie})
	}
}

// relayed is the result of an answer that reached the client in full.
func (c *conn) relayed(w *work, reusable bool) (result, bool) {
	if w.keep {
		w.next = wantMore
	}
	if w.unwell() {
		return result{kind: observe.FailureStatus}, reusable
	}
	return result{}, reusable
}

func (c *conn) responsePhase(w *work) filter.Decision {
	if w.upload != nil { // the upload may be in a filter at this moment, and filters see one goroutine at a time
		w.upload.filtering.Lock()
		defer w.upload.filtering.Unlock()
	}
	c.expose(w.x)
	defer c.expose(nil)
	return w.route.Chain.Response(w.x)
}

func (c *conn) responseBodyPhase(w *work, data []byte, last bool) filter.Decision {
	if w.upload != nil {
		w.upload.filtering.Lock()
		defer w.upload.filtering.Unlock()
	}
	c.expose(w.x)
	defer c.expose(nil)
	return w.route.Chain.ResponseBody(w.x, data, last)
}

// appendResponse builds the head of the relayed answer in w.out and decides its framing.
func (c *conn) appendResponse(w *work) {
	resp, h := &w.resp, w.x.ResponseHeader()
	b := http1.AppendStatusLineReason(w.out[:0], resp.Status, resp.Reason)
	fields := h.Fields()
	dated := false
	for i := range fields {
		if fields[i].ID == http1.Date {
			dated = true
		}
		b = http1.AppendField(b, fields[i].Name, fields[i].Value)
	}
	if !dated {
		stamp := c.s.clock.Stamp(w.since)
		b = http1.AppendField(b, nameDate, stamp.HTTPDate[:])
	}
	w.chunked = false
	if resp.Framing == http1.FramingChunked || resp.Framing == http1.FramingUntilClose {
		if w.req.Minor == 0 {
			w.keep = false // the end of the connection is the end of the body
		} else {
			w.chunked = true
			b = append(b, "Transfer-Encoding: chunked\r\n"...)
		}
	}
	w.out = append(c.appendOwn(b, w, h), '\r', '\n')
}

// flush sends what is in w.out and then data.
func (c *conn) flush(w *work, data []byte) error {
	if len(data) > 0 && len(data) <= copyMax {
		w.out = append(w.out, data...)
		data = nil
	}
	w.begun = true
	err := c.send(w.out, data)
	w.out = w.out[:0]
	return err
}

const (
	copyMax = 4 << 10  // up to here copying a body behind its head is cheaper than a second vector
	flushAt = 48 << 10 // re-chunked data is sent when so much is there
)
