package upstream

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
)

// handshakeError marks what went wrong after the connection was there.
type handshakeError struct{ error }

// Unwrap gives the cause.
func (e *handshakeError) Unwrap() error { return e.error }

// shake makes a fresh connection one with TLS, within the time of ctx.
func (e *endpoint) shake(ctx context.Context, tcp Stream) (*tlsconf.Session, error) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = tcp.SetDeadline(deadline)
	}
	s := tlsconf.Connect(tcp, e.tls)
	if err := s.Handshake(); err != nil {
		return nil, &handshakeError{err}
	}
	_ = tcp.SetDeadline(time.Time{})
	resumed := 0
	if s.State().DidResume {
		resumed = 1
	}
	e.metrics.Shakes[resumed].Add(1)
	return s, nil
}

// settled reads what a target says between two answers when nobody asked: session tickets and key updates are fine, anything else is not. It does
// not look at the socket alone, because the session may already have read what came behind the last answer.
func (c *Conn) settled() bool {
	ok := false
	err := c.raw.Control(func(fd uintptr) {
		c.Session.From(idle(fd))
		var b [1]byte
		_, err := c.Session.Open(b[:])
		ok = errors.Is(err, tlsconf.ErrAgain)
	})
	return ok && err == nil
}

// idle is the socket of an idle connection: it is never waited for.
type idle uintptr

func (fd idle) Read(p []byte) (int, error) {
	n, again, err := receiveNow(uintptr(fd), p)
	switch {
	case again:
		return 0, tlsconf.ErrAgain
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
