package server

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"syscall"

	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/proxyproto"
)

// meet reads the PROXY protocol header with which a load balancer says whose connection it passes on. From then on the connection is that client's, as if
// it had come directly. It reports whether there is something to serve.
//
// There is no guessing on a listener with the protocol: who is not a trusted sender is closed unheard, for whatever it says it could be anybody; and a
// trusted sender must send the header, else its clients would all pass as itself, with its rights.
func (c *conn) meet() bool {
	if !isTrusted(c.proxied.From, c.peer.Addr()) {
		c.shutOut(observe.LimitProxySource)
		return false
	}
	deadline := c.s.now() + int64(c.proxied.Timeout)
	c.arm(stagePreface, deadline)
	h, err := c.readPreface()
	switch {
	case err == nil && c.s.now() > deadline, errors.Is(err, os.ErrDeadlineExceeded):
		if why := kick(c.kicked.Swap(uint32(kickNone))); why != kickDrain && why != kickAbort {
			c.shutOut(observe.LimitProxyTimeout)
		}
		return false
	case errors.Is(err, proxyproto.ErrNone), errors.Is(err, proxyproto.ErrMalformed), errors.Is(err, proxyproto.ErrTooLong):
		c.shutOut(observe.LimitProxyHeader)
		return false
	case err != nil: // it connected and left
		return false
	}
	if !h.Local {
		c.peer, c.local = h.Source, h.Dest
		c.names.init(c.peer, c.local)
	}
	if !c.s.claim(c, c.peer.Addr()) {
		c.s.turnAway(c, observe.LimitClientConnections)
		return false
	}
	return true
}

// shutOut counts a connection that ends before it was one of a client.
func (c *conn) shutOut(limit observe.Limit) {
	c.ln.metrics.Refuse(limit, &c.s.metrics.Process)
	c.s.limitHit(limit, c.peer.Addr())
}

// readPreface waits for a whole header and takes exactly that from the socket: what follows, be it HTTP or a TLS handshake, is not ours to read.
func (c *conn) readPreface() (h proxyproto.Header, err error) {
	w := c.s.getWork()
	defer c.s.putWork(w)
	wait := c.wire.raw.Read(func(fd uintptr) bool {
		n, errno := sockPeekAt(fd, w.in[:proxyproto.MaxV2])
		switch {
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			err = os.NewSyscallError("recv", errno)
			return true
		case n == 0:
			err = io.EOF
			return true
		}
		var size int
		if h, size, err = proxyproto.Parse(w.in[:n]); errors.Is(err, proxyproto.ErrMore) {
			return false
		}
		for size > 0 && err == nil {
			k, errno := sockRead(fd, w.in[:size])
			if errno != 0 || k == 0 {
				err = io.ErrUnexpectedEOF // it was there a moment ago
			}
			size -= k
		}
		return true
	})
	if wait != nil {
		return h, wait
	}
	return h, err
}

// claim counts a connection for the client whose it is. It reports false when that client has too many.
func (s *Server) claim(c *conn, client netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claimLocked(c, client)
}

// claimLocked does it for who holds mu. Peers on Unix sockets cannot be told from each other, so they are not counted: who may connect is for the file's mode to say.
func (s *Server) claimLocked(c *conn, client netip.Addr) bool {
	if !client.IsValid() {
		return true
	}
	n := s.clients[client]
	if int(n) >= s.generation.Load().Limits.MaxConnectionsPerClient {
		return false
	}
	s.clients[client] = n + 1
	c.counted = client
	return true
}
