package server

import (
	"bytes"
	"errors"
	mathrand "math/rand/v2"
	"os"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

var typeEventStream = []byte("text/event-stream")

// endless reports whether the answer has no end in sight, and a client that knows what to do when it ends: calls of gRPC look at their status, and pages ask for events again.
// Any other answer would seem complete when it is not.
func endless(w *work) bool {
	if w.grpc {
		return true
	}
	kind := bytes.TrimSpace(w.x.ResponseHeader().Get("content-type"))
	return len(kind) >= len(typeEventStream) && bytes.EqualFold(kind[:len(typeEventStream)], typeEventStream)
}

// lookStreamDrain ends an answer without an end at some moment of the second half of the time that those have in a drain.
func (s *Server) lookStreamDrain(c *conn, now, deadline int64) {
	k := &c.sweeping
	if k.leaves == 0 {
		half := float64(s.generation.Load().StreamDrain) / 2
		k.leaves = now + int64(half+mathrand.Float64()*half) + 1
	}
	if now >= k.leaves {
		c.kickUpstream(kickLeave, deadline)
	}
}

// mayLeave reports whether the wait for more of the answer was ended by lookStreamDrain.
func (c *conn) mayLeave(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && kick(c.kicked.Load()) == kickLeave
}

var (
	valueUnavailable = []byte("14")
	valueGoingAway   = []byte("the proxy is going away")
)

// leaveStream ends an answer in good order: a call of gRPC with a status that says to try elsewhere.
func (c *conn) leaveStream(w *work) (res result, reusable bool) {
	c.kicked.Store(uint32(kickNone))
	c.s.metrics.Process.Hit(observe.LimitStreamDrain)
	w.refusal, w.keep = "stream_drain", false
	var trailers []http1.Field
	if w.grpc {
		trailers = []http1.Field{{Name: nameGRPCStatus, Value: valueUnavailable}, {Name: nameGRPCMessage, Value: valueGoingAway}}
	}
	w.out = http1.AppendLastChunk(w.out, trailers)
	if c.flush(w, nil) != nil {
		return clientGone, false
	}
	return result{}, false
}
