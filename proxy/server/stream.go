package server

import (
	"crypto/rand"
	"encoding/base64"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// stream is one request and its answer within a session. For the conn that serves it, it is a socket on which a client speaks HTTP/1.1: reading gives the request
// as such a message, and what is written is taken apart again and becomes frames.
type stream struct {
	s      *session
	id     uint32
	c      *conn
	refuse *http1.Refusal // the request is not to be read but refused

	// Guarded by s.mu; cond is on it.
	cond     sync.Cond
	in       []byte // what was not read yet
	unread   int    // bytes of data within in
	receive  http2.ReceiveWindow
	send     http2.SendWindow
	socket   bool  // it is to become a WebSocket: what comes behind the head is passed on as it is
	chunked  bool  // how the request's body is framed for the reader
	left     int64 // of a body with a length
	ended    bool  // the request is complete
	dead     bool  // the stream is reset, or the session over
	dropped  bool  // reset by the client
	answered bool  // the answer is complete
	waiting  bool  // for room to send
	noRead   bool  // a deadline has passed
	noWrite  bool

	// Of the goroutine that writes.
	dismantler
	block []byte
}

// substream is a request and its answer within a connection that carries several: for the conn that serves it a socket on which a client speaks HTTP/1.1.
type substream interface {
	upstream.Stream
	begin() (*http1.Refusal, error) // waits for what it has to know first; a refusal says that the request is not to be read
	Await() error                   // waits until there is something to read, the end included
	peek() peeked                   // looks whether the client still wants an answer
	protocol() string               // for logs
	open() *atomic.Int64            // counts the open ones of its kind
}

func (st *stream) begin() (*http1.Refusal, error) { return st.refuse, nil }

func (st *stream) protocol() string { return "HTTP/2.0" }

func (st *stream) open() *atomic.Int64 { return &st.c.ln.metrics.Streams }

// http2TooLarge refuses a request whose fields are beyond the limits.
var http2TooLarge = &http1.Refusal{Status: 431, Code: "head_too_large"}

// answerLimits bound what our own answers can be: larger than any that was accepted from an upstream and edited.
var answerLimits = http1.Limits{MaxHeadBytes: 4 << 20, MaxFields: 10_000, MaxTrailerBytes: 1 << 20}

// prepare makes the request ready for its reader.
func (st *stream) prepare(r *http2.Request, end bool) {
	st.cond.L = &st.s.mu
	st.ended = end
	if st.refuse != nil {
		return
	}
	st.method = http1.LookupMethod([]byte(r.Method))
	st.chunked, st.left = !end && r.ContentLength < 0, max(r.ContentLength, 0)
	st.in = r.AppendHead(make([]byte, 0, 512), end)
	if st.socket = r.IsWebSocket(); st.socket {
		st.chunked = false
		st.in = append(append(append(st.in, "sec-websocket-key: "...), webSocketKey()...), "\r\n\r\n"...)
	}
}

// data appends a piece of the body. It is called with mu held.
func (st *stream) data(f *http2.Frame) *http2.Error {
	switch {
	case st.ended, st.dropped:
		return &http2.Error{Stream: st.id, Code: http2.StreamClosed, Reason: "stream-closed"}
	case !st.receive.Take(f.Length):
		return &http2.Error{Stream: st.id, Code: http2.FlowControlError, Reason: "stream-window"}
	}
	n := len(f.Payload)
	if padding := f.Length - n; padding > 0 {
		st.announce(padding)
	}
	switch {
	case st.chunked:
		st.in = http1.AppendChunk(st.in, f.Payload)
	case st.socket:
		st.in = append(st.in, f.Payload...)
	default:
		if st.left -= int64(n); st.left < 0 {
			return &http2.Error{Stream: st.id, Code: http2.ProtocolError, Reason: "content-length"}
		}
		st.in = append(st.in, f.Payload...)
	}
	st.unread += n
	if f.Has(http2.FlagEndStream) {
		return st.complete(nil)
	}
	st.cond.Broadcast()
	return nil
}

// finish ends the body with trailers.
func (st *stream) finish(trailers []http1.Field) *http2.Error {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return st.complete(trailers)
}

func (st *stream) complete(trailers []http1.Field) *http2.Error {
	st.ended = true
	if st.left > 0 {
		return &http2.Error{Stream: st.id, Code: http2.ProtocolError, Reason: "content-length"}
	}
	if st.chunked { // a body with a length has no place for trailers
		st.in = http1.AppendLastChunk(st.in, trailers)
	}
	st.cond.Broadcast()
	return nil
}

// announce lets the peer send n bytes more on the stream. It is called with mu held.
func (st *stream) announce(n int) {
	if due := st.receive.Give(n); due > 0 && !st.ended {
		st.s.out = http2.AppendWindowUpdate(st.s.out, st.id, due)
	}
}

// kill ends the stream for whoever waits on it. It is called with mu held.
func (st *stream) kill() {
	st.dead = true
	st.cond.Broadcast()
}

// failure is why nothing can be sent. It is called with mu held.
func (st *stream) failure() error {
	switch {
	case st.dead, st.s.err != nil:
		return errGone
	case st.noWrite:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Read gives the next bytes of the request.
func (st *stream) Read(p []byte) (int, error) {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(st.in) == 0 {
		switch {
		case st.dead:
			return 0, errGone
		case st.noRead:
			return 0, os.ErrDeadlineExceeded
		case st.ended:
			return 0, io.EOF
		}
		st.cond.Wait()
	}
	if st.dead {
		return 0, errGone
	}
	n := copy(p, st.in)
	if st.in = st.in[n:]; len(st.in) == 0 {
		st.in = nil
	}
	back := min(n, st.unread)
	if len(st.in) == 0 {
		back = st.unread
	}
	if back > 0 {
		st.unread -= back
		st.announce(back)
		s.giveBack(back)
		if len(s.out) > 0 {
			s.flush()
		}
	}
	return n, nil
}

// Write takes the answer, in pieces of any size.
func (st *stream) Write(p []byte) (int, error) {
	n, err := st.write(p, st)
	if err != nil {
		return n, err
	}
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	st.s.flush()
	return n, nil
}

func (st *stream) sendFields(status int, fields []http1.Field, end bool) error {
	st.block = st.block[:0]
	if status != 0 {
		st.block = http2.AppendStatus(st.block, status)
	}
	for i := range fields {
		if !st.skips(&fields[i]) {
			st.block = http2.AppendFields(st.block, fields[i:i+1])
		}
	}
	return st.s.sendHead(st, st.block, end)
}

func (st *stream) sendBody(data []byte, end bool) error { return st.s.sendData(st, data, end) }

// Close ends the stream: in order, or, when its answer is not complete, as an error.
func (st *stream) Close() error {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case st.dead:
	case !st.answered:
		s.out = http2.AppendRST(s.out, st.id, http2.InternalError)
		s.resets.add(st.id)
	case !st.ended: // the rest of the request is of no interest
		s.out = http2.AppendRST(s.out, st.id, http2.NoError)
		s.resets.add(st.id)
	}
	if st.unread > 0 {
		s.giveBack(st.unread)
		st.unread = 0
	}
	st.kill()
	delete(s.streams, st.id)
	s.running--
	if s.running == 0 {
		s.rearm()
		s.done.Broadcast()
		if s.leaving {
			s.c.kick(kickLook)
		}
	}
	s.flush()
	return nil
}

// peek looks whether the client still wants an answer.
func (st *stream) peek() peeked {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if st.dead {
		return peekBroken
	}
	return peekNothing // who has sent all of its request has not left
}

// CloseWrite ends our half of a WebSocket. Otherwise it fails: there is no half of an exchange to wait for.
func (st *stream) CloseWrite() error {
	if !st.raw {
		return errGone
	}
	err := st.s.sendData(st, nil, true)
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	st.s.flush()
	return err
}

// Await waits until there is something to read, the end included.
func (st *stream) Await() error {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(st.in) == 0 && !st.dead && !st.ended {
		if st.noRead {
			return os.ErrDeadlineExceeded
		}
		st.cond.Wait()
	}
	return nil
}

// webSocketKey is a key as a client would choose one (RFC 6455 §4.1).
func webSocketKey() []byte {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return base64.StdEncoding.AppendEncode(nil, b[:])
}

// SetDeadline ends waits when t has passed; waits are ended by the sweeper only, which asks for nothing else.
func (st *stream) SetDeadline(t time.Time) error { return st.setDeadlines(t, true, true) }

// SetReadDeadline is SetDeadline for reading.
func (st *stream) SetReadDeadline(t time.Time) error { return st.setDeadlines(t, true, false) }

// SetWriteDeadline is SetDeadline for writing.
func (st *stream) SetWriteDeadline(t time.Time) error { return st.setDeadlines(t, false, true) }

func (st *stream) setDeadlines(t time.Time, read, write bool) error {
	passed := t.Equal(past)
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if read {
		st.noRead = passed
	}
	if write {
		st.noWrite = passed
	}
	st.cond.Broadcast()
	return nil
}

// LocalAddr is the connection's.
func (st *stream) LocalAddr() net.Addr { return st.s.c.wire.tcp.LocalAddr() }

// RemoteAddr is the connection's.
func (st *stream) RemoteAddr() net.Addr { return st.s.c.wire.tcp.RemoteAddr() }

// SyscallConn fails: there is no descriptor.
func (st *stream) SyscallConn() (syscall.RawConn, error) { return nil, errGone }
