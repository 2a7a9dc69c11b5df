package server

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/http3"
)

// quicStream is one request and its answer on a stream of QUIC. Like a stream of HTTP/2 it is a socket for the conn that serves it, but nothing lies between the two:
// reading takes frames from the stream and gives them as a message of HTTP/1.1, and writing waits until QUIC has taken what is sent.
type quicStream struct {
	h    *quicSession
	q    *http3.Stream
	c    *conn
	gone func() bool // ends the watch over the stream

	over     atomic.Bool // the client wants no answer any more
	answered atomic.Bool // the answer is complete

	// Of the goroutine that reads.
	buf      []byte
	raw      []byte // within buf: what came and was not looked at
	in       []byte // of the message: what was not read yet
	made     []byte // what in is within, unless that is buf
	data     uint64 // bytes that are left of a DATA frame
	skip     uint64 // of a frame of no known type
	headers  bool   // the request's head has come
	trailers bool   // its trailers too
	socket   bool   // it is to become a WebSocket
	chunked  bool   // how the body is framed for the reader
	left     int64  // of a body with a length
	ended    bool   // the request is complete
	failed   error

	// Of the goroutine that writes.
	dismantler
	out []byte
}

const (
	quicHeadBuffer = 2 << 10
	quicBodyBuffer = 16 << 10
	quicSendPiece  = 16 << 10
	maxSkipped     = 64 << 10 // of a frame of no known type
)

// begin reads the head of the request. It may be called again after a deadline.
func (st *quicStream) begin() (*http1.Refusal, error) {
	for !st.headers {
		if err := st.step(); err != nil {
			if errors.Is(err, errSectionTooLarge) {
				return http2TooLarge, nil
			}
			return nil, err
		}
	}
	return nil, nil
}

// errSectionTooLarge is for a head beyond the limits: the request is refused, not the stream.
var errSectionTooLarge = errors.New("field section too large")

// step takes one thing from the stream: a frame's header, a field section, or a piece of a body. An error that is no deadline ends the stream.
func (st *quicStream) step() error {
	if st.failed != nil {
		return st.failed
	}
	err := st.take()
	var bad *http3.Error
	switch {
	case errors.As(err, &bad):
		st.refuse(bad)
		st.failed = errGone
		return errGone
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		if http3.ResetByPeer(err) {
			st.dropped()
		}
		st.failed = err
	}
	return err
}

// refuse ends the stream, or the connection, because of what the client did.
func (st *quicStream) refuse(bad *http3.Error) {
	if bad.Connection {
		st.h.fail(bad)
		return
	}
	st.h.count(bad)
	st.over.Store(true)
	http3.Stop(st.q, true, true, bad.Code)
	st.c.abort()
	st.h.spend(http2.PriceReset)
}

// take is step without what follows from errors.
func (st *quicStream) take() error {
	switch {
	case st.data > 0:
		return st.takeData()
	case st.skip > 0:
		if err := st.more(1); err != nil {
			return st.cut(err)
		}
		n := min(st.skip, uint64(len(st.raw)))
		st.skip -= n
		st.raw = st.raw[n:]
		return nil
	}
	f, n := http3.ParseFrame(st.raw)
	if n == 0 {
		err := st.more(len(st.raw) + 1)
		switch {
		case errors.Is(err, io.EOF) && len(st.raw) == 0:
			return st.finish()
		case err != nil:
			return st.cut(err)
		}
		return nil
	}
	return st.frame(f, n)
}

// cut is what the end of a stream means within a frame (RFC 9114 §7.1).
func (st *quicStream) cut(err error) error {
	if errors.Is(err, io.EOF) {
		return http3.Fatal(http3.FrameError, "frame-cut")
	}
	return err
}

// more reads until at least n bytes lie in raw.
func (st *quicStream) more(n int) error {
	for len(st.raw) < n {
		if need := max(n, quicHeadBuffer); cap(st.buf) < need {
			st.buf = make([]byte, need)
		}
		st.raw = st.buf[:copy(st.buf[:cap(st.buf)], st.raw)]
		k, err := st.q.Read(st.buf[len(st.raw):cap(st.buf)])
		st.raw = st.buf[:len(st.raw)+k]
		if k == 0 && err != nil {
			return err
		}
	}
	return nil
}

// frame handles a frame whose header are the first n bytes of raw.
func (st *quicStream) frame(f http3.Frame, n int) error {
	switch {
	case f.Type.OfControl(), f.Type.OfHTTP2():
		return http3.Fatal(http3.FrameUnexpected, "frame-unexpected")
	case f.Type == http3.Data && (!st.headers || st.trailers), f.Type == http3.Headers && st.trailers:
		return http3.Fatal(http3.FrameUnexpected, "frame-order")
	case f.Type == http3.Headers:
		return st.section(f, n)
	}
	st.raw = st.raw[n:]
	if f.Type == http3.Data {
		if st.data = f.Length; f.Length == 0 {
			st.h.spend(http2.PriceEmpty)
		}
		return nil
	}
	if f.Length > maxSkipped {
		return http3.Fatal(http3.ExcessiveLoad, "frame-unknown-size")
	}
	st.skip = f.Length
	st.h.spend(http2.PriceUnknown)
	return nil
}

// section reads a field section. It is unpacked when all of it is here.
func (st *quicStream) section(f http3.Frame, n int) error {
	limits := &st.c.s.generation.Load().Limits
	if f.Length > uint64(max(2*limits.MaxHeaderSize, quicBodyBuffer)) {
		return st.large()
	}
	if err := st.more(n + int(f.Length)); err != nil {
		return st.cut(err)
	}
	packed := st.raw[n : n+int(f.Length)]
	st.raw = st.raw[n+int(f.Length):]
	fields, tooLarge, bad := http3.ReadFields(packed, limits.MaxHeaderSize, limits.MaxHeaderCount)
	switch {
	case bad != nil:
		return bad
	case tooLarge:
		return st.large()
	case st.headers:
		return st.end(fields)
	}
	return st.head(fields)
}

// large is for a section beyond the limits.
func (st *quicStream) large() error {
	if st.headers {
		return &http3.Error{Code: http3.ExcessiveLoad, Reason: "trailers-too-large"}
	}
	return errSectionTooLarge
}

// malformed is the error of HTTP/3 for one that HTTP/2 has in common with it.
func malformed(e *http2.Error) error {
	return &http3.Error{Code: http3.MessageError, Reason: e.Reason}
}

// head makes the request's head.
func (st *quicStream) head(fields []http2.HeaderField) error {
	r, bad := http2.ReadRequest(1, fields)
	if bad != nil {
		return malformed(bad)
	}
	st.headers = true
	st.method = http1.LookupMethod([]byte(r.Method))
	st.socket = r.IsWebSocket()
	end := r.ContentLength == 0 && !st.socket
	switch {
	case end:
		if err := st.hollow(); err != nil {
			return err
		}
	case !st.socket && r.ContentLength < 0: // does a body follow? Usually the end comes together with the head
		end = st.bodiless(r.Method)
	}
	st.chunked, st.left = !end && r.ContentLength < 0 && !st.socket, max(r.ContentLength, 0)
	st.made = r.AppendHead(make([]byte, 0, 512), end)
	if st.socket {
		st.made = append(append(append(st.made, "sec-websocket-key: "...), webSocketKey()...), "\r\n\r\n"...)
	}
	st.in = st.made
	return nil
}

// bodiless reports whether the stream ends behind the head, for methods that usually have no body. The end may come in a packet of its own; a request without one that does
// not say so becomes chunked with nothing in it, so it is waited for a moment.
func (st *quicStream) bodiless(method string) bool {
	if len(st.raw) > 0 || method == "POST" || method == "PUT" || method == "PATCH" {
		return false
	}
	_ = st.q.SetReadDeadline(time.Now().Add(endPatience))
	err := st.more(1)
	_ = st.q.SetReadDeadline(time.Time{})
	return errors.Is(err, io.EOF)
}

// hollow checks, as far as it has come, that nothing lies behind a body whose end is known: nobody reads it.
func (st *quicStream) hollow() (err error) {
	_ = st.q.SetReadDeadline(time.Now().Add(endPatience))
	for !st.ended && err == nil {
		err = st.take()
	}
	_ = st.q.SetReadDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// endPatience is how long the end of a request may come behind what needs no more.
const endPatience = 50 * time.Millisecond

// takeData takes a piece of the body.
func (st *quicStream) takeData() error {
	if len(st.raw) == 0 {
		if cap(st.buf) < quicBodyBuffer {
			st.buf = make([]byte, quicBodyBuffer)
		}
		if err := st.more(1); err != nil {
			return st.cut(err)
		}
	}
	n := int(min(st.data, uint64(len(st.raw))))
	piece := st.raw[:n]
	st.raw, st.data = st.raw[n:], st.data-uint64(n)
	st.h.earn(n)
	switch {
	case st.chunked:
		st.made = http1.AppendChunk(st.made[:0], piece)
		st.in = st.made
	case st.socket:
		st.in = piece
	default:
		if st.left -= int64(n); st.left < 0 {
			return &http3.Error{Code: http3.MessageError, Reason: "content-length"}
		}
		if st.left == 0 {
			st.made = append(st.made[:0], piece...)
			if err := st.hollow(); err != nil {
				return err
			}
			piece = st.made
		}
		st.in = piece
	}
	return nil
}

// end takes the trailers, behind which nothing but the end of the stream may come.
func (st *quicStream) end(fields []http2.HeaderField) error {
	list, bad := http2.ReadTrailers(1, fields, nil)
	switch {
	case bad != nil:
		return malformed(bad)
	case st.socket:
		return http3.Fatal(http3.FrameUnexpected, "frame-order")
	case st.left > 0:
		return &http3.Error{Code: http3.MessageError, Reason: "content-length"}
	}
	st.trailers = true
	if st.chunked { // a body with a length has no place for trailers
		st.made = http1.AppendLastChunk(st.made[:0], list)
		st.in, st.chunked = st.made, false
	}
	if st.ended {
		return nil
	}
	return st.hollow()
}

// finish is for the end of the stream.
func (st *quicStream) finish() error {
	switch {
	case !st.headers:
		return &http3.Error{Code: http3.RequestIncomplete, Reason: "request-incomplete"}
	case st.left > 0:
		return &http3.Error{Code: http3.MessageError, Reason: "content-length"}
	case st.chunked:
		st.made = http1.AppendLastChunk(st.made[:0], nil)
		st.in, st.chunked = st.made, false
	}
	st.ended = true
	return nil
}

// Read gives the next bytes of the request.
func (st *quicStream) Read(p []byte) (int, error) {
	if err := st.Await(); err != nil {
		return 0, err
	}
	if len(st.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, st.in)
	st.in = st.in[n:]
	return n, nil
}

func (st *quicStream) Await() error {
	for len(st.in) == 0 && !st.ended {
		if err := st.step(); err != nil {
			return err
		}
	}
	return nil
}

// Write takes the answer, in pieces of any size.
func (st *quicStream) Write(p []byte) (int, error) {
	n, err := st.write(p, st)
	if err == nil {
		err = st.flush()
	}
	return n, err
}

func (st *quicStream) sendFields(status int, fields []http1.Field, end bool) error {
	text := ""
	if status != 0 {
		text = strconv.Itoa(status)
	}
	st.out = http3.AppendSection(st.out, text, fields, st.skips)
	return st.sent(end)
}

func (st *quicStream) sendBody(data []byte, end bool) error {
	for len(data) > 0 {
		n := min(len(data), quicSendPiece)
		st.out = http3.AppendFrame(st.out, http3.Data, data[:n])
		data = data[n:]
		st.h.earn(n)
		if len(st.out) >= quicSendPiece {
			if err := st.flush(); err != nil {
				return err
			}
		}
	}
	return st.sent(end)
}

// sent ends the answer when it is complete.
func (st *quicStream) sent(end bool) error {
	if !end {
		return nil
	}
	if err := st.flush(); err != nil {
		return err
	}
	st.answered.Store(true)
	return st.q.Close()
}

// flush gives what is in out to QUIC, in pieces, so that the sweeper sees it move.
func (st *quicStream) flush() error {
	for len(st.out) > 0 {
		n, err := st.q.Write(st.out[:min(len(st.out), quicSendPiece)])
		st.c.wire.total.Add(int64(n))
		st.out = st.out[:copy(st.out, st.out[n:])]
		if err != nil {
			return err
		}
	}
	return nil
}

// dropped is called when the client ends a stream, and when the connection does. It pays for what it began for nothing.
func (st *quicStream) dropped() {
	if st.answered.Load() || st.over.Swap(true) {
		return
	}
	st.c.abort()
	if st.h.q.Context().Err() == nil {
		st.h.spend(http2.PriceReset)
	}
}

// Close ends the stream: in order, or, when its answer is not complete, as an error.
func (st *quicStream) Close() error {
	st.gone()
	answered := st.answered.Load()
	code := http3.NoError // the rest of the request is of no interest
	if !answered {
		code = http3.InternalError
	}
	http3.Stop(st.q, true, !answered, code)
	st.h.ended()
	return nil
}

// CloseWrite ends our half of a WebSocket. Otherwise it fails: there is no half of an exchange to wait for.
func (st *quicStream) CloseWrite() error {
	if !st.dismantler.raw {
		return errGone
	}
	return st.sent(true)
}

func (st *quicStream) peek() peeked {
	if st.over.Load() {
		return peekBroken
	}
	return peekNothing // who has sent all of its request has not left
}

func (st *quicStream) protocol() string { return "HTTP/3.0" }

func (st *quicStream) open() *atomic.Int64 { return &st.c.ln.metrics.Asks }

// SetDeadline ends waits when t has passed.
func (st *quicStream) SetDeadline(t time.Time) error { return st.q.SetDeadline(t) }

// SetReadDeadline is SetDeadline for reading.
func (st *quicStream) SetReadDeadline(t time.Time) error { return st.q.SetReadDeadline(t) }

// SetWriteDeadline is SetDeadline for writing.
func (st *quicStream) SetWriteDeadline(t time.Time) error { return st.q.SetWriteDeadline(t) }

// LocalAddr is the connection's.
func (st *quicStream) LocalAddr() net.Addr { return st.h.q.LocalAddr() }

// RemoteAddr is the connection's.
func (st *quicStream) RemoteAddr() net.Addr { return st.h.q.RemoteAddr() }

// SyscallConn fails: there is no descriptor.
func (st *quicStream) SyscallConn() (syscall.RawConn, error) { return nil, errGone }
