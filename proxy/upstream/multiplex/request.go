package multiplex

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/http2"
)

// request is how the writer of a stream takes a message apart.
type request struct {
	method http1.Method // guarded by Session.mu once the request has begun
	head   []byte       // part of a head
	begun  bool
	body   http1.Body
	tunnel tunnel
}

// requestLimits bound what our own requests can be: larger than any that was accepted from a client and edited.
var requestLimits = http1.Limits{MaxHeadBytes: 4 << 20, MaxTargetBytes: 4 << 20, MaxFields: 10_000, MaxTrailerBytes: 1 << 20}

// Write takes the request as an HTTP/1.1 message, in pieces of any size. After an error other than a deadline's nothing more is to be expected of the stream but what has come already.
func (st *Stream) Write(p []byte) (int, error) {
	n, err := st.take(p)
	if err != nil && err != os.ErrDeadlineExceeded {
		st.s.mu.Lock()
		if !st.remoteEnd {
			st.reset(err, http2.Cancel)
		}
		st.s.mu.Unlock()
	}
	return n, err
}

func (st *Stream) take(p []byte) (int, error) {
	n := len(p)
	if st.begun && st.tunnel.asked {
		if err := st.piece(p, false); err != nil {
			return 0, err
		}
		return n, nil
	}
	if !st.begun {
		src := p
		if len(st.head) > 0 {
			st.head = append(st.head, p...)
			src = st.head
		}
		used, err := st.begin(src)
		if err != nil {
			return 0, err
		}
		if used == 0 {
			if len(st.head) == 0 {
				st.head = append(st.head, p...)
			}
			return n, nil
		}
		p, st.head, st.begun = src[used:], nil, true
	}
	for len(p) > 0 && !st.body.Done() {
		used, data, done, refusal := st.body.Next(p)
		if refusal != nil {
			return 0, fmt.Errorf("cannot read our own request: %s", refusal.Code)
		}
		p = p[used:]
		if err := st.piece(data, done); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// begin sends the head once all of it is in src, and returns its length.
func (st *Stream) begin(src []byte) (int, error) {
	var req http1.Request
	n, refusal := req.Parse(src, &requestLimits)
	switch {
	case refusal != nil:
		return 0, fmt.Errorf("cannot read our own request: %s", refusal.Code)
	case n == 0:
		return 0, nil
	}
	st.body.Init(req.Framing, req.ContentLength, http1.FromClient, &requestLimits)
	s := st.s
	var asked tunnel
	if req.Upgrade != nil {
		asked = newTunnel(&req)
	}
	block := appendBlock(make([]byte, 0, 512), &req, s.opt.Secure)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case asked.asked && !s.tunnels:
		return 0, errUpgrade
	case st.released:
		return 0, errReleased
	case s.err != nil:
		return 0, ErrUnprocessed
	case s.next > http2.MaxStreamID-2:
		s.retired = true
		return 0, ErrUnprocessed
	case s.leaving: // the target said goodbye between Open and now
		return 0, ErrUnprocessed
	}
	st.id, st.began = s.next, time.Now()
	s.next += 2
	st.method, st.tunnel = req.MethodID, asked
	st.send = http2.NewSendWindow(s.initial)
	s.streams[st.id] = st
	st.localEnd = st.body.Done() && !asked.asked
	s.control(http2.AppendHeaders(s.out, st.id, block, st.localEnd))
	return n, nil
}

// appendBlock appends the header block of a request.
func appendBlock(dst []byte, req *http1.Request, secure bool) []byte {
	method := req.Method
	if req.Upgrade != nil {
		method = methodConnect
	}
	dst = http2.AppendRequest(dst, method, secure, req.Host, req.Target)
	if req.Upgrade != nil {
		dst = http2.AppendField(dst, fieldProtocol, valueWebSocket)
	}
	grpc := false
	for i := range req.Fields {
		f := &req.Fields[i]
		if f.ID == http1.ContentType && bytes.HasPrefix(f.Value, []byte("application/grpc")) {
			grpc = true
		}
		if f.ID != http1.Host && f.ID != http1.SecWebSocketKey && !f.Hop && !http1.IsHopByHop(f.ID) {
			dst = http2.AppendField(dst, f.Name, f.Value)
		}
	}
	if grpc { // its servers want to know that trailers come through
		dst = http2.AppendField(dst, []byte("te"), []byte("trailers"))
	}
	return dst
}

// piece sends a piece of the body, as much at a time as the target allows.
func (st *Stream) piece(data []byte, end bool) error {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	trailers := st.body.Trailers
	if !end {
		trailers = nil
	}
	for len(data) > 0 {
		n := s.sendable(st, len(data))
		switch {
		case st.werr != nil:
			return st.werr
		case n == 0 && st.noWrite.passed:
			return os.ErrDeadlineExceeded
		case n == 0:
			st.waiting = true
			st.writable.Wait()
			st.waiting = false
			continue
		}
		last := end && n == len(data) && len(trailers) == 0
		st.send.Take(n)
		s.window.Take(n)
		s.moved.Add(int64(n))
		if last {
			st.localEnd = true
		}
		s.control(http2.AppendData(s.out, st.id, data[:n], last))
		data = data[n:]
	}
	if !end || st.localEnd {
		st.forget()
		return st.werr
	}
	if st.werr != nil {
		return st.werr
	}
	st.localEnd = true
	if len(trailers) == 0 {
		s.control(http2.AppendData(s.out, st.id, nil, true))
	} else {
		s.control(http2.AppendHeaders(s.out, st.id, http2.AppendFields(nil, trailers), true))
	}
	st.forget()
	return nil
}
