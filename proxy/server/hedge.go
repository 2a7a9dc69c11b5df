package server

import (
	"slices"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// Hedge says when a second target is asked for an answer that does not come, while the first goes on. The zero value asks one target only.
type Hedge struct {
	Delay time.Duration // for which an answer may fail to begin before the next target is asked
	Most  int           // targets that may be at it at the same time; fewer than 2 = no hedging
}

// hedges reports whether the exchange may be asked of several targets at once: it does no harm, and all of it is here.
func (w *work) hedges() bool {
	return w.route.Hedge.Most > 1 && !w.tunnel && !w.unread && w.replay == nil && w.harmless() && len(w.pool.Targets()) > 1
}

// race is what happens instead of a single conversation with a target. It belongs to the goroutine of the exchange; the runners have goroutines of their own, and know nothing of it.
type race struct {
	c       *conn
	w       *work
	message []byte
	results chan *runner
	running []*runner
	asked   []int // indices of the targets
	nextAt  int64 // when another target is to be asked, 0 = none
	origin  *upstream.Origin
}

// race makes an attempt on a target and, whenever no answer has begun for a while, on one more. The first answer is relayed, the others are abandoned. On return w.target is the target
// whose outcome the result is; all the others are done with.
func (c *conn) race(w *work, first *upstream.Target, origin *upstream.Origin) result {
	c.appendRequest(w, first.Address)
	r := &race{c: c, w: w, message: slices.Concat(w.out, w.known()), results: make(chan *runner, w.route.Hedge.Most), origin: origin}
	c.expose(w.x) // so that a client that leaves is noticed
	winner, res := r.run(first)
	c.expose(nil)
	for _, i := range r.asked {
		w.hint.Tried(i)
	}
	if winner == nil {
		return res
	}
	return c.adopt(w, winner)
}

// run returns the runner whose answer has begun, or what became of the last one.
func (r *race) run(first *upstream.Target) (*runner, result) {
	defer r.abandonAll()
	r.launch(first)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Duration(r.wakeAt() - r.c.s.now()))
		select {
		case x := <-r.results:
			r.leave(x)
			res := r.judge(x)
			if res.kind == observe.FailureNone {
				return x, res
			}
			if len(r.running) == 0 {
				return nil, res
			}
			r.lose(x, res.kind)
		case <-timer.C:
			if late := r.late(); late != nil {
				late.abandon()
				r.leave(late)
				if len(r.running) == 0 {
					r.account(late)
					return nil, result{kind: observe.FailureTimeout, code: "upstream_timeout", cause: OnTimeout, retry: true}
				}
				r.lose(late, observe.FailureTimeout)
			} else {
				r.another()
			}
		case <-r.w.x.Context().Done():
			x := r.running[0]
			x.abandon()
			r.leave(x)
			r.account(x)
			return nil, clientGone
		}
	}
}

// launch asks a target.
func (r *race) launch(t *upstream.Target) {
	now := r.c.s.now()
	x := &runner{
		target: t, second: len(r.asked) > 0, hint: r.w.hint, began: now, until: min(r.w.patience, now+int64(r.w.timeouts.Read)),
		message: r.message, in: make([]byte, readBuffer), results: r.results, boxes: &r.c.s.boxes,
	}
	if r.origin != nil {
		o := *r.origin
		x.origin = &o
	}
	r.running = append(r.running, x)
	r.asked = append(r.asked, t.Index)
	r.nextAt = 0
	if len(r.asked) < r.w.route.Hedge.Most {
		r.nextAt = now + int64(r.w.route.Hedge.Delay)
	}
	deadline := time.Now().Add(time.Duration(x.until - now))
	r.c.s.serving.Go(func() { x.run(deadline) })
}

// another asks one more target, if there is one that was not asked yet and the budget of retries has room.
func (r *race) another() {
	w := r.w
	r.nextAt = 0
	hint := w.hint
	for _, i := range r.asked {
		hint.Tried(i)
	}
	if !r.c.pledge(w) {
		return
	}
	t, err := w.pool.Pick(&hint)
	if err != nil {
		return
	}
	if slices.Contains(r.asked, t.Index) {
		t.Return(&hint)
		return
	}
	w.attempts++
	w.pool.Metrics().Hedges.Add(1)
	r.launch(t)
}

// wakeAt is when something is to be done unless an answer comes.
func (r *race) wakeAt() int64 {
	at := r.w.deadline
	for _, x := range r.running {
		at = min(at, x.until)
	}
	if r.nextAt != 0 {
		at = min(at, r.nextAt)
	}
	return at
}

// late returns a runner whose time is over, nil if there is none.
func (r *race) late() *runner {
	now := r.c.s.now()
	for _, x := range r.running {
		if now >= min(x.until, r.w.deadline) {
			return x
		}
	}
	return nil
}

// judge says what a runner brought: kind is FailureNone when it is an answer that is to be relayed.
func (r *race) judge(x *runner) result {
	c, w := r.c, r.w
	r.account(x)
	if x.conn == nil {
		return cannotConnect(x.err)
	}
	if x.sent != nil || x.err != nil {
		res := c.broken(w, x.sent, x.err)
		x.abandon()
		w.using = nil
		res.stale = false
		return res
	}
	if len(r.running) > 0 && r.unwanted(x) {
		x.abandon()
		return result{kind: observe.FailureStatus, code: "upstream_status"}
	}
	return result{}
}

// account makes x the one whose outcome is that of the attempt.
func (r *race) account(x *runner) {
	w := r.w
	w.target, w.tried, w.address, w.using, w.reused = x.target, x.began, x.target.Address, x.conn, x.reused
}

// unwanted reports whether an answer is one that the retry policy would repeat: another target is at it already, and may do better.
func (r *race) unwanted(x *runner) bool {
	w := r.w
	n, refusal := w.resp.Parse(x.in[:x.n], w.req.MethodID, &w.gen.head)
	status := w.resp.Status
	w.resp.Reset()
	return refusal != nil || n > 0 && slices.Contains(w.route.Retry.StatusCodes, status)
}

func (r *race) leave(x *runner) {
	r.running = slices.DeleteFunc(r.running, func(y *runner) bool { return x == y })
}

// lose ends what Pick began for a runner that did not win.
func (r *race) lose(x *runner, kind observe.Failure) {
	if r.w.pool.Learns() && kind != observe.FailurePoolFull { // one that was overtaken took at least as long as this
		x.target.Observe(time.Duration(r.c.s.now()-x.began), kind != observe.FailureCanceled)
	}
	x.target.Done(kind, &x.hint)
}

func (r *race) abandonAll() {
	for _, x := range r.running {
		x.abandon()
		r.lose(x, observe.FailureCanceled)
	}
	r.running = nil
}

// adopt relays the answer of the winner.
func (c *conn) adopt(w *work, x *runner) result {
	if x.second {
		w.pool.Metrics().HedgeWins.Add(1)
	}
	conn := x.conn
	c.engage(w, conn)
	c.armUpstream(w)
	w.upIn, w.upEnd = x.in, x.n
	res, reusable := c.reply(w)
	c.disengage(w, conn, reusable)
	return res
}
