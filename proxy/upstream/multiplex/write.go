package multiplex

import (
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http2"
)

// The writer is the only goroutine that writes to the connection: the reader must never wait for a target that waits for us.

// control makes out, which is s.out with something behind it, what is written next. mu is held.
func (s *Session) control(out []byte) {
	s.unsent += len(out) - len(s.out)
	s.out = out
	if s.unsent > maxControl {
		s.end(errUnread, http2.EnhanceYourCalm)
		return
	}
	s.wake.Signal()
}

// write is the writer's goroutine.
func (s *Session) write() {
	defer s.conn.Close() // which ends the reader, too
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.out) == 0 && !s.closed {
			s.wake.Wait()
		}
		if len(s.out) == 0 {
			return
		}
		last := s.closed
		batch := s.out
		s.out = s.spare[:0]
		s.mu.Unlock()
		patience := s.opt.WriteTimeout
		if last {
			patience = min(patience, farewell)
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(patience))
		_, err := s.conn.Write(batch)
		s.mu.Lock()
		s.spare = batch[:0]
		if cap(s.spare) > 4*maxUnsent {
			s.spare = nil
		}
		s.unsent = len(s.out)
		if err != nil {
			s.end(err, http2.NoError)
			return
		}
		if last && len(s.out) == 0 {
			return
		}
		s.resume()
	}
}

// resume wakes the streams that wait to send. mu is held.
func (s *Session) resume() {
	for _, st := range s.streams {
		if st.waiting {
			st.writable.Signal()
		}
	}
}

// sendable is how many bytes of a body a stream may send now, up to n. mu is held.
func (s *Session) sendable(st *Stream, n int) int {
	return min(n, st.send.Left(), s.window.Left(), http2.MaxFrame, max(maxUnsent-s.unsent, 0))
}
