package server

import (
	"errors"
	"os"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// result is how an attempt on a target ended. The zero result is an answer that was relayed to its end.
type result struct {
	kind     observe.Failure
	code     string // refusal code when kind is a failure
	retry    bool   // nothing reached the client and trying again cannot do harm
	cause    Cause  // why, for the retry policy
	stale    bool   // a pooled connection broke before the first byte of an answer: the target may be fine
	noTarget bool   // no target could be picked
	status   int    // of an answer that was not passed on; 0 = there was none, or it was passed on
}

// answered reports whether the answer of the upstream is the answer of the exchange.
func (r *result) answered() bool {
	return r.kind == observe.FailureNone || r.kind == observe.FailureStatus && r.status == 0
}

// forward sends the request upstream and relays the answer: after the attempts of the route's upstream failed, those of its fallback.
func (c *conn) forward(w *work) {
	r := w.route
	c.enterPool(w, r.Pool, &r.Timeouts, r.UpstreamID)
	res := c.tryPool(w)
	for !res.answered() && c.fallBack(w, &res) {
		res = c.tryPool(w)
	}
	if !res.answered() {
		c.fail(w, &res)
	}
}

// tryPool makes attempts on targets of the pool until one is answered or trying again is not safe, not allowed or of no use.
func (c *conn) tryPool(w *work) (res result) {
	for w.tries = 1; ; w.tries++ {
		t, err := w.pool.Pick(&w.hint)
		if err != nil {
			if w.tries > 1 {
				return res // what went wrong before says more
			}
			return result{kind: observe.FailurePoolFull, code: "no_healthy_target", retry: true, noTarget: true}
		}
		w.attempts++
		w.address, w.target = t.Address, t
		w.tried = c.s.now()
		res = c.attempt(w, t)
		t, w.target = w.target, nil // of several that were asked, the one that counts
		if w.pool.Learns() {
			c.observe(w, t, &res)
		}
		t.Done(res.kind, &w.hint)
		if res.answered() || !c.again(w, &res, w.tries) {
			return res
		}
		w.hint.Tried(t.Index)
	}
}

// observe tells the pool how long the head of the answer, or the failure, took.
func (c *conn) observe(w *work, t *upstream.Target, r *result) {
	if r.kind == observe.FailureCanceled || r.kind == observe.FailurePoolFull {
		return
	}
	end := w.headAt
	if end < w.tried {
		end = c.s.now()
	}
	t.Observe(time.Duration(end-w.tried), r.kind != observe.FailureNone)
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
	case observe.FailureStatus: // every other attempt was worse
		status = r.status
	}
	c.upstreamFailed(w, r.code)
	c.refuse(w, status, r.code)
}

// attempt makes one try on a target: on a pooled connection and, when that turns out to be dead, once more on a fresh one.
func (c *conn) attempt(w *work, t *upstream.Target) result {
	c.arm(stageWork, 0)
	until := w.facts.Deadline
	w.patience, w.headAt = w.deadline, 0
	if limit := w.route.Retry.Timeout; limit > 0 {
		w.patience = min(w.deadline, c.s.now()+int64(limit))
		if end := time.Now().Add(limit); end.Before(until) {
			until = end
		}
	}
	var origin *upstream.Origin
	if w.pool.Introduces() {
		w.origin = upstream.Origin{Client: c.clientPort(w), Local: c.local}
		origin = &w.origin
	}
	if w.hedges() {
		return c.race(w, t, origin)
	}
	var conn *upstream.Conn
	var reused bool
	var err error
	if w.tunnel {
		conn, reused, err = t.AcquireTunnel(until, origin)
	} else {
		conn, reused, err = t.AcquireFor(until, origin)
	}
	for {
		if err != nil {
			return cannotConnect(err)
		}
		w.reused, w.using = reused, conn
		res, reusable := c.converse(w, conn)
		c.disengage(w, conn, reusable)
		if !res.stale || !reused {
			return res
		}
		reused = false
		c.arm(stageWork, 0)
		if w.tunnel {
			conn, err = t.DialTunnel(until)
		} else {
			conn, err = t.Dial(until)
		}
	}
}

func cannotConnect(err error) result {
	res := result{kind: observe.FailureConnect, code: "upstream_connect", retry: true, cause: OnConnect}
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

// engage makes a connection the one that the exchange is on.
func (c *conn) engage(w *work, conn *upstream.Conn) {
	w.up.speak(conn, &c.s.boxes)
	w.resp.Reset()
	if kick(c.kicked.Load()) != kickAbort {
		c.kicked.Store(uint32(kickNone)) // what ended an earlier wait says nothing about this one
	}
	c.attach(conn.TCP)
}

// disengage gives it back.
func (c *conn) disengage(w *work, conn *upstream.Conn, reusable bool) {
	touched := c.detach()
	w.using = nil
	conn.Release(reusable && !touched)
}

// converse sends the request on a connection and relays the answer. It reports whether the connection can be used again.
func (c *conn) converse(w *work, conn *upstream.Conn) (res result, reusable bool) {
	c.engage(w, conn)
	w.upEnd = 0
	c.appendRequest(w, conn.Target().Address)
	c.armUpstream(w)
	var n int
	var sent, err error
	if w.unread {
		if sent = w.up.write(w.out, nil); sent == nil {
			c.startUpload(w)
			n, err = w.up.read(w.upIn)
		}
	} else {
		n, sent, err = w.up.call(w.out, w.known(), w.upIn)
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

// armUpstream allows the upstream another while without progress, within the deadlines of the attempt and the exchange.
func (c *conn) armUpstream(w *work) {
	c.arm(stageUpstream, min(w.patience, c.s.now()+int64(w.timeouts.Read)))
}

// broken says what it means that the upstream connection failed before the first byte of an answer.
func (c *conn) broken(w *work, sent, err error) result {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(sent, os.ErrDeadlineExceeded) {
		res := c.ended()
		res.retry = res.kind == observe.FailureTimeout && w.replayable() && w.harmless()
		return res
	}
	if conn := w.using; conn.Multiplexed() {
		return c.brokenStream(w, sent, err)
	}
	res := result{kind: observe.FailureRead, code: "upstream_closed", cause: OnReset}
	if sent != nil {
		res.kind, res.code = observe.FailureWrite, "upstream_write"
	}
	// The upstream may have acted on what it got, so only what may be done twice is sent twice; and only what we still have.
	safe := w.harmless() || sent != nil && w.up.wrote == 0
	res.retry = w.replayable() && safe
	res.stale = res.retry && w.reused
	return res
}

// ended says why a wait for the upstream was ended from outside.
func (c *conn) ended() result {
	switch kick(c.kicked.Swap(uint32(kickNone))) {
	case kickGone, kickAbort:
		return result{kind: observe.FailureCanceled, code: "client_gone"}
	}
	return result{kind: observe.FailureTimeout, code: "upstream_timeout", cause: OnTimeout}
}

func protocolError(code string) result { return result{kind: observe.FailureProtocol, code: code} }

// appendRequest builds the outgoing head in w.out, for the target with this address.
func (c *conn) appendRequest(w *work, address string) {
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
		b = http1.AppendFieldString(b, "Host", upstream.HostOf(address))
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
