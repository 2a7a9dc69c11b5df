package agent

import (
	"sync"
	"sync/atomic"
	"time"
)

// turn decides which goroutine reads a connection and whether it may handle an event itself.
//
// A handler that runs where the event was read saves a goroutine, and above all the waking of another thread, which costs more than most handlers do. But while
// it runs nobody reads. So handlers that are not quick run up a debt that time pays off slowly; with a debt, handlers get goroutines of their own. And an overseer
// looks every now and then: when a handler is still at it, another goroutine takes the turn and reads on.
type turn struct {
	p     *peer
	state atomic.Uint64 // twice the number of the goroutine whose turn it is, plus one while it handles an event
	began atomic.Int64  // unix nanoseconds of the last start
	debt  atomic.Int64  // unix nanoseconds when it will be paid off

	mu    sync.Mutex // guards everything below
	clock *time.Timer
	armed atomic.Bool // written with mu held
	ended bool
}

const (
	takeover = 25 * time.Millisecond  // how long a handler may keep others waiting; each look costs as much as a call
	quickly  = 200 * time.Microsecond // what is too short to count
	payoff   = 20                     // a handler's time is paid off in so many times as much: at most a twentieth of all time is held up
	credit   = 2 * time.Millisecond   // what may be held up after a long time without debt
)

func (t *turn) init(p *peer) {
	t.p = p
	t.clock = time.AfterFunc(time.Hour, t.oversee)
	t.clock.Stop()
}

// quick reports whether the next event may be handled by the goroutine that reads.
func (t *turn) quick() bool { return time.Now().UnixNano() >= t.debt.Load() }

// held notes that a handler has held the turn for d.
func (t *turn) held(d time.Duration) {
	if d > quickly {
		t.debt.Store(max(t.debt.Load(), time.Now().Add(-payoff*credit).UnixNano()) + int64(payoff*d))
	}
}

// start is called before the goroutine with the turn handles an event.
func (t *turn) start(mine uint64) {
	t.began.Store(time.Now().UnixNano())
	t.state.Store(2*mine + 1)
	if !t.armed.Load() {
		t.arm()
	}
}

// finish is called after it; false means that the turn is another goroutine's now.
func (t *turn) finish(mine uint64) bool {
	held := time.Duration(time.Now().UnixNano() - t.began.Load())
	if !t.state.CompareAndSwap(2*mine+1, 2*mine) {
		return false
	}
	t.held(held)
	return true
}

func (t *turn) arm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.armed.Store(true)
		t.clock.Reset(takeover)
	}
}

// oversee gives the turn away when a handler has held it too long, and looks again while there is traffic.
func (t *turn) oversee() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	state, age := t.state.Load(), time.Now().UnixNano()-t.began.Load()
	if state&1 == 0 && age > int64(takeover) {
		t.armed.Store(false)
		if t.state.Load()&1 == 0 { // else a handler began meanwhile and may have seen the clock armed
			return
		}
		t.armed.Store(true)
	}
	if state&1 == 1 && age >= int64(takeover) && t.state.CompareAndSwap(state, state+1) {
		t.held(time.Duration(age))
		t.p.handlers.Add(1) // the handler that lost its turn is still counted, so the count is not zero
		go t.p.read(state/2 + 1)
	}
	t.clock.Reset(takeover)
}

// end stops the overseer; there is no takeover afterwards.
func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.clock.Stop()
}
