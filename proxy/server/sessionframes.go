package server

import (
	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// spend pays for what the client did, after what its bodies have earned.
func (s *session) spend(price int64) bool {
	s.budget.Earn(s.moved.Swap(0))
	return s.budget.Spend(price, s.c.s.now())
}

// frame handles one frame.
func (s *session) frame(f *http2.Frame) *http2.Error {
	switch {
	case s.block != 0 && (f.Type != http2.Continuation || f.Stream != s.block), s.block == 0 && f.Type == http2.Continuation:
		return &http2.Error{Code: http2.ProtocolError, Reason: "header-block-interrupted"}
	case !s.settled && (f.Type != http2.Settings || f.Has(http2.FlagAck)):
		return &http2.Error{Code: http2.ProtocolError, Reason: "settings-missing"}
	}
	if price := f.Price(); price != 0 && !s.spend(price) {
		return &http2.Error{Code: http2.EnhanceYourCalm, Reason: "flood"}
	}
	switch f.Type {
	case http2.Data:
		return s.data(f)
	case http2.Headers:
		s.block, s.ending = f.Stream, f.Has(http2.FlagEndStream)
		return s.headers(f)
	case http2.Continuation:
		return s.headers(f)
	case http2.RSTStream:
		return s.resetByPeer(f)
	case http2.Settings:
		return s.configure(f)
	case http2.Ping:
		if !f.Has(http2.FlagAck) {
			s.mu.Lock()
			s.out = http2.AppendPingAck(s.out, f.Payload)
			s.mu.Unlock()
		}
	case http2.WindowUpdate:
		return s.grow(f)
	}
	return nil
}

// headers takes a piece of a header block and, when it is the last, what the block says.
func (s *session) headers(f *http2.Frame) *http2.Error {
	if err := s.decoder.Write(f.Payload); err != nil {
		return err
	}
	if !f.Has(http2.FlagEndHeaders) {
		return nil
	}
	id := s.block
	s.block = 0
	fields, tooLarge, err := s.decoder.End()
	if err != nil {
		return err
	}
	s.mu.Lock()
	st := s.streams[id]
	known := s.resets.has(id)
	closed := st != nil && (st.dropped || st.ended && st.answered)
	s.mu.Unlock()
	switch {
	case st != nil && !closed:
		return s.trailers(st, fields, tooLarge)
	case id%2 == 0:
		return &http2.Error{Code: http2.ProtocolError, Reason: "stream-number"}
	case id <= s.lastID && known && !closed:
		return s.crossing(id, fields)
	case id <= s.lastID:
		return &http2.Error{Code: http2.StreamClosed, Reason: "stream-closed"}
	}
	return s.begin(id, fields, tooLarge)
}

// crossing judges trailers that were on their way when we ended their stream.
func (s *session) crossing(id uint32, fields []http2.HeaderField) *http2.Error {
	if !s.ending {
		return &http2.Error{Stream: id, Code: http2.ProtocolError, Reason: "trailers-without-end"}
	}
	_, err := http2.ReadTrailers(id, fields, nil)
	return err
}

// begin serves a new request.
func (s *session) begin(id uint32, fields []http2.HeaderField, tooLarge bool) *http2.Error {
	s.lastID = id
	s.begun++
	st := &stream{s: s, id: id}
	req, bad := http2.ReadRequest(id, fields)
	switch {
	case tooLarge:
		st.refuse = http2TooLarge
	case bad != nil:
		return bad
	case s.ending && (req.ContentLength > 0 || req.IsWebSocket()):
		return &http2.Error{Stream: id, Code: http2.ProtocolError, Reason: "content-length"}
	}
	st.prepare(&req, s.ending)
	s.mu.Lock()
	if s.leaving {
		s.mu.Unlock()
		return nil // as GOAWAY said
	}
	if s.running >= s.settings.HTTP2.MaxConcurrentStreams {
		s.mu.Unlock()
		s.c.s.reached(observe.LimitStreams, s.c.peer.Addr())
		if !s.spend(http2.PriceReset) {
			return &http2.Error{Code: http2.EnhanceYourCalm, Reason: "flood"}
		}
		return &http2.Error{Stream: id, Code: http2.RefusedStream, Reason: "too-many-streams"}
	}
	st.send, st.receive = http2.NewSendWindow(0), http2.NewReceiveWindow(uint32(s.settings.HTTP2.StreamWindow))
	st.send.Grow(s.initial)
	s.streams[id] = st
	s.running++
	s.mu.Unlock()
	s.c.serveStream(st)
	return nil
}

// trailers ends a request body.
func (s *session) trailers(st *stream, fields []http2.HeaderField, tooLarge bool) *http2.Error {
	switch {
	case st.ended: // only this goroutine writes it
		return &http2.Error{Stream: st.id, Code: http2.StreamClosed, Reason: "stream-closed"}
	case !s.ending:
		return &http2.Error{Stream: st.id, Code: http2.ProtocolError, Reason: "trailers-without-end"}
	case tooLarge:
		return &http2.Error{Stream: st.id, Code: http2.EnhanceYourCalm, Reason: "trailers-too-large"}
	}
	list, err := http2.ReadTrailers(st.id, fields, nil)
	if err != nil {
		return err
	}
	return st.finish(list)
}

// data takes a piece of a request body.
func (s *session) data(f *http2.Frame) *http2.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.receive.Take(f.Length) {
		return &http2.Error{Code: http2.FlowControlError, Reason: "connection-window"}
	}
	s.moved.Add(int64(len(f.Payload)))
	st := s.streams[f.Stream]
	if st == nil {
		s.giveBack(f.Length)
		switch {
		case f.Stream > s.lastID:
			return &http2.Error{Code: http2.ProtocolError, Reason: "stream-idle"}
		case s.resets.has(f.Stream):
			return nil
		}
		return &http2.Error{Stream: f.Stream, Code: http2.StreamClosed, Reason: "stream-closed"}
	}
	err := st.data(f)
	if padding := f.Length - len(f.Payload); padding > 0 || err != nil {
		if err != nil {
			padding = f.Length
		}
		s.giveBack(padding)
	}
	return err
}

// giveBack lets the peer send n bytes more on the connection. It is called with mu held.
func (s *session) giveBack(n int) {
	if due := s.receive.Give(n); due > 0 {
		s.out = http2.AppendWindowUpdate(s.out, 0, due)
	}
}

// resetByPeer ends a stream that the client does not want any more. It pays for those it began for nothing.
func (s *session) resetByPeer(f *http2.Frame) *http2.Error {
	s.mu.Lock()
	st := s.streams[f.Stream]
	s.resets.forget(f.Stream)
	if st == nil {
		s.mu.Unlock()
		if f.Stream > s.lastID {
			return &http2.Error{Code: http2.ProtocolError, Reason: "stream-idle"}
		}
		return nil
	}
	st.dropped = true
	st.kill()
	s.mu.Unlock()
	st.c.abort()
	if !s.spend(http2.PriceReset) {
		return &http2.Error{Code: http2.EnhanceYourCalm, Reason: "flood"}
	}
	return nil
}

// reset ends a stream because of what the client did on it, which it pays for as well.
func (s *session) reset(id uint32, code http2.Code) {
	s.mu.Lock()
	st := s.streams[id]
	if st != nil {
		st.kill()
	}
	s.resets.add(id)
	s.out = http2.AppendRST(s.out, id, code)
	s.mu.Unlock()
	if st != nil {
		st.c.abort()
	}
	if !s.spend(http2.PriceReset) {
		s.fail(&http2.Error{Code: http2.EnhanceYourCalm, Reason: "flood"})
	}
}

// configure applies the peer's settings and confirms them.
func (s *session) configure(f *http2.Frame) *http2.Error {
	s.settled = true
	if f.Has(http2.FlagAck) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := http2.EachSetting(f.Payload, func(p http2.Setting) *http2.Error {
		if p.ID != http2.InitialWindowSize {
			return nil // we send no more than everybody takes, push nothing and pack without a table
		}
		change := int64(p.Value) - s.initial
		s.initial = int64(p.Value)
		for _, st := range s.streams {
			if !st.send.Grow(change) {
				return &http2.Error{Code: http2.FlowControlError, Reason: "stream-window"}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.out = http2.AppendSettingsAck(s.out)
	s.wakeWriters()
	return nil
}

// grow lets more be sent.
func (s *session) grow(f *http2.Frame) *http2.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Stream == 0 {
		switch {
		case f.Increment == 0:
			return &http2.Error{Code: http2.ProtocolError, Reason: "window-increment"}
		case !s.send.Grow(int64(f.Increment)):
			return &http2.Error{Code: http2.FlowControlError, Reason: "connection-window"}
		}
		s.wakeWriters()
		return nil
	}
	st := s.streams[f.Stream]
	switch {
	case f.Stream > s.lastID:
		return &http2.Error{Code: http2.ProtocolError, Reason: "stream-idle"}
	case f.Increment == 0:
		return &http2.Error{Stream: f.Stream, Code: http2.ProtocolError, Reason: "window-increment"}
	case st == nil:
		return nil
	case !st.send.Grow(int64(f.Increment)):
		return &http2.Error{Stream: f.Stream, Code: http2.FlowControlError, Reason: "stream-window"}
	}
	st.cond.Broadcast()
	return nil
}
