package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// served is a listener with the id its settings are found under.
type served struct {
	net.Listener
	id         string
	metrics    *observe.ListenerMetrics
	handshakes gate
}

// acceptPause is how long Serve waits after an error that more memory or descriptors may cure, at first; it doubles up to acceptPauseMax.
const (
	acceptPause    = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// Serve accepts connections on a TCP or Unix listener until Drain or Shutdown and then returns ErrClosed. id names a listener of the generation.
func (s *Server) Serve(ln net.Listener, id string) error {
	settings := s.generation.Load().listener(id)
	if settings == nil {
		_ = ln.Close()
		return fmt.Errorf("cannot serve listener %q: not configured", id)
	}
	l := &served{Listener: ln, id: id, metrics: settings.Metrics}
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		_ = ln.Close()
		return ErrClosed
	}
	s.listeners[l] = struct{}{}
	s.accepting.Add(1)
	s.mu.Unlock()
	defer s.accepting.Done()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
		_ = ln.Close()
	}()
	pause := acceptPause
	for {
		nc, err := ln.Accept()
		if err == nil {
			pause = acceptPause
			s.admit(l, nc)
			continue
		}
		if s.draining.Load() {
			return ErrClosed
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("cannot accept on listener %q: %w", id, err)
		}
		s.log.Warn("cannot accept connection", "listener", id, "error", err, "pause", pause)
		time.Sleep(pause)
		pause = min(2*pause, acceptPauseMax)
	}
}

// admit starts a connection, or answers 503 and closes it when a cap is reached. A connection accepted in the moment a drain begins is served
// like any other: its client may have sent the request already.
func (s *Server) admit(l *served, nc net.Conn) {
	l.metrics.Total.Add(1)
	tcp, ok := nc.(upstream.Stream)
	if !ok {
		s.log.Error("cannot serve connection: neither TCP nor Unix", "listener", l.id)
		_ = nc.Close()
		return
	}
	c, err := newConn(s, l, tcp)
	if err != nil {
		_ = nc.Close()
		return
	}
	s.mu.Lock()
	limit, ok := s.registerLocked(c)
	s.mu.Unlock()
	if !ok {
		s.turnAway(c, limit)
		return
	}
	s.serving.Go(c.serve)
}

// registerLocked gives a connection a place in the books, until forget, or says which cap is reached. Its caller holds mu.
func (s *Server) registerLocked(c *conn) (limit observe.Limit, ok bool) {
	switch {
	case len(s.conns) >= s.generation.Load().Limits.MaxTotalConnections:
		return observe.LimitTotalConnections, false
	case c.proxied == nil && !s.claimLocked(c, c.peer.Addr()): // otherwise the client is not known yet
		return observe.LimitClientConnections, false
	}
	c.index = len(s.conns)
	s.conns = append(s.conns, c)
	if len(s.conns) == 1 {
		s.changed.Broadcast()
	}
	c.ln.metrics.Open.Add(1)
	return 0, true
}

// How much of a request is read away when its connection is refused.
const (
	turnAwayRead  = 1 << 10
	turnAwayReads = 16
)

// turnAwayAnswer is complete in one segment; the socket's send buffer is empty, so writing it cannot wait.
const turnAwayAnswer = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 70\r\nRetry-After: 1\r\nConnection: close\r\n\r\n" +
	`{"error":"503 Service Unavailable","message":"Too many connections."}` + "\n"

func (s *Server) turnAway(c *conn, limit observe.Limit) {
	c.shutOut(limit)
	if c.tls != nil { // without a handshake there is no way to say it
		_ = c.wire.tcp.Close()
		return
	}
	_ = c.wire.raw.Control(func(fd uintptr) {
		_, _ = sockWrite(fd, []byte(turnAwayAnswer))
		// A request that is here already would turn the close into a reset, which may overtake the answer.
		var b [turnAwayRead]byte
		for range turnAwayReads {
			if n, errno := sockRead(fd, b[:]); errno != 0 || n == 0 {
				break
			}
		}
	})
	_ = c.wire.tcp.Close()
}

// forget ends a connection's place in the books.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	last := len(s.conns) - 1
	s.conns[c.index] = s.conns[last]
	s.conns[c.index].index = c.index
	s.conns[last] = nil
	s.conns = s.conns[:last]
	if n := s.clients[c.counted]; n > 1 {
		s.clients[c.counted] = n - 1
	} else {
		delete(s.clients, c.counted)
	}
	s.mu.Unlock()
	c.ln.metrics.Open.Add(-1)
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(interface{ AddrPort() netip.AddrPort }) // of TCP or UDP
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
