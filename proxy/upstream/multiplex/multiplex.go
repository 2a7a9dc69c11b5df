// Package multiplex speaks HTTP/2 with a target: one Session is a connection, on which many exchanges run at the same time.
//
// An exchange sees a Stream, which behaves like a connection of its own on which HTTP/1.1 is spoken: what is written is the request as such a message (head, then a body with a
// length or in chunks, trailers included), and what is read is the answer as such a message. So an exchange does not care which version its target speaks, retries and replayed
// bodies mean the same on both, and answers are judged by the same parser. The package turns each into frames and back.
//
// A request to be upgraded to a WebSocket becomes an extended CONNECT (RFC 8441), if the target has said that it knows that; its answer 200 becomes the 101 that HTTP/1.1 has, and what follows
// goes both ways as it is.
//
// # Bounds
//
// A stream holds at most Window bytes of an answer that nobody has read, then the target has to wait. All streams together may wait with 64 KiB of what they send. A target that
// does not read our answers to its pings and settings, sends too many frames that mean nothing, or stays silent after a ping loses the connection.
//
// # Failures
//
// What a target breaks on one stream ends that stream; what it breaks on the connection ends all of them, each with the Violation. ErrUnprocessed is the one failure after which any
// request may be sent again: the target has said that it did not look at it.
package multiplex

import (
	"errors"
	"fmt"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http2"
)

// Options bound a session. All are required unless it says otherwise.
type Options struct {
	Secure       bool // the connection is one with TLS: requests say https
	MaxStreams   int  // at the same time; the target may allow fewer
	Window       uint32
	WriteTimeout time.Duration // for the target to take anything of what is to be sent
	PingInterval time.Duration // silence, while there are streams, after which the target is asked for a sign of life; 0 = it is not
	PingTimeout  time.Duration // until the sign
	Changed      func()        // a stream or the session has ended, or its limits have changed; may be nil; must neither wait nor call back
}

// ErrUnprocessed is how a stream ends that the target did not look at: it was refused, or came after the last one the target still serves.
var ErrUnprocessed = errors.New("the target did not process the request")

// ErrFull is returned by Open when the session takes no further stream now.
var ErrFull = errors.New("the connection takes no more requests")

var (
	errClosed   = errors.New("the connection is closed")
	errReleased = errors.New("the exchange is over")
	errSilent   = errors.New("the target did not answer a ping")
	errUpgrade  = errors.New("the target does not take WebSockets over HTTP/2")
	errUnread   = errors.New("the target does not read")
)

// Violation is what a target did against RFC 9113.
type Violation struct{ Err *http2.Error }

func (v *Violation) Error() string { return "the target broke HTTP/2: " + v.Err.Error() }

// Reset is a stream that the target ended before its answer was complete.
type Reset struct{ Code http2.Code }

func (r *Reset) Error() string {
	return fmt.Sprintf("the target reset the stream with code %d", r.Code)
}

const (
	connectionWindow = 4 << 20  // given back at once: it is the streams' windows that hold a target back
	maxUnsent        = 64 << 10 // bytes of bodies that may wait for the socket
	maxControl       = 1 << 20  // bytes in all that may wait: beyond it the target does not read
	readSize         = 32 << 10
	maxList          = 64 << 10 // bytes of the fields of an answer
	maxFields        = 1000
	maxHeads         = 4 * maxList // bytes of interim heads that nobody has read
	budgetSize       = 1000        // see http2.Budget
	farewell         = time.Second // for what is left to be written at the end
)
