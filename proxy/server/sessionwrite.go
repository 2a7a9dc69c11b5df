package server

import (
	"runtime"

	"github.com/sentinel-stack/sentinel/proxy/http2"
)

// flush sends what is in out, unless somebody else is at it who will. It is called with mu held and lets go of it while it writes.
func (s *session) flush() {
	if s.writing {
		return
	}
	s.writing = true
	if s.running > 1 { // whoever is about to have something to send comes along
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
	for len(s.out) > 0 && !s.broken {
		batch := s.out
		s.out, s.spare = s.spare[:0], nil
		s.sending.Store(s.c.s.now() + int64(s.settings.SendTimeout))
		s.mu.Unlock()
		err := s.c.wire.write(batch, nil)
		s.mu.Lock()
		s.sending.Store(0)
		if cap(batch) <= outSpare {
			s.spare = batch[:0]
		}
		if err != nil {
			s.broken = true
			if s.err == nil {
				s.err = err
			}
			s.c.kick(kickAbort) // the reading goroutine ends everything
		}
		s.wakeWriters()
	}
	s.writing = false
	if s.err != nil {
		s.done.Broadcast()
	}
}

// written, called with mu held when err is set, waits until nobody writes any more: whoever was at it when the session ended takes its last words along. A peer that takes
// nothing is given up by the sweeper.
func (s *session) written() {
	for s.writing {
		s.done.Wait()
	}
}

// wakeWriters lets the streams that wait for room look again. It is called with mu held.
func (s *session) wakeWriters() {
	for _, st := range s.streams {
		if st.waiting {
			st.cond.Broadcast()
		}
	}
}

// sendHead sends a header block of a stream; end says that nothing follows.
func (s *session) sendHead(st *stream, block []byte, end bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := st.failure(); err != nil {
		return err
	}
	s.out = http2.AppendHeaders(s.out, st.id, block, end)
	st.answered = st.answered || end
	return nil
}

// sendData sends a piece of a body, as the windows and the connection allow; end says that nothing follows.
func (s *session) sendData(st *stream, data []byte, end bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := st.failure(); err != nil {
			return err
		}
		n := min(len(data), http2.MaxFrame, st.send.Left(), s.send.Left())
		if len(s.out) < outMax && (n > 0 || len(data) == 0) {
			last := n == len(data)
			s.out = http2.AppendData(s.out, st.id, data[:n], end && last)
			st.send.Take(n)
			s.send.Take(n)
			s.moved.Add(int64(n))
			st.c.wire.total.Add(int64(n))
			if last {
				st.answered = st.answered || end
				return nil
			}
			data = data[n:]
			continue
		}
		if len(s.out) > 0 && !s.writing {
			s.flush()
			continue
		}
		st.waiting = true
		st.cond.Wait()
		st.waiting = false
	}
}
