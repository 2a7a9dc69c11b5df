package server

import (
	"errors"
	"io"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// relayBody passes the body of an answer on, piece by piece as it comes. src is what is here already, at is where w.upIn is free after it was used. With
// inspect, filters see each piece before it is forwarded.
func (c *conn) relayBody(w *work, src []byte, at int, inspect bool) (res result, reusable bool) {
	buf := w.upIn[at:]
	filled := len(src) == len(buf)
	for done := false; !done; {
		consumed, data, ended, refusal := w.reply.Next(src)
		if refusal != nil {
			return protocolError(refusal.Code), false
		}
		src, done = src[consumed:], ended
		if done && len(src) > 0 {
			if !w.begun {
				return protocolError("upstream_extra_bytes"), false
			}
			w.resp.KeepAlive = false // too late to refuse; the connection is not trusted any more
		}
		if inspect && (len(data) > 0 || done) {
			if d := c.responseBodyPhase(w, data, done); !d.Continues() {
				c.decide(w, &d)
				return result{}, false
			}
		}
		if c.pass(w, data) != nil {
			return clientGone, false
		}
		if done || len(src) > 0 {
			continue
		}
		if len(w.out) > 0 && c.flush(w, nil) != nil {
			return clientGone, false
		}
		if c.canSplice(w, inspect) {
			if res, ok := c.spliceBody(w); !ok {
				return res, false
			}
			src, filled = nil, false
			continue
		}
		if filled || w.reply.Remaining() > int64(len(buf)) {
			buf = c.s.bigBuffer(w)
		}
		c.armUpstream(w)
		n, err := w.up.read(buf)
		if err != nil {
			if c.mayLeave(err) {
				return c.leaveStream(w)
			}
			if !errors.Is(err, io.EOF) || w.reply.Close() != nil {
				return c.cut(err), false
			}
			if inspect { // the end of the connection is the end of the body
				if d := c.responseBodyPhase(w, nil, true); !d.Continues() {
					c.decide(w, &d)
					return result{}, false
				}
			}
			w.resp.KeepAlive = false
			break
		}
		src, filled = buf[:n], n == len(buf)
	}
	if w.chunked {
		w.out = http1.AppendLastChunk(w.out, w.reply.Trailers)
	}
	if len(w.out) > 0 && c.flush(w, nil) != nil {
		return clientGone, false
	}
	return c.relayed(w, w.resp.KeepAlive)
}

// pass forwards a piece of the body: at once, or gathered in w.out when it has to be framed anew.
func (c *conn) pass(w *work, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	w.sent += int64(len(data))
	if !w.chunked {
		return c.flush(w, data)
	}
	w.out = http1.AppendChunk(w.out, data)
	if len(w.out) < flushAt {
		return nil
	}
	return c.flush(w, nil)
}
