package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

const (
	resolveEvery = 10 * time.Second       // addresses of a name are looked up again when they are older
	resolveLimit = 5 * time.Second        // for one lookup
	minAttempt   = 500 * time.Millisecond // least time for one of several addresses
)

// errResolve marks failures of name resolution.
var errResolve = errors.New("no address")

// dial connects, for a caller that holds a place; on failure the place is given back.
func (t *Target) dial(deadline time.Time) (*Conn, error) {
	e := t.endpoint
	start := time.Now()
	ctx, cancel := context.WithDeadline(context.Background(), t.bound(deadline))
	defer cancel()
	tcp, err := e.connect(ctx)
	if err == nil {
		var c *Conn
		if c, err = newConn(tcp, t); err == nil {
			e.metrics.Connects.Observe(time.Since(start))
			return c, nil
		}
		tcp.Close()
	}
	e.unreserve()
	return nil, t.fail(dialFailure(err), err)
}

func dialFailure(err error) observe.Failure {
	var netErr net.Error
	switch {
	case errors.Is(err, errResolve):
		return observe.FailureResolve
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &netErr) && netErr.Timeout():
		return observe.FailureConnectTimeout
	}
	return observe.FailureConnect
}

// connect tries the endpoint's addresses one after the other until ctx is done. Go turns TCP_NODELAY on for every TCP connection.
func (e *endpoint) connect(ctx context.Context) (*net.TCPConn, error) {
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
	return d.DialTCP(ctx, "tcp", netip.AddrPort{}, a)
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
}

// resolver turns host:port into addresses and remembers them for a while. A failed lookup leaves the former addresses in
// use: a name server that is down must not take the targets with it.
type resolver struct {
	host string
	port uint16
	via  Resolver
	turn atomic.Uint32

	looking sync.Mutex // held during a lookup; who cannot have it uses the former addresses

	mu      sync.Mutex // guards the rest
	addrs   []netip.AddrPort
	expires time.Time // zero for an address literal: never
}

func (r *resolver) init(address string, via Resolver) error {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("cannot use target address %q: %v", address, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 || host == "" {
		return fmt.Errorf("cannot use target address %q: want host:port", address)
	}
	r.host, r.port, r.via = host, uint16(port), via
	if ip, err := netip.ParseAddr(host); err == nil {
		r.addrs = []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), r.port)}
	}
	return nil
}

// addresses returns at least one address or an error. Changed is told when the set of addresses is a different one than before.
func (r *resolver) addresses(ctx context.Context, changed func([]netip.AddrPort)) ([]netip.AddrPort, error) {
	addrs, fresh := r.known()
	if fresh {
		return addrs, nil
	}
	if len(addrs) > 0 {
		if !r.looking.TryLock() {
			return addrs, nil
		}
	} else {
		r.looking.Lock()
		if addrs, fresh = r.known(); fresh { // another one looked it up meanwhile
			r.looking.Unlock()
			return addrs, nil
		}
	}
	defer r.looking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	found, err := r.via.LookupNetIP(ctx, "ip", r.host)
	if err == nil && len(found) == 0 {
		err = errors.New("the name has none")
	}
	if err != nil {
		if len(addrs) > 0 {
			r.keep(addrs)
			return addrs, nil
		}
		return nil, fmt.Errorf("%w: %v", errResolve, err)
	}
	next := make([]netip.AddrPort, 0, len(found))
	for _, ip := range found {
		next = append(next, netip.AddrPortFrom(ip.Unmap(), r.port))
	}
	r.keep(next)
	if len(addrs) > 0 && !sameSet(addrs, next) {
		changed(next)
	}
	return next, nil
}

func (r *resolver) known() (addrs []netip.AddrPort, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addrs, len(r.addrs) > 0 && (r.expires.IsZero() || time.Now().Before(r.expires))
}

func (r *resolver) keep(addrs []netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addrs, r.expires = addrs, time.Now().Add(resolveEvery)
}

func sameSet(a, b []netip.AddrPort) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		if !slices.Contains(b, x) {
			return false
		}
	}
	return true
}
