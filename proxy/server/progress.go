package server

import (
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// progress serves every request that is complete in the buffer and says what to do next. The body of a request that has a length and fits into the buffer is
// collected first; any other body, an upgrade, and a client that waits for 100 (Continue) need blocking reads.
func (c *conn) progress(w *work) outcome {
	if c.requests == 0 && c.plainHTTP2 && w.end > 0 {
		switch is, sure := isPreface(w.in[:w.end]); {
		case is && sure:
			return wantSession
		case is:
			c.arm(stageHead, c.s.now()+int64(c.settings.HeaderTimeout))
			return wantMore
		case c.settings.HTTP2.Only:
			c.s.metrics.Process.HTTP2Errors.Add("preface")
			return wantClose
		}
	}
	for w.start < w.end {
		if w.began.IsZero() {
			w.began = time.Now()
		}
		if !w.parsed {
			g := c.s.generation.Load()
			n, refusal := w.req.Parse(w.in[w.start:w.end], &g.head)
			if refusal != nil {
				return c.refuseHead(w, refusal)
			}
			if n == 0 {
				if stage(c.stage.Load()) != stageHead {
					c.arm(stageHead, c.s.at(w.began)+int64(c.settings.HeaderTimeout))
				}
				return wantMore
			}
			w.parsed, w.headLen = true, n
		}
		if !c.collect(w) {
			return wantMore
		}
		if w.blocking {
			return wantBlock
		}
		c.run(w)
		w.settle()
		if w.next != wantMore {
			return w.next
		}
	}
	w.start, w.end = 0, 0
	return wantMore
}

// collect reports whether the request can be served now: its body is in the buffer, or never will be as a whole.
func (c *conn) collect(w *work) bool {
	r := &w.req
	from := w.start + w.headLen
	have := int64(w.end - from)
	switch {
	case r.Upgrade != nil || r.Framing == http1.FramingChunked:
		w.blocking = true
	case r.Framing == http1.FramingLength && r.ContentLength > have:
		if r.Expect100 || r.ContentLength > int64(len(w.in)-w.headLen) {
			w.blocking = true
			return true
		}
		if r.ContentLength > int64(len(w.in)-from) {
			w.compact() // and parse again when more is there
		}
		if stage(c.stage.Load()) != stageBody {
			c.arm(stageBody, c.s.at(w.began)+int64(c.settings.RequestTimeout))
		}
		return false
	case r.Framing == http1.FramingLength:
		w.bodyLen = int(r.ContentLength)
	}
	return true
}

// refuseHead answers a head that the codec refused. The connection ends, because nobody knows where the next message would begin.
func (c *conn) refuseHead(w *work, r *http1.Refusal) outcome {
	c.s.countRefusal(r)
	c.runRefused(w, r.Status, r.Code)
	return wantLinger
}

// refuseLate answers a request that did not arrive in time.
func (c *conn) refuseLate(w *work, why kick) {
	limit, code := observe.LimitHeaderTimeout, "header_timeout"
	switch {
	case why == kickRate:
		limit, code = observe.LimitBodyRate, "body_rate"
	case w.parsed:
		limit, code = observe.LimitRequestTimeout, "request_timeout"
	}
	c.s.reached(limit, c.peer.Addr())
	c.runRefused(w, 408, code)
}

// countRefusal counts a refusal of the codec and, when it was for size, the limit behind it.
func (s *Server) countRefusal(r *http1.Refusal) {
	s.metrics.Process.Refusals.Add(r.Code)
	switch r.Code {
	case "head_too_large", "target_too_long":
		s.metrics.Process.Hit(observe.LimitHeaderSize)
	case "too_many_fields":
		s.metrics.Process.Hit(observe.LimitHeaderCount)
	}
}
