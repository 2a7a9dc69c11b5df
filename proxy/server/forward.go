package server

import (
	"errors"
	"os"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// result is how an attempt on a target ended. The zero result is an answer that was relayed to its end.
type result struct {
	kind  observe.Failure
	code  string // refusal code when kind is a failure
	retry bool   // nothing reached the client and trying again cannot do harm
	stale bool   // a pooled connection broke before the first byte of an answer: the target may be fine
}

// forward sends the request upstream and relays the answer, on another target when the first one fails and trying again is safe.
func (c *conn) forward(w *work) {
	r := w.route
	w.hint.Reset()
	for {
		t, err := r.Pool.Pick(&w.hint)
		if err != nil {
			c.upstreamFailed(w, "no_healthy_target")
			c.refuse(w, 503, "no_healthy_target")
			return
		}
		w.attempts++
		w.address, w.target = t.Address, t
		res := c.attempt(w, t)
		w.target = nil
		t.Done(res.kind)
		switch {
		case res.kind == observe.FailureNone || res.kind == observe.FailureStatus:
			return
		case res.retry && w.attempts < r.Attempts && c.s.now() < w.deadline:
			w.hint.Tried(t.Index)
			continue
		}
		c.fail(w, &res)
		return
	}
}

// fail answers for an upstream that did not.
func (c *conn) fail(w *work, r *result) {
	if w.settled {
		return // an answer was given already
	}
	status := 502
	switch r.kind {
	case observe.FailureCanceled:
		w.keep, w.aborted, w.refusal = false, true, r.code
		return
	case observe.FailureTimeout, observe.FailureConnectTimeout:
		status = 504
	case observe.FailurePoolFull:
		status = 503
	}
	c.upstreamFailed(w, r.code)
	c.refuse(w, status, r.code)
}

// attempt makes one try on a target: on a pooled connection and, when that turns out to be dead, once more on a fresh one.
func (c *conn) attempt(w *work, t *upstream.Target) result {
	c.arm(stageWork, 0)
	conn, reused, err := t.Acquire(w.facts.Deadline)
	for {
		if err != nil {
			return cannotConnect(err)
		}
		w.reused, w.using = reused, conn
		res, reusable := c.converse(w, conn)
		c.attach(nil)
		w.using = nil
		conn.Release(reusable)
		if !res.stale || !reused {
			return res
		}
		reused = false
		c.arm(stageWork, 0)
		conn, err = t.Dial(w.facts.Deadline)
	}
}

func cannotConnect(err error) result {
	res := result{kind: observe.FailureConnect, code: "upstream_connect", retry: true}
	var e *upstream.Error
	if errors.As(err, &e) {
		res.kind = e.Kind
	}
	switch res.kind {
	case observe.FailureResolve:
		res.code = "upstream_resolve"
	case observe.FailureTLS:
		res.code = "upstream_tls"
	case observe.FailureConnectTimeout:
		res.code = "upstream_connect_timeout"
	case observe.FailurePoolFull:
		res.code = "upstream_pool_full"
	}
	return res
}

// converse sends the request on a connection and relays the answer. It reports whether the connection can be used again.
func (c *conn) converse(w *work, conn *upstream.Conn) (res result, reusable bool) {
	w.up.use(conn.TCP, conn.Raw())
	if conn.Session != nil {
		w.up.secure(conn.Session, &c.s.boxes, nil)
	}
	w.upEnd = 0
	w.resp.Reset()
	if kick(c.kicked.Load()) != kickAbort {
		c.kicked.Store(uint32(kickNone)) // what ended an earlier wait says nothing about this one
	}
	c.attach(conn.TCP)
	c.appendRequest(w, conn)
	c.armUpstream(w)
	var n int
	var sent, err error
	if w.unread {
		if sent = w.up.write(w.out, nil); sent == nil {
			c.startUpload(w)
			n, err = w.up.read(w.upIn)
		}
	} else {
		n, sent, err = w.up.call(w.out, w.collected(), w.upIn)
	}
	if sent != nil || err != nil {
		res = c.broken(w, sent, err)
	} else {
		w.upEnd = n
		res, reusable = c.reply(w)
	}
	if w.upload != nil {
		res, reusable = c.endUpload(w, res, reusable)
	}
	return res, reusable
}

// armUpstream allows the upstream another while without progress, within the deadline of the exchange.
func (c *conn) armUpstream(w *work) {
	c.arm(stageUpstream, min(w.deadline, c.s.now()+int64(w.route.Timeouts.Read)))
}

// broken says what it means that the upstream connection failed before the first byte of an answer.
func (c *conn) broken(w *work, sent, err error) result {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(sent, os.ErrDeadlineExceeded) {
		return c.ended()
	}
	res := result{kind: observe.FailureRead, code: "upstream_closed"}
	if sent != nil {
		res.kind, res.code = observe.FailureWrite, "upstream_write"
	}
	// The upstream may have acted on what it got, so only what may be done twice is sent twice; and only what we still have.
	replayable := w.upload == nil && !w.begun
	safe := w.req.MethodID.IsIdempotent() || sent != nil && w.up.wrote == 0
	res.retry = replayable && safe
	res.stale = res.retry && w.reused
	return res
}

// ended says why a wait for the upstream was ended from outside.
func (c *conn) ended() result {
	switch kick(c.kicked.Swap(uint32(kickNone))) {
	case kickGone, kickAbort:
		return result{kind: observe.FailureCanceled, code: "client_gone"}
	}
	return result{kind: observe.FailureTimeout, code: "upstream_timeout"}
}

func protocolError(code string) result { return result{kind: observe.FailureProtocol, code: code} }

// appendRequest builds the outgoing head in w.out.
func (c *conn) appendRequest(w *work, conn *upstream.Conn) {
	req := &w.req
	b := append(append(w.out[:0], req.Method...), ' ')
	b = append(b, w.facts.Path...)
	if req.HasQuery {
		b = append(append(b, '?'), req.Query...)
	}
	b = append(b, " HTTP/1.1\r\n"...)
	w.expect = w.unread && req.Expect100
	fields := w.x.RequestHeader().Fields()
	named := false
	for i := range fields {
		switch fields[i].ID {
		case http1.Expect:
			continue
		case http1.Host:
			named = true
		}
		b = http1.AppendField(b, fields[i].Name, fields[i].Value)
	}
	if !named { // HTTP/1.0 without Host, or removed by a rule
		b = http1.AppendFieldString(b, "Host", conn.Target().Address)
	}
	if w.expect {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	if req.Framing == http1.FramingChunked {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if w.tunnel {
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	}
	w.out = append(b, '\r', '\n')
}
