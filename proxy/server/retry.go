package server

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// Retry says which failed attempts of a route are repeated, and how. The zero value repeats, at once, what had no connection or lost it before an answer, as far as that is safe.
type Retry struct {
	On            Cause // 0 = OnConnect | OnReset
	StatusCodes   []int // answers that are repeated
	GRPCCodes     []int // outcomes of gRPC calls that are repeated
	NonIdempotent bool  // also what may then be done twice
	Timeout       time.Duration
	BackoffBase   time.Duration
	BackoffMax    time.Duration
	Budget        *Budget // nil = unbounded
	ReplayBuffer  int64   // bytes of a streamed body that are kept
}

// RetryOf is the policy of a configuration.
func RetryOf(c *config.Retry) Retry {
	r := Retry{
		StatusCodes: c.StatusCodes, NonIdempotent: !c.IdempotentOnly, Timeout: c.Timeout, BackoffBase: c.BackoffBase, BackoffMax: max(c.BackoffMax, c.BackoffBase),
		Budget: &Budget{Percent: c.BudgetPercent, Least: c.BudgetMin}, ReplayBuffer: c.ReplayBuffer,
	}
	for _, name := range c.GRPCCodes {
		r.GRPCCodes = append(r.GRPCCodes, config.GRPCStatus(name))
	}
	for word, cause := range map[string]Cause{"connect": OnConnect, "reset": OnReset, "timeout": OnTimeout} {
		if slices.Contains(c.On, word) {
			r.On |= cause
		}
	}
	return r
}

// Budget bounds the repeated requests of an upstream that run at the same time.
type Budget struct {
	Percent int // of its running requests
	Least   int // always allowed
}

// Cause is a set of reasons for which an attempt failed.
type Cause uint8

// The causes.
const (
	OnConnect Cause = 1 << iota
	OnReset
	OnTimeout
)

// Fallback is the upstream that stands in for that of a route.
type Fallback struct {
	Pool         *upstream.Pool // required
	UpstreamID   string
	Timeouts     config.UpstreamTimeouts
	OnHealth     bool  // no target of the route's upstream may be used
	OnConnection bool  // no attempt got an answer
	StatusCodes  []int // answers that are not passed on
}

// enterPool begins the attempts on a pool.
func (c *conn) enterPool(w *work, pool *upstream.Pool, timeouts *config.UpstreamTimeouts, id string) {
	c.leavePool(w)
	pool.Enter()
	w.pool, w.timeouts, w.upstream = pool, timeouts, id
	w.hint.Reset()
	pool.Place(&w.hint, &upstream.Request{Client: w.client, Path: w.facts.Path, Query: w.req.Query, Fields: w.x.RequestHeader().Fields(), Length: w.x.RequestLength()})
}

// replayable reports whether all that the client sent is still there to be sent again, and nothing was answered.
func (w *work) replayable() bool {
	return !w.begun && (w.upload == nil || w.upload.whole.Load())
}

// harmless reports whether doing the request twice does no harm.
func (w *work) harmless() bool {
	return w.req.MethodID.IsIdempotent() || w.route.Retry.NonIdempotent
}

// again decides whether to make another attempt on the pool after the n-th one failed, and waits a little before it.
func (c *conn) again(w *work, r *result, n int) bool {
	if w.pledged { // decided when the head of the answer was seen
		w.pledged = false
		return c.backOff(w, r, n)
	}
	on := w.route.Retry.On
	if on == 0 {
		on = OnConnect | OnReset
	}
	if !r.retry || r.cause&on == 0 || n >= w.route.Attempts || c.s.now() >= w.deadline {
		return false
	}
	// What never got a connection is no load for anybody: it may go elsewhere however many do.
	if r.cause != OnConnect && !c.pledge(w) {
		return false
	}
	return c.backOff(w, r, n)
}

// pledge takes a place in the retry budget for the rest of the exchange.
func (c *conn) pledge(w *work) bool {
	b := w.route.Retry.Budget
	if b == nil || w.retries {
		return true
	}
	if !w.pool.BeginRetry(b.Percent, b.Least) {
		c.s.reached(observe.LimitRetryBudget, c.peer.Addr())
		return false
	}
	w.retries = true
	return true
}

// leavePool ends what enterPool began.
func (c *conn) leavePool(w *work) {
	if w.retries {
		w.pool.EndRetry()
		w.retries = false
	}
	if w.pool != nil {
		w.pool.Leave()
		w.pool = nil
	}
}

// backOff waits before attempt n+1, a random time up to a bound that doubles; not as long as there are targets that have not been tried, whom the wait would spare nothing. It reports
// false when the exchange's time would be over, or the client has left meanwhile.
func (c *conn) backOff(w *work, r *result, n int) bool {
	p := &w.route.Retry
	rounds := n - len(w.pool.Targets())
	bound := min(p.BackoffBase<<min(max(rounds, 0), 16), p.BackoffMax)
	if rounds < 0 || bound <= 0 {
		return true
	}
	wait := rand.N(bound)
	if int64(wait) >= w.deadline-c.s.now() {
		return false
	}
	c.expose(w.x)
	defer c.expose(nil)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.x.Context().Done():
		*r = clientGone
		return false
	}
}

// dismiss decides, when the head of an answer is here, not to pass it on because of its status: another attempt, or the fallback, may do better.
func (c *conn) dismiss(w *work) bool {
	r, status := w.route, w.resp.Status
	if w.repeatable() && w.replayable() && c.s.now() < w.deadline && w.tries < r.Attempts && c.pledge(w) {
		w.pledged = true
		w.pool.Metrics().StatusRetries.Add(1)
		return true
	}
	if status < 400 || w.tunnel || !w.harmless() || !w.replayable() || c.s.now() >= w.deadline {
		return false
	}
	if slices.Contains(r.Retry.StatusCodes, status) && w.tries < r.Attempts && c.pledge(w) {
		w.pledged = true
		w.pool.Metrics().StatusRetries.Add(1)
		return true
	}
	f := r.Fallback
	return f != nil && w.pool != f.Pool && slices.Contains(f.StatusCodes, status)
}

// fallBack hands the exchange to the fallback upstream, if the route has one and the way it failed is a reason to.
func (c *conn) fallBack(w *work, r *result) bool {
	f := w.route.Fallback
	if f == nil || w.pool == f.Pool || w.settled || w.begun || !r.retry || c.s.now() >= w.deadline {
		return false
	}
	switch {
	case r.noTarget:
		if !f.OnHealth {
			return false
		}
	case r.kind == observe.FailureStatus: // dismissed for this very reason
	case !f.OnConnection:
		return false
	}
	f.Pool.Metrics().Fallbacks.Add(1)
	c.upstreamFailed(w, r.code)
	c.enterPool(w, f.Pool, &f.Timeouts, f.UpstreamID)
	return true
}
