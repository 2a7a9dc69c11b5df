package server

import (
	"runtime/debug"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/route"
)

// run serves the request that is parsed in w and leaves in w.next what becomes of the connection.
func (c *conn) run(w *work) {
	c.begin(w)
	defer c.finish(w)
	g := w.gen
	req := &w.req
	w.keep = req.KeepAlive
	w.unread = w.blocking && req.Framing != http1.FramingNone
	w.received = int64(w.bodyLen)
	c.identify(w)
	if c.s.InFlight() > int64(g.Limits.MaxInFlightRequests) {
		c.s.reached(observe.LimitInFlight, c.peer.Addr())
		c.refuse(w, 503, "in_flight_limit")
		return
	}
	if limit, ok := c.admit(w); !ok {
		c.refuseBusy(w, limit, "in_flight_limit")
		return
	}
	path, err := route.Canonical(w.path, req.Path)
	if err != nil {
		c.s.metrics.Process.Refusals.Add("bad_path")
		w.keep = false
		c.refuse(w, 400, "bad_path")
		return
	}
	if len(path) > 0 && len(req.Path) > 0 && &path[0] != &req.Path[0] {
		w.path = path // keep what Canonical may have grown
	}
	if g.Challenges != nil && c.tls == nil && c.prove(w, path) {
		return
	}
	if c.secured != nil && !c.tls.Serves(c.secured.facts.ServerName, req.Host) && len(req.Host) > 0 {
		c.s.metrics.Process.Refusals.Add("misdirected")
		c.refuse(w, 421, "misdirected")
		return
	}
	c.assertIdentity(w)
	w.query = route.Query{Method: req.Method, Host: req.Host, Path: path, RawQuery: req.Query, Fields: req.Fields, ClientIP: w.client}
	i, ok := g.Table.Match(&w.query)
	if !ok {
		if i = c.settings.Default; i < 0 {
			c.refuse(w, 404, "no_route")
			return
		}
	}
	c.enter(w, &c.settings.Routes[i], path)
	if !c.admitRoute(w) {
		c.refuseBusy(w, observe.LimitRouteInFlight, "in_flight_limit")
		return
	}
	c.dispatch(w)
}

// begin starts the clock and takes a generation.
func (c *conn) begin(w *work) {
	w.state = state{since: w.began, gen: c.s.acquire(), next: wantClose}
	if w.gen.Number != c.generation {
		c.configure(w.gen)
	}
	c.requests++
	c.arm(stageWork, 0)
}

// runRefused answers a message that never became a request.
func (c *conn) runRefused(w *work, status int, code string) {
	if w.began.IsZero() {
		w.began = time.Now()
	}
	c.begin(w)
	defer c.finish(w)
	w.id = w.gen.IDFormat.Append(w.idBuf[:0], w.since)
	w.client = c.peer.Addr()
	c.refuse(w, status, code)
}

// enter makes the exchange: from here on every fact is known.
func (c *conn) enter(w *work, r *Route, path []byte) {
	w.route = r
	patience := r.Timeout
	if w.grpc = isGRPC(w.req.Get(http1.ContentType)); w.grpc {
		patience = callTimeout(&w.req, patience)
	}
	w.deadline = c.s.at(w.since) + int64(patience)
	w.facts = filter.Facts{
		RequestID: w.id, Peer: c.peer, Client: c.clientPort(w), Local: c.local, Listener: c.ln.id, Scheme: c.scheme(), TLS: c.facts(), Start: w.since,
		Deadline: w.since.Add(patience), Request: &w.req, Path: path, Route: r.ID, Upstream: r.UpstreamID, OnFailure: r.OnFailure,
	}
	w.x = c.s.exchanges.New(&w.facts)
	r.Metrics.Begin(c.stripe)
	w.counted = true
}

// dispatch takes an exchange through the request phase and to whoever answers it.
func (c *conn) dispatch(w *work) {
	r, req := w.route, &w.req
	if req.Upgrade != nil && req.IsWebSocket() {
		if !c.welcome(w) {
			return
		}
	}
	if req.ContentLength > r.MaxBodySize {
		c.tooLarge(w)
		return
	}
	c.forwardFields(w)
	if phases := r.Chain.Phases(); phases&(filter.OnRequest|filter.OnRequestBody) != 0 {
		if d := c.requestPhase(w, phases); !d.Continues() {
			c.decide(w, &d)
			return
		}
	}
	if r.Handler != nil {
		c.handle(w)
		return
	}
	r.RequestRules.Apply(w.x.RequestHeader())
	if w.tunnel {
		if refusal := c.offer(w); refusal != nil {
			c.refuseSocket(w, refusal)
			return
		}
	}
	c.forward(w)
}

// requestPhase runs the request filters and, when the body is already here, the request body filters.
func (c *conn) requestPhase(w *work, phases filter.Phase) filter.Decision {
	c.expose(w.x)
	defer c.expose(nil)
	d := filter.Continue()
	if phases.Has(filter.OnRequest) {
		d = w.route.Chain.Request(w.x)
	}
	if d.Continues() && phases.Has(filter.OnRequestBody) && w.bodyLen > 0 {
		d = w.route.Chain.RequestBody(w.x, w.collected(), true)
	}
	return d
}

// expose lets the sweeper cancel the exchange when its client goes away; nil ends that.
func (c *conn) expose(x *filter.Exchange) {
	c.mu.Lock()
	c.exchange = x
	c.mu.Unlock()
	if x != nil {
		c.arm(stageWork, 0)
	}
}

// handle lets a builtin handler answer.
func (c *conn) handle(w *work) {
	d := w.route.Handler(w.x)
	if d.Action != filter.ActionRespond || d.Status < 200 || d.Status > 599 {
		d = filter.Respond(500, nil).Because("handler returned an unusable decision")
		c.decide(w, &d)
		return
	}
	w.x.BeginResponse(d.Status, nil)
	h := w.x.ResponseHeader()
	for _, f := range d.Fields {
		_ = h.Add(f.Name, f.Value) // a field that may not be set is left out
	}
	if w.route.Chain.Phases().Has(filter.OnResponse) {
		c.expose(w.x)
		v := w.route.Chain.Response(w.x)
		c.expose(nil)
		if !v.Continues() {
			c.decide(w, &v)
			return
		}
	}
	c.answer(w, d.Status, h, d.Body)
}

// finish settles the books of one exchange, whatever happened to it. It is the boundary at which a panic of a filter or of ours is caught.
func (c *conn) finish(w *work) {
	if p := recover(); p != nil {
		c.recovered(w, p)
	}
	c.leavePool(w)
	c.leave(w)
	end := time.Now()
	c.truncated = w.aborted
	if w.next == wantMore && !w.keep {
		w.next = wantClose
	}
	c.record(w, end)
	if w.x != nil {
		if w.route.Chain.Phases().Has(filter.OnComplete) {
			c.complete(w, end)
		}
		c.s.exchanges.Put(w.x)
		w.x = nil
	}
	c.s.release(w.gen)
	if w.next == wantMore { // during a drain as well: an answer that did not announce the end is followed by one that does, if its client asks at once
		c.arm(stageIdle, c.s.at(end)+int64(c.settings.KeepaliveTimeout))
	}
}

// recovered answers 500 if nothing was sent yet.
func (c *conn) recovered(w *work, p any) {
	c.s.log.Error("exchange failed", "panic", p, "request_id", string(w.id), "stack", stack())
	c.detach()
	c.expose(nil)
	if w.upload != nil {
		w.upload.stop()
	}
	if w.using != nil {
		w.using.Release(false)
		w.using = nil
	}
	if w.target != nil {
		w.target.Done(observe.FailureCanceled, &w.hint)
		w.target = nil
	}
	w.keep = false
	w.aborted = true
	if !w.begun {
		c.refuse(w, 500, "internal_error")
	}
	w.next = wantClose
}

// complete tells the observers of the route, and does not let one of them take the connection down.
func (c *conn) complete(w *work, end time.Time) {
	defer func() {
		if p := recover(); p != nil {
			c.s.log.Error("filter failed on completion", "panic", p, "request_id", string(w.id), "stack", stack())
		}
	}()
	w.done = filter.Outcome{
		Status: w.status, Duration: end.Sub(w.since), RequestBytes: w.received, SentBytes: w.sent, Attempts: w.attempts, Aborted: w.aborted,
	}
	w.route.Chain.Complete(w.x, &w.done)
}

func stack() string { return string(debug.Stack()) }
