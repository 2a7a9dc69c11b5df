package multiplex

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/http2"
)

// Stream is one exchange. One goroutine may write the request while another one reads the answer; deadlines may be set, and Close called, by any.
type Stream struct {
	s *Session

	// Guarded by s.mu.
	id        uint32 // 0 = the request has not begun
	readable  sync.Cond
	writable  sync.Cond
	waiting   bool // on writable
	send      http2.SendWindow
	receive   http2.ReceiveWindow
	text      []byte // heads, and what else is not content, to be read before pending
	at        int    // of text, so much was read
	pending   []byte // content
	read      int    // of pending, so much was read
	framing   http1.Framing
	left      int64 // of a body with a length
	headed    bool  // the final head has come
	localEnd  bool
	remoteEnd bool
	told      bool // the reader was told the end of the body
	trailers  []http1.Field
	rerr      error
	werr      error
	released  bool
	began     time.Time // when the request was sent
	noRead    deadline
	noWrite   deadline

	// The writer's.
	request
}

// deadline is a moment from which an operation does not wait.
type deadline struct {
	passed bool
	timer  *time.Timer
}

// answer takes the head of an answer, interim ones included. s.mu is held.
func (st *Stream) answer(a *http2.Answer, end bool) *http2.Error {
	if a.Status < 200 {
		if end {
			return &http2.Error{Stream: st.id, Code: http2.ProtocolError, Reason: "interim-end"}
		}
		if len(st.text) > maxHeads {
			return &http2.Error{Stream: st.id, Code: http2.EnhanceYourCalm, Reason: "interim-flood"}
		}
		st.tell(a.AppendHead(st.text, http1.FramingNone))
		return nil
	}
	st.headed = true
	switch {
	case st.tunnel.asked && a.Status < 300:
		return st.openTunnel(a, end)
	case a.Status == 204 || a.Status == 304 || st.method == http1.MethodHead:
		st.framing = http1.FramingNone
	case end && a.ContentLength > 0:
		return &http2.Error{Stream: st.id, Code: http2.ProtocolError, Reason: "content-length"}
	case end || a.ContentLength >= 0 && !a.Trailers:
		st.framing, st.left = http1.FramingLength, max(a.ContentLength, 0)
	default: // trailers go with chunks only
		st.framing = http1.FramingChunked
	}
	st.tell(a.AppendHead(st.text, st.framing))
	if end {
		st.remoteEnd, st.told = true, true
		st.forget()
	}
	return nil
}

func (st *Stream) tell(text []byte) {
	st.text = text
	st.readable.Signal()
}

// data takes a piece of the body. s.mu is held.
func (st *Stream) data(f *http2.Frame) *http2.Error {
	switch {
	case st.remoteEnd:
		return &http2.Error{Stream: st.id, Code: http2.StreamClosed, Reason: "stream-closed"}
	case !st.headed:
		return &http2.Error{Stream: st.id, Code: http2.ProtocolError, Reason: "data-first"}
	case !st.receive.Take(f.Length):
		return &http2.Error{Stream: st.id, Code: http2.FlowControlError, Reason: "stream-window"}
	}
	n := len(f.Payload)
	switch st.framing {
	case http1.FramingNone:
		if n > 0 {
			return &http2.Error{Stream: st.id, Code: http2.ProtocolError, Reason: "unasked-content"}
		}
	case http1.FramingLength:
		if st.left -= int64(n); st.left < 0 {
			return &http2.Error{Stream: st.id, Code: http2.ProtocolError, Reason: "content-length"}
		}
	}
	if st.read == len(st.pending) {
		st.pending, st.read = st.pending[:0], 0
	} else if st.read > 0 && len(st.pending)+n > cap(st.pending) {
		st.pending = st.pending[:copy(st.pending, st.pending[st.read:])]
		st.read = 0
	}
	st.pending = append(st.pending, f.Payload...)
	if padding := f.Length - n; padding > 0 {
		st.give(padding)
	}
	if f.Has(http2.FlagEndStream) {
		return st.finish()
	}
	if n > 0 {
		st.readable.Signal()
	}
	return nil
}

// finish ends the body; st.trailers are what follows it. s.mu is held.
func (st *Stream) finish() *http2.Error {
	if st.framing == http1.FramingLength && st.left != 0 {
		return &http2.Error{Stream: st.id, Code: http2.ProtocolError, Reason: "content-length"}
	}
	st.remoteEnd = true
	st.trailers = own(st.trailers)
	st.readable.Signal()
	st.forget()
	return nil
}

// own copies what the decoder keeps for a moment only.
func own(fields []http1.Field) []http1.Field {
	for i := range fields {
		f := &fields[i]
		f.Name, f.Value = append([]byte(nil), f.Name...), append([]byte(nil), f.Value...)
	}
	return fields
}

// give tells the target, now or later, that n bytes were consumed. s.mu is held.
func (st *Stream) give(n int) {
	if more := st.receive.Give(n); more > 0 && !st.remoteEnd && st.s.err == nil {
		st.s.control(http2.AppendWindowUpdate(st.s.out, st.id, more))
	}
}

// ended acts on RST_STREAM. s.mu is held.
func (st *Stream) ended(code http2.Code) {
	var err error = &Reset{code}
	if code == http2.RefusedStream && !st.headed {
		err = ErrUnprocessed
	}
	delete(st.s.streams, st.id)
	st.werr = err
	if !st.remoteEnd { // else the answer is complete, and the target does not want to hear the rest of the request
		st.rerr = err
	}
	st.localEnd, st.remoteEnd = true, true
	st.awake()
}

// broken ends the stream with its session. s.mu is held.
func (st *Stream) broken(err error) {
	st.werr = err
	if !st.remoteEnd {
		st.rerr = err
	}
	st.localEnd, st.remoteEnd = true, true
	st.awake()
}

// reset ends the stream from our side. s.mu is held.
func (st *Stream) reset(err error, code http2.Code) {
	st.pending, st.read = nil, 0
	st.rerr, st.werr = err, err
	if st.id != 0 && st.s.err == nil && !(st.localEnd && st.remoteEnd) {
		st.s.control(http2.AppendRST(st.s.out, st.id, code))
	}
	delete(st.s.streams, st.id)
	st.localEnd, st.remoteEnd = true, true
	st.awake()
}

// forget takes a stream that is complete in both directions out of the table. s.mu is held.
func (st *Stream) forget() {
	if st.localEnd && st.remoteEnd {
		delete(st.s.streams, st.id)
	}
}

func (st *Stream) awake() {
	st.readable.Broadcast()
	st.writable.Broadcast()
}

// Read gives the answer as an HTTP/1.1 message.
func (st *Stream) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if n = st.fill(p); n > 0 {
			return n, nil
		}
		switch {
		case st.rerr != nil:
			return 0, st.rerr
		case st.remoteEnd:
			return 0, io.EOF
		case st.noRead.passed:
			return 0, os.ErrDeadlineExceeded
		}
		st.readable.Wait()
	}
}

const minChunk = 32 // bytes of room in which a chunk with its framing makes sense

// fill puts as much of the answer into p as there is. s.mu is held.
func (st *Stream) fill(p []byte) (n int) {
	for n < len(p) {
		if st.at < len(st.text) {
			k := copy(p[n:], st.text[st.at:])
			st.at += k
			n += k
			continue
		}
		st.text, st.at = st.text[:0], 0
		data := st.pending[st.read:]
		switch {
		case len(data) > 0 && st.framing != http1.FramingChunked:
			k := copy(p[n:], data)
			st.consume(k)
			n += k
		case len(data) > 0 && len(p)-n < minChunk:
			if n > 0 {
				return n
			}
			k := min(len(data), minChunk)
			st.text = http1.AppendChunk(st.text, data[:k])
			st.consume(k)
		case len(data) > 0:
			k := min(len(data), len(p)-n-minChunk/2) // what is left holds the size and two line ends
			n = len(http1.AppendChunk(p[:n], data[:k]))
			st.consume(k)
		case st.headed && st.remoteEnd && st.rerr == nil && !st.told:
			st.told = true
			if st.framing == http1.FramingChunked {
				st.text = http1.AppendLastChunk(st.text, st.trailers)
			}
		default:
			return n
		}
	}
	return n
}

func (st *Stream) consume(n int) {
	st.read += n
	st.give(n)
}

// SetDeadline sets both deadlines.
func (st *Stream) SetDeadline(t time.Time) error {
	_ = st.SetReadDeadline(t)
	return st.SetWriteDeadline(t)
}

// SetReadDeadline is that of net.Conn.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.setDeadline(&st.noRead, t)
	return nil
}

// SetWriteDeadline is that of net.Conn.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.setDeadline(&st.noWrite, t)
	return nil
}

func (st *Stream) setDeadline(d *deadline, t time.Time) {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	wait := time.Until(t)
	d.passed = !t.IsZero() && wait <= 0
	switch {
	case d.passed:
		st.awake()
	case !t.IsZero():
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			st.s.mu.Lock()
			defer st.s.mu.Unlock()
			if d.timer == timer {
				d.passed = true
				st.awake()
			}
		})
		d.timer = timer
	}
}

// Close ends the exchange: what is not complete is canceled.
func (st *Stream) Close() error {
	s := st.s
	s.mu.Lock()
	if st.released {
		s.mu.Unlock()
		return nil
	}
	st.released = true
	if st.id != 0 && !st.headed && s.heard.Before(st.began) { // perhaps nobody is there any more, which others should not have to find out, too
		select {
		case s.doubt <- struct{}{}:
		default:
		}
	}
	st.reset(errReleased, http2.Cancel)
	st.noRead.stop()
	st.noWrite.stop()
	s.active--
	s.lastUsed = time.Now()
	s.leave()
	s.changed()
	s.mu.Unlock()
	return nil
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// LocalAddr is that of the connection.
func (st *Stream) LocalAddr() net.Addr { return st.s.conn.LocalAddr() }

// RemoteAddr is that of the connection.
func (st *Stream) RemoteAddr() net.Addr { return st.s.conn.RemoteAddr() }

// SyscallConn fails: there is no socket for one stream.
func (st *Stream) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }
