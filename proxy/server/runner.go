package server

import (
	"errors"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/upstream"
	"github.com/sentinel-stack/sentinel/proxy/upstream/balance"
	"github.com/sentinel-stack/sentinel/proxy/upstream/multiplex"
)

// runner asks one target of a race, up to the first bytes of its answer. Its goroutine touches nothing of the exchange, which may be over long before it.
type runner struct {
	target  *upstream.Target
	second  bool // it was sent after another
	hint    balance.Hint
	origin  *upstream.Origin
	began   int64 // on the server's clock
	until   int64
	message []byte // shared with other runners
	results chan<- *runner
	boxes   *sync.Pool
	wire    wire

	// What it brings.
	in        []byte
	n         int
	reused    bool
	sent, err error

	mu        sync.Mutex // guards the rest while it runs
	conn      *upstream.Conn
	done      bool
	abandoned bool
}

// run asks, and hands itself over: to the race, or, when that is over, to nobody.
func (r *runner) run(deadline time.Time) {
	r.ask(deadline)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
	if !r.abandoned {
		r.results <- r // there is room for everyone
	} else if r.conn != nil {
		r.conn.Release(false)
	}
}

// ask sends the request on a pooled connection and, when that turns out to be dead, once more on a fresh one.
func (r *runner) ask(deadline time.Time) {
	r.wire.bind()
	conn, reused, err := r.target.AcquireFor(deadline, r.origin)
	for {
		if r.err = err; err != nil || !r.hold(conn, reused) {
			return
		}
		r.wire.speak(conn, r.boxes)
		r.n, r.sent, r.err = r.wire.call(r.message, nil, r.in)
		if !reused || r.sent == nil && r.err == nil || !r.stale() {
			return
		}
		reused = false
		conn, err = r.target.Dial(deadline)
	}
}

// hold notes the connection in use; false when nobody wants it any more.
func (r *runner) hold(conn *upstream.Conn, reused bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn, r.reused = conn, reused
	return !r.abandoned
}

// stale lets go of a pooled connection that broke, if that may have happened before the request came. A target that resets a single stream has seen it.
func (r *runner) stale() bool {
	var reset *multiplex.Reset
	if err := errors.Join(r.sent, r.err); errors.As(err, &reset) || isViolation(err) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.abandoned {
		return false
	}
	r.conn.Release(false)
	r.conn = nil
	return true
}

// abandon ends it at once, except while it connects, which has a deadline of its own.
func (r *runner) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.abandoned = true; r.conn == nil {
		return
	}
	if r.done {
		r.conn.Release(false)
		r.conn = nil
	} else {
		_ = r.conn.TCP.SetDeadline(past)
	}
}
