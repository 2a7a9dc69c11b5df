package upstream

import (
	"errors"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

var (
	errPoolFull  = errors.New("every connection of the pool is busy")
	errQueueFull = errors.New("every connection of the pool is busy and too many requests wait")
)

// waiter is one request that waits for a connection.
type waiter struct {
	target     *Target
	grant      chan *Conn // capacity 1; nil = a place to dial
	prev, next *waiter
	queued     bool
}

// waitQueue is first come, first served.
type waitQueue struct {
	head, tail *waiter
	n          int
}

func (q *waitQueue) first() *waiter { return q.head }

func (q *waitQueue) push(w *waiter) {
	w.prev, w.queued = q.tail, true
	if q.tail != nil {
		q.tail.next = w
	} else {
		q.head = w
	}
	q.tail = w
	q.n++
}

func (q *waitQueue) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.tail = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	q.n--
}

// wait queues for a connection that another exchange gives back, or for its place.
func (t *Target) wait(deadline time.Time, o *Origin) (*Conn, bool, error) {
	e := t.endpoint
	limits := &e.deps.Metrics.Process
	limits.Hit(observe.LimitUpstreamConnections)
	deadline = t.bound(deadline)
	patience := deadline
	if t.limits.queue > 0 {
		if until := time.Now().Add(t.limits.queue); until.Before(patience) {
			patience = until
		}
	}
	for {
		w := &waiter{target: t, grant: make(chan *Conn, 1)}
		if err := e.enqueue(w); err != nil {
			limits.Hit(observe.LimitUpstreamQueue)
			return nil, false, t.fail(observe.FailurePoolFull, err)
		}
		c, ok := e.await(w, time.Until(patience))
		if !ok {
			limits.Hit(observe.LimitUpstreamQueueTime)
			return nil, false, t.fail(observe.FailurePoolFull, errPoolFull)
		}
		if c == nil {
			c, err := t.dial(deadline, o)
			return c, false, err
		}
		if c.alive() {
			e.metrics.Reused.Add(1)
			return c, true, nil
		}
		e.metrics.Stale.Add(1)
		c.Release(false)
	}
}

// enqueue adds the waiter; if a place or a connection has become free since the caller looked, it is granted at once.
func (e *endpoint) enqueue(w *waiter) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.idle; c != nil {
		e.idle, c.next = c.next, nil
		e.idleN--
		e.metrics.Idle.Store(int64(e.idleN))
		c.target = w.target
		w.grant <- c
		return nil
	}
	if e.reserveLocked(w.target) {
		w.grant <- nil
		return nil
	}
	if e.waiters.n >= w.target.limits.maxWait {
		return errQueueFull
	}
	e.waiters.push(w)
	e.metrics.Waiting.Store(int64(e.waiters.n))
	return nil
}

// await blocks until the grant or the end of the wait.
func (e *endpoint) await(w *waiter, d time.Duration) (c *Conn, ok bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case c = <-w.grant:
		return c, true
	case <-timer.C:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !w.queued { // granted in the same moment
		return <-w.grant, true
	}
	e.waiters.remove(w)
	e.metrics.Waiting.Store(int64(e.waiters.n))
	return nil, false
}

// bound is the moment until which waiting and dialing may take.
func (t *Target) bound(deadline time.Time) time.Time {
	limit := time.Now().Add(t.limits.connect)
	if deadline.IsZero() || limit.Before(deadline) {
		return limit
	}
	return deadline
}

// fail makes the error of Acquire and remembers it.
func (t *Target) fail(kind observe.Failure, err error) error {
	out := &Error{Kind: kind, Address: t.Address, Err: err}
	t.endpoint.noteError(out)
	t.pool.deps.Logger.Debug("no connection to target", "upstream", t.pool.cfg.ID, "target", t.Address, "kind", kind.String(), "error", err)
	return out
}
