package multiplex

import (
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http2"
)

// reader takes what the target sends apart. It belongs to one goroutine.
type reader struct {
	s       *Session
	buf     []byte // buf[from:to] was read and not looked at
	from    int
	to      int
	decoder *http2.Decoder
	window  http2.ReceiveWindow
	budget  http2.Budget
	frame   http2.Frame

	block    uint32 // stream whose header block is under way, 0 = none
	blockEnd bool   // and ends the stream
}

func newReader(s *Session) *reader {
	return &reader{
		s: s, buf: make([]byte, readSize), decoder: http2.NewDecoder(maxList, maxFields), window: http2.NewReceiveWindow(http2.InitialWindow),
		budget: http2.Budget{Size: budgetSize},
	}
}

// meet reads the target's settings, which come first (RFC 9113 §3.4).
func (r *reader) meet() error {
	if err := r.next(); err != nil {
		return err
	}
	if r.frame.Type != http2.Settings || r.frame.Has(http2.FlagAck) {
		return &Violation{&http2.Error{Code: http2.ProtocolError, Reason: "settings-first"}}
	}
	return r.handle()
}

// run reads until the connection ends.
func (r *reader) run() error {
	for {
		if err := r.next(); err != nil {
			return err
		}
		if err := r.handle(); err != nil {
			return err
		}
	}
}

// next reads one frame; its payload is good until the next one.
func (r *reader) next() error {
	for {
		n, bad := http2.ParseFrame(r.buf[r.from:r.to], &r.frame)
		switch {
		case bad != nil && bad.Stream != 0 && r.block == 0:
			r.from += n
			r.s.resetStream(bad)
			continue
		case bad != nil:
			return bad
		case n > 0:
			r.from += n
			return nil
		case r.from > 0:
			r.to = copy(r.buf, r.buf[r.from:r.to])
			r.from = 0
		}
		n, err := r.s.conn.Read(r.buf[r.to:]) // never empty: a whole frame fits
		if n == 0 && err != nil {
			return err
		}
		r.to += n
		r.s.mu.Lock()
		r.s.heard, r.s.pinged = time.Now(), false
		r.s.mu.Unlock()
	}
}

// handle acts on a frame. What is wrong with one stream ends that stream only.
func (r *reader) handle() error {
	f, s := &r.frame, r.s
	if price := f.Price(); price > 0 {
		r.budget.Earn(s.moved.Swap(0))
		if !r.budget.Spend(price, time.Now().UnixNano()) {
			return &http2.Error{Code: http2.EnhanceYourCalm, Reason: "flood"}
		}
	}
	if r.block != 0 && (f.Type != http2.Continuation || f.Stream != r.block) || r.block == 0 && f.Type == http2.Continuation {
		return &http2.Error{Code: http2.ProtocolError, Reason: "continuation"}
	}
	var bad *http2.Error
	switch f.Type {
	case http2.Headers:
		r.block, r.blockEnd = f.Stream, f.Has(http2.FlagEndStream)
		bad = r.fields()
	case http2.Continuation:
		bad = r.fields()
	case http2.Data:
		bad = r.data()
	default:
		s.mu.Lock()
		bad = r.steer()
		s.mu.Unlock()
	}
	if bad == nil {
		return nil
	}
	if bad.Stream == 0 {
		return bad
	}
	s.resetStream(bad)
	return nil
}

// resetStream ends a stream on which the target did something wrong.
func (s *Session) resetStream(bad *http2.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.streams[bad.Stream]; st != nil {
		st.reset(&Violation{bad}, bad.Code)
	}
}

// fields takes a piece of a header block and, at its end, hands it to its stream.
func (r *reader) fields() *http2.Error {
	f, s := &r.frame, r.s
	if err := r.decoder.Write(f.Payload); err != nil {
		return err
	}
	if !f.Has(http2.FlagEndHeaders) {
		return nil
	}
	id := r.block
	r.block = 0
	fields, tooLarge, err := r.decoder.End()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.find(id)
	switch {
	case st == nil:
		return err
	case tooLarge:
		return &http2.Error{Stream: id, Code: http2.EnhanceYourCalm, Reason: "fields-too-large"}
	case st.remoteEnd:
		return &http2.Error{Stream: id, Code: http2.StreamClosed, Reason: "stream-closed"}
	case st.headed:
		if !r.blockEnd {
			return &http2.Error{Stream: id, Code: http2.ProtocolError, Reason: "trailers-without-end"}
		}
		if st.trailers, err = http2.ReadTrailers(id, fields, st.trailers[:0]); err != nil {
			return err
		}
		return st.finish()
	}
	a, err := http2.ReadAnswer(id, fields)
	if err != nil {
		return err
	}
	return st.answer(&a, r.blockEnd)
}

// data takes a piece of a body.
func (r *reader) data() *http2.Error {
	f, s := &r.frame, r.s
	if !r.window.Take(f.Length) {
		return &http2.Error{Code: http2.FlowControlError, Reason: "connection-window"}
	}
	s.moved.Add(int64(len(f.Payload)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := r.window.Give(f.Length); n > 0 {
		s.control(http2.AppendWindowUpdate(s.out, 0, n))
	}
	st, err := s.find(f.Stream)
	if st == nil {
		return err
	}
	return st.data(f)
}

// find returns the stream with a number; nil and no error for one that is over. mu is held.
func (s *Session) find(id uint32) (*Stream, *http2.Error) {
	if id%2 == 0 || id >= s.next {
		return nil, &http2.Error{Code: http2.ProtocolError, Reason: "stream-idle"}
	}
	return s.streams[id], nil
}

// steer acts on the frames without content. mu is held.
func (r *reader) steer() *http2.Error {
	f, s := &r.frame, r.s
	switch f.Type {
	case http2.Settings:
		if f.Has(http2.FlagAck) {
			return nil
		}
		if err := http2.EachSetting(f.Payload, s.set); err != nil {
			return err
		}
		s.control(http2.AppendSettingsAck(s.out))
		s.changed()
	case http2.Ping:
		if !f.Has(http2.FlagAck) {
			s.control(http2.AppendPingAck(s.out, f.Payload))
		}
	case http2.WindowUpdate:
		return s.grow(f)
	case http2.RSTStream:
		st, err := s.find(f.Stream)
		if st != nil {
			st.ended(f.Code)
		}
		return err
	case http2.GoAway:
		s.goAway(f)
	}
	return nil
}

// set takes over one parameter. mu is held.
func (s *Session) set(p http2.Setting) *http2.Error {
	switch p.ID {
	case http2.MaxConcurrentStreams:
		s.allowed = int(min(p.Value, 1<<30))
	case http2.EnablePush:
		if p.Value != 0 {
			return &http2.Error{Code: http2.ProtocolError, Reason: "setting-value"} // only a client may say so
		}
	case http2.EnableConnectProtocol:
		if p.Value == 0 && s.tunnels {
			return &http2.Error{Code: http2.ProtocolError, Reason: "setting-value"} // it may not be taken back
		}
		s.tunnels = p.Value == 1
	case http2.InitialWindowSize:
		change := int64(p.Value) - int64(s.initial)
		s.initial = p.Value
		for _, st := range s.streams {
			if !st.send.Grow(change) {
				return &http2.Error{Code: http2.FlowControlError, Reason: "stream-window"}
			}
		}
		s.resume()
	}
	return nil
}

// grow acts on a WINDOW_UPDATE. mu is held.
func (s *Session) grow(f *http2.Frame) *http2.Error {
	if f.Stream == 0 {
		if f.Increment == 0 {
			return &http2.Error{Code: http2.ProtocolError, Reason: "window-update-zero"}
		}
		if !s.window.Grow(int64(f.Increment)) {
			return &http2.Error{Code: http2.FlowControlError, Reason: "connection-window"}
		}
		s.resume()
		return nil
	}
	st, err := s.find(f.Stream)
	switch {
	case st == nil:
		return err
	case f.Increment == 0:
		return &http2.Error{Stream: f.Stream, Code: http2.ProtocolError, Reason: "window-update-zero"}
	case !st.send.Grow(int64(f.Increment)):
		return &http2.Error{Stream: f.Stream, Code: http2.FlowControlError, Reason: "stream-window"}
	}
	st.writable.Signal()
	return nil
}

// goAway lets the streams go on that the target still serves (RFC 9113 §6.8). mu is held.
func (s *Session) goAway(f *http2.Frame) {
	s.retired, s.leaving = true, true
	for id, st := range s.streams {
		if id > f.Last {
			st.broken(ErrUnprocessed)
			delete(s.streams, id)
		}
	}
	s.leave()
	s.changed()
}
