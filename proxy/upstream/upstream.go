// Package upstream keeps the pools of targets that requests are sent to: choosing one, connecting to it, keeping
// connections, checking health.
//
// A Pool is one named upstream of one configuration. What outlives a configuration, the connections, the health and the counters of one address, is an endpoint; pools of
// successive generations share it. A Set is all pools of a generation: an upstream whose configuration did not change is the very same *Pool in the next Set, a changed one
// is a new Pool that takes over the endpoints of the addresses that stay.
//
// One exchange uses it like this:
//
//	pool.Place(&hint, &request)              // what the algorithm wants to know
//	t, err := pool.Pick(&hint)               // reserves: counted as active from here
//	c, reused, err := t.Acquire(deadline)    // pooled or freshly dialed
//	…                                        // write the request, read the answer
//	c.Release(reusable)
//	t.Observe(took, failed)                  // when pool.Learns
//	t.Done(kind, &hint)                      // exactly once per Pick, whatever happened
//
// Pick fails with ErrNoHealthyTarget when every target is ejected or drained: unless a panic threshold is configured, a target known to be dead is never tried "just in case", because an immediate
// 503 is better than a slow one. Targets that were not checked yet, or are not checked at all, count as healthy.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
)

// ErrNoHealthyTarget is Pick's answer when no target may be used; the client gets 503.
var ErrNoHealthyTarget = errors.New("cannot pick target: none is healthy")

// Error is why a connection could not be had. Nothing was sent, so any request may be tried elsewhere.
type Error struct {
	Kind    observe.Failure // FailureResolve, FailureConnect, FailureTLS, FailureConnectTimeout or FailurePoolFull
	Address string
	Err     error
}

func (e *Error) Error() string {
	return fmt.Sprintf("cannot connect to target %s: %v", e.Address, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// HealthChange tells that a target was ejected or restored, by checks or as an outlier; that its circuit changed; or that an upstream panics.
type HealthChange struct {
	Upstream string
	Address  string // "" = the whole upstream
	Healthy  bool
	Action   string // eject, restore; open, half-open, close; panic, calm
	Circuit  bool   // it is about the circuit
	Reason   string
	At       time.Time
}

// Deps is what pools need from their surroundings.
type Deps struct {
	Metrics  *observe.Metrics   // required
	Logger   *slog.Logger       // required
	Resolver Resolver           // nil = net.DefaultResolver
	OnHealth func(HealthChange) // may be nil; called from any goroutine; must neither wait nor call back
	Files    tlsconf.Files      // certificates of upstreams that speak TLS; may be nil when there are none
}

func (d *Deps) fill() error {
	if d.Metrics == nil || d.Logger == nil {
		return errors.New("cannot make upstream: metrics and logger are required")
	}
	if d.Resolver == nil {
		d.Resolver = net.DefaultResolver
	}
	return nil
}
