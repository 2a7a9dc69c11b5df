package client

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// turn decides who reads a connection.
//
// Most of what a call costs is waking: of the goroutine that reads, of the one that waits, and of the threads that the runtime starts for either. So a call that is
// alone on its connection reads for itself ("leads") and is woken once, by its own answer. When there are several, or the answer takes its time, the
// background goroutine reads for all. When nobody calls it reads too, a moment later, because the agent may have something to say.
type turn struct {
	cn     *conn
	who    reader
	leader *call
	since  time.Time   // when the leader began
	kicked bool        // the leader's read has been interrupted
	clock  *time.Timer // runs oversee
	armed  bool
	calls  bool          // there was a call since oversee looked last
	wake   chan struct{} // tells the background goroutine that it is its turn
}

// reader is whose turn it is.
type reader uint8

const (
	nobody reader = iota
	background
	leading
)

// look is how often a connection with traffic is looked at: the longest that a call leads, and about the longest that what an agent says unasked waits.
const look = 25 * time.Millisecond

// All methods are called with cn.mu held, except where they say otherwise.

func (t *turn) init(cn *conn) {
	t.cn, t.wake = cn, make(chan struct{}, 1)
	t.clock = time.AfterFunc(time.Hour, cn.oversee)
	t.clock.Stop()
	t.hand()
}

// take reports whether cl, just registered, is to read for itself.
func (t *turn) take(cl *call) bool {
	t.calls = true
	if t.who != nobody {
		return false
	}
	if len(t.cn.pending) > 1 {
		t.hand()
		return false
	}
	t.who, t.leader, t.since = leading, cl, time.Now()
	t.arm()
	return true
}

// hand gives the turn to the background goroutine.
func (t *turn) hand() {
	t.who, t.leader = background, nil
	t.wake <- struct{}{} // has room: the goroutine took the last one before it had the turn
}

// free ends a turn: there is nobody to read for, or there is.
func (t *turn) free() {
	if t.kicked {
		t.kicked = false
		_ = t.cn.nc.SetReadDeadline(time.Time{})
	}
	if t.cn.dead != nil {
		t.who, t.leader = background, nil // which ends, as the connection did
		return
	}
	if len(t.cn.pending) > 0 || t.cn.r.Buffered() {
		t.hand()
		return
	}
	t.who, t.leader = nobody, nil
	t.arm()
}

// kick interrupts the read of cl if it leads.
func (t *turn) kick(cl *call) {
	if t.who == leading && t.leader == cl {
		t.kicked = true
		_ = t.cn.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

func (t *turn) arm() {
	if !t.armed && t.cn.dead == nil {
		t.armed = true
		t.clock.Reset(look)
	}
}

// oversee is run by the clock while calls lead: it ends a lead that lasts and puts the background goroutine on a connection that has become quiet.
// It takes the lock itself.
func (cn *conn) oversee() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	t := &cn.turn
	t.armed = false
	switch {
	case cn.dead != nil, t.who == background:
		return // which arms the clock when it is done
	case t.who == leading && time.Since(t.since) >= look:
		t.kick(t.leader)
	case t.who == nobody && !t.calls:
		t.hand()
		return
	}
	t.calls = false
	t.arm()
}

// lead reads until cl has ended and reports that it has, or gives the turn away before that. It takes the lock itself.
func (cn *conn) lead(cl *call) (ended bool) {
	for {
		t, payload, err := cn.r.Next()
		if err == nil {
			err = cn.frame(t, payload)
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			cn.broken(err)
			return false
		}
		select {
		case <-cl.done:
			cn.unlead()
			return true
		default:
		}
		if err != nil { // interrupted
			cn.unlead()
			return false
		}
	}
}

// unlead ends the turn of the one who leads. It takes the lock itself.
func (cn *conn) unlead() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.turn.free()
}

// readInBackground reads whenever it is its turn, until the connection ends.
func (cn *conn) readInBackground() {
	for {
		select {
		case <-cn.turn.wake:
		case <-cn.gone:
			return
		}
		for reading := true; reading; {
			t, payload, err := cn.r.Next()
			if err == nil {
				err = cn.frame(t, payload)
			}
			if err != nil {
				cn.broken(err)
				return
			}
			cn.mu.Lock()
			if len(cn.pending) == 0 && !cn.r.Buffered() {
				cn.turn.free()
				reading = false
			}
			cn.mu.Unlock()
		}
	}
}

// broken ends the connection after an error of reading.
func (cn *conn) broken(err error) {
	switch {
	case errors.Is(err, wire.ErrFrame):
		err = fmt.Errorf("%w: %v", ErrProtocol, err)
	case !errors.Is(err, ErrProtocol):
		err = fmt.Errorf("%w: %v", ErrLost, err)
	}
	if errors.Is(err, ErrProtocol) && cn.encoding == protocol.MsgPack && !cn.answered.Load() {
		cn.c.jsonOnly.Store(true) // a msgpack that is not ours; JSON is common ground
	}
	cn.close(err)
}
