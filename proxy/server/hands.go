package server

import "sync/atomic"

// hands are goroutines that serve streams of HTTP/2, one after the other. A new goroutine has to grow its stack for every request, step by step, which costs as
// much as everything else that HTTP/2 adds; one that has served before has it already. Who is not needed is let go by the sweeper, a few at a time.
type hands struct {
	give   chan *conn    // to one that waits
	rest   chan struct{} // ends one that waits
	folded chan struct{} // closed when the server drains: nobody waits any more
	idle   atomic.Int64  // that wait
}

func newHands() hands {
	return hands{give: make(chan *conn), rest: make(chan struct{}), folded: make(chan struct{})}
}

// serveStreamConn serves c on a goroutine that waits, or on a new one.
func (s *Server) serveStreamConn(c *conn) {
	select {
	case s.hands.give <- c:
	default:
		s.serving.Go(func() { s.serveStreams(c) })
	}
}

func (s *Server) serveStreams(c *conn) {
	for {
		c.serveOne()
		s.hands.idle.Add(1)
		select {
		case c = <-s.hands.give:
			s.hands.idle.Add(-1)
		case <-s.hands.rest:
			s.hands.idle.Add(-1)
			return
		case <-s.hands.folded:
			s.hands.idle.Add(-1)
			return
		}
	}
}

// thin lets go of one in so many of those that wait, and of the last one too.
func (h *hands) thin(one int64) {
	for range (h.idle.Load() + one - 1) / one {
		select {
		case h.rest <- struct{}{}:
		default:
			return
		}
	}
}
