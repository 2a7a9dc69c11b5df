package client

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// conn is one connection after its handshake. Whoever takes a call out of pending owns its end: the reader with an answer, the clock with a
// timeout, the caller when it gives up, or close with the connection's death. Who reads is decided in turn.go.
type conn struct {
	c        *Client
	nc       net.Conn
	w        *wire.Writer
	r        *wire.Reader
	encoding protocol.Encoding
	made     time.Time

	inflight  atomic.Int32
	paused    atomic.Bool
	draining  atomic.Bool
	unwell    atomic.Bool  // degraded or unhealthy
	received  atomic.Int64 // unix nanoseconds of the last frame
	answered  atomic.Bool  // a call was answered
	ponged    atomic.Bool  // the agent has answered a ping
	pinged    atomic.Int64 // unix nanoseconds of a ping without an answer, 0 = none
	greaseTic atomic.Uint32

	mu       sync.Mutex // guards everything below
	pending  map[string]*call
	told     map[string]struct{} // ids of events whose answer nobody waits for
	toldRing [1024]string        // the same, in order, to forget the oldest
	toldNext int
	sessions int
	dead     error       // why, once the connection is over
	clock    *time.Timer // runs expire
	rings    time.Time   // when, zero = stopped
	turn     turn

	config  []byte        // what the handshake carried
	drains  chan struct{} // closed when draining begins
	drained chan struct{} // closed when draining and nothing is left
	gone    chan struct{} // closed when dead
}

// call is one event waiting for its answer.
type call struct {
	id       string
	resp     *protocol.Response // where the answer goes
	deadline time.Time
	err      error
	done     chan struct{} // has one element when the call has ended
}

var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func newConn(c *Client, nc net.Conn, r *wire.Reader, enc protocol.Encoding) *conn {
	cn := &conn{c: c, nc: nc, r: r, w: wire.NewWriter(nc), encoding: enc, made: time.Now(), pending: make(map[string]*call),
		told: make(map[string]struct{}), drains: make(chan struct{}), drained: make(chan struct{}), gone: make(chan struct{})}
	cn.received.Store(cn.made.UnixNano())
	cn.clock = time.AfterFunc(time.Hour, cn.expire)
	cn.clock.Stop()
	cn.turn.init(cn)
	return cn
}

// greaseEvery is how many messages go between two that carry an unknown key.
const greaseEvery = 64

func (cn *conn) format() wire.Format {
	return wire.Format{Encoding: cn.encoding, Grease: cn.greaseTic.Add(1)%greaseEvery == 1}
}

// call sends event m and waits for its answer.
func (cn *conn) call(id string, m any, deadline time.Time, x Waiter, resp *protocol.Response) error {
	cl := calls.Get().(*call)
	cl.id, cl.resp, cl.deadline, cl.err = id, resp, deadline, nil
	leads, err := cn.register(cl)
	if err != nil {
		calls.Put(cl)
		return err
	}
	if err := cn.send(m); err != nil && cn.remove(cl) {
		if leads {
			cn.unlead()
		}
		calls.Put(cl)
		return err
	}
	if !leads || !cn.lead(cl) {
		if err := cn.wait(cl, x); err != nil {
			return err
		}
	}
	err = cl.err
	calls.Put(cl)
	return err
}

// wait waits until somebody else has ended the call, or gives it up.
func (cn *conn) wait(cl *call, x Waiter) error {
	if x == nil {
		<-cl.done
		return nil
	}
	select {
	case <-cl.done:
	case <-x.Context().Done():
		if id := cl.id; cn.remove(cl) {
			calls.Put(cl)
			cn.cancel(id, protocol.CancelClientGone)
			return ErrCanceled
		}
		<-cl.done // it ended in the same moment
	}
	return nil
}

// tell sends event m without waiting. Its answer is recognised and forgotten, as long as it is among the last remembered.
func (cn *conn) tell(id string, m any) error {
	cn.mu.Lock()
	if old := cn.toldRing[cn.toldNext]; old != "" {
		delete(cn.told, old)
	}
	cn.toldRing[cn.toldNext] = id
	cn.toldNext = (cn.toldNext + 1) % len(cn.toldRing)
	cn.told[id] = struct{}{}
	cn.mu.Unlock()
	return cn.send(m)
}

// send writes event m. A connection that cannot be written to is over.
func (cn *conn) send(m any) error {
	err := cn.w.Send(cn.format(), m)
	switch {
	case err == nil || errors.Is(err, wire.ErrTooLong):
		return err
	case errors.Is(err, wire.ErrBacklog):
		return fmt.Errorf("%w: %v", ErrOverload, err)
	}
	cn.close(fmt.Errorf("%w: %v", ErrLost, err))
	return fmt.Errorf("%w: %v", errUnsent, err)
}

// errUnsent is an ErrLost of which the agent has seen nothing.
var errUnsent = fmt.Errorf("%w before the event was sent", ErrLost)

// register makes cl pending; leads tells the caller that it is to read.
func (cn *conn) register(cl *call) (leads bool, err error) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.dead != nil {
		return false, errUnsent
	}
	if _, busy := cn.pending[cl.id]; busy {
		return false, fmt.Errorf("%w: correlation id %q is in use", ErrOverload, cl.id)
	}
	cn.pending[cl.id] = cl
	cn.inflight.Add(1)
	if cn.rings.IsZero() || cl.deadline.Before(cn.rings) {
		cn.rings = cl.deadline
		cn.clock.Reset(time.Until(cl.deadline))
	}
	return cn.turn.take(cl), nil
}

// remove takes cl out of pending; false means that somebody else has and its end is near.
func (cn *conn) remove(cl *call) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.pending[cl.id] != cl {
		return false
	}
	cn.drop(cl)
	return true
}

// drop is remove with mu held and cl known to be pending.
func (cn *conn) drop(cl *call) {
	delete(cn.pending, cl.id)
	cn.inflight.Add(-1)
	cn.checkDrained()
}

// checkDrained is called with mu held.
func (cn *conn) checkDrained() {
	if cn.draining.Load() && len(cn.pending) == 0 && cn.sessions == 0 {
		select {
		case <-cn.drained:
		default:
			close(cn.drained)
		}
	}
}

// expire ends the calls whose time is over and sets the clock for the next one. The clock is not touched while calls come and go: it rings
// for the earliest deadline there was and looks again.
func (cn *conn) expire() {
	now := time.Now()
	var late []*call
	cn.mu.Lock()
	cn.rings = time.Time{}
	for _, cl := range cn.pending {
		if !cl.deadline.After(now) {
			late = append(late, cl)
		} else if cn.rings.IsZero() || cl.deadline.Before(cn.rings) {
			cn.rings = cl.deadline
		}
	}
	for _, cl := range late {
		cn.drop(cl)
		cn.turn.kick(cl)
	}
	if !cn.rings.IsZero() && cn.dead == nil {
		cn.clock.Reset(time.Until(cn.rings))
	}
	cn.mu.Unlock()
	for _, cl := range late {
		id := cl.id
		cl.err = ErrTimeout
		cl.done <- struct{}{} // cl is the caller's from here on
		cn.cancel(id, protocol.CancelTimeout)
	}
}

// cancel tells the agent that nobody waits for the answer any more; when that cannot be sent, nothing is lost.
func (cn *conn) cancel(id string, why protocol.CancelReason) {
	_ = cn.w.Send(wire.Format{}, &protocol.Cancel{CorrelationID: id, Reason: why, TimeMillis: time.Now().UnixMilli()})
}

// close ends the connection; the first reason stays. Calls under way fail with ErrLost.
func (cn *conn) close(why error) {
	cn.mu.Lock()
	if cn.dead != nil {
		cn.mu.Unlock()
		return
	}
	cn.dead = why
	lost := cn.pending
	cn.pending = map[string]*call{}
	cn.inflight.Store(0)
	cn.clock.Stop()
	cn.turn.clock.Stop()
	close(cn.gone)
	cn.mu.Unlock()
	cn.c.leave(cn)
	cn.w.Close()
	cn.nc.Close()
	for _, cl := range lost {
		cl.err = ErrLost
		if errors.Is(why, ErrProtocol) {
			cl.err = why
		}
		cl.done <- struct{}{}
	}
}

// frame handles one frame.
func (cn *conn) frame(t protocol.FrameType, payload []byte) error {
	var err error
	if t == protocol.TypeResponse {
		err = cn.answer(payload)
	} else {
		err = cn.control(t, payload)
	}
	if err != nil {
		return fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	return nil
}

// answer gives a response to the call that waits for it.
func (cn *conn) answer(payload []byte) error {
	now := time.Now().UnixNano()
	if now-cn.received.Load() > int64(time.Second) {
		cn.received.Store(now)
	}
	id := wire.EventID(cn.encoding, payload)
	cn.mu.Lock()
	cl := cn.pending[string(id)]
	if cl != nil {
		cn.drop(cl)
	}
	_, told := cn.told[string(id)]
	if told && cl == nil {
		delete(cn.told, string(id))
	}
	cn.mu.Unlock()
	if cl == nil {
		var r protocol.Response // late, or never asked for; that it is a response at all still matters
		if err := wire.Decode(cn.encoding, payload, &r); err != nil {
			return err
		}
		if !told {
			cn.c.unmatched(r.CorrelationID)
		}
		return nil
	}
	if !cn.answered.Load() {
		cn.answered.Store(true)
	}
	*cl.resp = protocol.Response{}
	err := wire.DecodeResponse(cn.encoding, payload, cl.id, cl.resp)
	if err != nil {
		cl.err = fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	cl.done <- struct{}{}
	return err
}

// control handles everything an agent says unasked.
func (cn *conn) control(t protocol.FrameType, payload []byte) error {
	cn.received.Store(time.Now().UnixNano())
	switch t {
	case protocol.TypePong:
		var p protocol.Ping
		if err := wire.Decode(cn.encoding, payload, &p); err != nil {
			return err
		}
		cn.ponged.Store(true)
		cn.pinged.Store(0)
		return nil
	case protocol.TypeHealthStatus:
		var h protocol.HealthStatus
		if err := wire.Decode(cn.encoding, payload, &h); err != nil {
			return err
		}
		cn.setHealth(&h)
		return nil
	case protocol.TypeFlowControl:
		var f protocol.FlowControl
		if err := wire.Decode(cn.encoding, payload, &f); err != nil {
			return err
		}
		return cn.flow(f.Action)
	case protocol.TypeMetricsReport:
		r := new(protocol.MetricsReport)
		if err := wire.Decode(cn.encoding, payload, r); err != nil {
			return err
		}
		cn.c.mu.Lock()
		cn.c.report = r
		cn.c.mu.Unlock()
		return nil
	case protocol.TypeConfigUpdate:
		cn.c.log.Warn("agent asked for a configuration update, which is not supported")
		return nil
	}
	return fmt.Errorf("unexpected frame type %#x", byte(t))
}

func (cn *conn) flow(a protocol.FlowAction) error {
	switch a {
	case protocol.FlowPause:
		cn.paused.Store(true)
	case protocol.FlowResume:
		cn.paused.Store(false)
		cn.c.notifyChange()
	default:
		return fmt.Errorf("unknown flow control action %d", a)
	}
	return nil
}

func (cn *conn) setHealth(h *protocol.HealthStatus) {
	c := cn.c
	c.mu.Lock()
	before := c.health
	c.health = h.State
	c.mu.Unlock()
	if before != h.State {
		c.log.Info("agent health changed", "health", h.State.String(), "message", h.Message)
	}
	cn.unwell.Store(h.State == protocol.Degraded || h.State == protocol.Unhealthy)
	if h.State == protocol.Draining && !cn.draining.Swap(true) {
		close(cn.drains)
		c.leave(cn)
		cn.mu.Lock()
		cn.checkDrained()
		cn.mu.Unlock()
		return
	}
	c.notifyChange()
}

// ping sends a ping when nothing was heard for long, and reports an agent that answers pings but not this one.
func (cn *conn) ping(now time.Time) error {
	if at := cn.pinged.Load(); at != 0 {
		if cn.ponged.Load() && now.UnixNano()-at >= int64(protocol.PongTimeout) {
			return fmt.Errorf("%w: no answer to a ping", ErrLost)
		}
		return nil
	}
	if now.UnixNano()-cn.received.Load() < int64(protocol.PingInterval) {
		return nil
	}
	cn.pinged.Store(now.UnixNano())
	return cn.w.Send(wire.Format{}, &protocol.Ping{Sequence: cn.c.ids.Add(1), TimeMillis: now.UnixMilli()})
}
