package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/upstream/multiplex"
)

// minAttempt is the least time for one of several addresses.
const minAttempt = 500 * time.Millisecond

// dial connects, for a caller that holds a place; on failure the place is given back.
func (t *Target) dial(deadline time.Time, o *Origin) (*Conn, error) {
	e := t.endpoint
	start := time.Now()
	ctx, cancel := context.WithDeadline(context.Background(), t.bound(deadline))
	defer cancel()
	tcp, err := e.reach(ctx, o)
	if err == nil {
		var c *Conn
		if c, err = newConn(ctx, tcp, t); err == nil {
			e.metrics.Connects.Observe(time.Since(start))
			return c, nil
		}
		tcp.Close()
	}
	e.unreserve()
	return nil, t.fail(dialFailure(err), err)
}

// reach connects and says on whose behalf.
func (e *endpoint) reach(ctx context.Context, o *Origin) (Stream, error) {
	conn, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.introduce(conn, o); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func dialFailure(err error) observe.Failure {
	var netErr net.Error
	var handshake *handshakeError
	switch {
	case errors.Is(err, errResolve):
		return observe.FailureResolve
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &netErr) && netErr.Timeout():
		return observe.FailureConnectTimeout
	case errors.As(err, &handshake):
		return observe.FailureTLS
	}
	return observe.FailureConnect
}

// connect tries the endpoint's addresses one after the other until ctx is done. Go turns TCP_NODELAY on for every TCP connection.
func (e *endpoint) connect(ctx context.Context) (Stream, error) {
	if path := SocketPath(e.address); path != "" {
		return dialUnix(ctx, path)
	}
	addrs, err := e.resolver.addresses(ctx, e.forgetAddresses)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	first := int(e.resolver.turn.Add(1) >> 1)
	same := sameFamily(addrs)
	for i := range addrs {
		a := addrs[i]
		if i < same { // take turns among the preferred family; the other one is for when it fails
			a = addrs[(first+i)%same]
		}
		var tcp *net.TCPConn
		tcp, err = dialOne(ctx, &d, a, len(addrs)-i)
		if err == nil {
			return tcp, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// dialOne gives one of several addresses its share of the time that is left.
func dialOne(ctx context.Context, d *net.Dialer, a netip.AddrPort, left int) (*net.TCPConn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		share := max(minAttempt, time.Until(deadline)/time.Duration(left))
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, share)
		defer cancel()
	}
	tcp, err := d.DialTCP(ctx, "tcp", netip.AddrPort{}, a)
	var op *net.OpError
	if errors.As(err, &op) {
		op.Source = nil // the address we did not choose would be told as ":0"
	}
	return tcp, err
}

// sameFamily counts the leading addresses of the first one's family.
func sameFamily(addrs []netip.AddrPort) int {
	for i, a := range addrs {
		if a.Addr().Is4() != addrs[0].Addr().Is4() {
			return i
		}
	}
	return len(addrs)
}

// forgetAddresses drops idle connections to addresses the name no longer has.
func (e *endpoint) forgetAddresses(now []netip.AddrPort) {
	e.dropIdle(func(c *Conn) bool { return !slices.Contains(now, c.remote) })
	e.retireSessions(func(s *multiplex.Session) bool {
		a, ok := s.RemoteAddr().(*net.TCPAddr)
		return ok && !slices.Contains(now, a.AddrPort())
	})
}
