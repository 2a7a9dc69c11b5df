package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	resolveEvery = 10 * time.Second // addresses of a name are looked up again when they are older
	resolveAgain = time.Second      // after a failed lookup
	resolveLimit = 5 * time.Second  // for one lookup
)

// errResolve marks failures of name resolution.
var errResolve = errors.New("no address")

// resolver turns host:port into addresses and remembers them for a while, and failures for a moment. A failed lookup leaves the former addresses in
// use: a name server that is down must not take the targets with it.
type resolver struct {
	host string
	port uint16
	via  Resolver
	turn atomic.Uint32

	looking chan struct{} // holds one value during a lookup; who need not wait for it uses the former addresses

	mu      sync.Mutex // guards the rest
	addrs   []netip.AddrPort
	failure error     // of the last lookup, when there are no addresses
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
	r.host, r.port, r.via, r.looking = host, uint16(port), via, make(chan struct{}, 1)
	if ip, err := netip.ParseAddr(host); err == nil {
		r.addrs = []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), r.port)}
	}
	return nil
}

// addresses returns at least one address or an error. Changed is told when the set of addresses is a different one than before.
func (r *resolver) addresses(ctx context.Context, changed func([]netip.AddrPort)) ([]netip.AddrPort, error) {
	addrs, fresh, err := r.known()
	if fresh {
		return addrs, err
	}
	if len(addrs) > 0 {
		select {
		case r.looking <- struct{}{}:
		default:
			return addrs, nil
		}
	} else {
		select {
		case r.looking <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %v", errResolve, ctx.Err())
		}
	}
	defer func() { <-r.looking }()
	if now, fresh, err := r.known(); fresh { // another one looked it up meanwhile
		return now, err
	}
	next, err := r.lookUp(ctx)
	if err != nil {
		return r.keep(addrs, err)
	}
	if len(addrs) > 0 && !sameSet(addrs, next) {
		changed(next)
	}
	return r.keep(next, nil)
}

func (r *resolver) lookUp(ctx context.Context) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	found, err := r.via.LookupNetIP(ctx, "ip", r.host)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errResolve, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: the name has none", errResolve)
	}
	next := make([]netip.AddrPort, 0, len(found))
	for _, ip := range found {
		next = append(next, netip.AddrPortFrom(ip.Unmap(), r.port))
	}
	return next, nil
}

// known returns what the last lookup gave; fresh says that it may be used without another.
func (r *resolver) known() (addrs []netip.AddrPort, fresh bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.addrs) > 0 && r.expires.IsZero() {
		return r.addrs, true, nil
	}
	return r.addrs, time.Now().Before(r.expires), r.failure
}

// keep remembers addresses or, without any, the failure.
func (r *resolver) keep(addrs []netip.AddrPort, err error) ([]netip.AddrPort, error) {
	again := resolveEvery
	if err != nil {
		again = resolveAgain
	}
	if len(addrs) > 0 {
		err = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addrs, r.failure, r.expires = addrs, err, time.Now().Add(again)
	return addrs, err
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
