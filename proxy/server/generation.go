package server

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/route"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// Handler answers an exchange inside the proxy, usually with filter.Respond. It gets no request body (that is discarded) and must not wait.
type Handler func(x *filter.Exchange) filter.Decision

// Generation is one applied configuration with everything resolved. The builder fills the exported fields; nobody changes them after Server.Swap or New.
type Generation struct {
	Number    uint64 // from 1, for logs and metrics
	Hash      string
	Table     *route.Table
	Routes    []Route    // indexed by what Table.Match returns
	Listeners []Listener // in any order; found by ID
	Limits    config.Limits
	Trusted   []config.Source // peers whose forwarding fields are believed
	IDFormat  observe.IDFormat
	AccessLog *observe.AccessLog // nil = off
	AuditLog  *observe.AuditLog  // nil = off

	// Identity are the names of all headers by which some listener tells who a client is: nobody else may send them.
	Identity []string

	StreamDrain time.Duration // how long answers without an end in sight go on in a drain

	Challenges *tlsconf.Challenges // proofs for ACME servers, nil = none are ever asked for

	// Retire is called once, when the generation has been replaced and its last exchange is over. It may be nil.
	// It runs on a goroutine of its own; Shutdown waits for it.
	Retire func()

	head     http1.Limits
	users    atomic.Int64 // exchanges and tunnels that run on this generation
	replaced atomic.Bool
	retired  atomic.Bool
}

// Route is one route, resolved. Exactly one of Pool and Handler is set.
type Route struct {
	ID            string
	Metrics       *observe.RouteMetrics // required
	Chain         *filter.Chain         // nil = no filters
	Pool          *upstream.Pool
	UpstreamID    string
	Timeouts      config.UpstreamTimeouts // of the upstream; zero members get the defaults of package config's documentation
	Handler       Handler
	HandlerName   string        // "status", …, for the logs
	Timeout       time.Duration // whole exchange with the upstream; 0 = Timeouts.Request
	MaxBodySize   int64         // 0 = Limits.MaxBodySize
	Attempts      int           // targets tried in all; 0 = 1
	Retry         Retry
	Hedge         Hedge
	Fallback      *Fallback         // nil = none
	WebSocket     *config.WebSocket // how upgrades are passed on; nil = they are not
	MaxInFlight   int               // requests at work; 0 = any number
	OnFailure     config.FailureMode
	RequestRules  *filter.Rules // applied after the chain's request phase
	ResponseRules *filter.Rules // applied to every answer of this route
}

// Listener holds the settings of one listener.
type Listener struct {
	config.Listener
	TLS           *tlsconf.Server          // nil = plain
	Default       int                      // index into Routes of the default route, -1 = none
	Metrics       *observe.ListenerMetrics // required
	Routes        []Route                  // as this listener's policies make them, in the order of the generation's; nil = the generation's
	ResponseRules *filter.Rules            // applied to answers that belong to no route
}

// Defaults for what a generation leaves at zero.
const (
	defaultConnect      = 10 * time.Second
	defaultRequest      = 60 * time.Second
	defaultReadWrite    = 30 * time.Second
	defaultTunnelIdle   = time.Hour
	defaultHeader       = 10 * time.Second
	defaultKeepalive    = 75 * time.Second
	defaultSend         = 60 * time.Second
	defaultMaxBody      = 10 << 20
	defaultTotal        = 10000
	defaultPerClient    = 100
	defaultInFlight     = 10000
	defaultMaxHeadBytes = http1.DefaultMaxHeadBytes
	defaultMaxFields    = http1.DefaultMaxFields

	defaultStreams          = 100
	defaultStreamWindow     = 64 << 10
	defaultConnectionWindow = 1 << 20
	defaultAbuseBudget      = 300
	defaultQUICIdle         = 30 * time.Second
)

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// prepare fills in defaults and checks what the request path relies on.
func (g *Generation) prepare() error {
	if g.Table == nil {
		return errors.New("cannot serve generation: no route table")
	}
	l := &g.Limits
	orDefault(&l.MaxHeaderSize, defaultMaxHeadBytes)
	orDefault(&l.MaxHeaderCount, defaultMaxFields)
	orDefault(&l.MaxBodySize, defaultMaxBody)
	orDefault(&l.MaxTotalConnections, defaultTotal)
	orDefault(&l.MaxConnectionsPerClient, defaultPerClient)
	orDefault(&l.MaxInFlightRequests, defaultInFlight)
	g.head = http1.Limits{MaxHeadBytes: l.MaxHeaderSize, MaxFields: l.MaxHeaderCount, MaxTargetBytes: min(l.MaxHeaderSize, http1.DefaultMaxTargetBytes)}
	for i := range g.Routes {
		if err := g.Routes[i].prepare(l); err != nil {
			return err
		}
	}
	for i := range g.Listeners {
		n := &g.Listeners[i]
		if n.Routes == nil {
			n.Routes = g.Routes
		}
		if n.Metrics == nil || n.Default >= len(g.Routes) || len(n.Routes) != len(g.Routes) {
			return fmt.Errorf("cannot serve generation: listener %q is incomplete", n.ID)
		}
		for j := range n.Routes {
			if err := n.Routes[j].prepare(l); err != nil {
				return err
			}
		}
		orDefault(&n.HeaderTimeout, defaultHeader)
		orDefault(&n.KeepaliveTimeout, defaultKeepalive)
		orDefault(&n.SendTimeout, defaultSend)
		orDefault(&n.RequestTimeout, defaultRequest)
		orDefault(&n.HTTP2.MaxConcurrentStreams, defaultStreams)
		orDefault(&n.HTTP2.StreamWindow, defaultStreamWindow)
		orDefault(&n.HTTP2.ConnectionWindow, defaultConnectionWindow)
		orDefault(&n.HTTP2.AbuseBudget, defaultAbuseBudget)
		orDefault(&n.HTTP3.MaxConcurrentStreams, defaultStreams)
		orDefault(&n.HTTP3.StreamWindow, defaultStreamWindow)
		orDefault(&n.HTTP3.ConnectionWindow, defaultConnectionWindow)
		orDefault(&n.HTTP3.AbuseBudget, defaultAbuseBudget)
		orDefault(&n.HTTP3.IdleTimeout, defaultQUICIdle)
	}
	return nil
}

// prepare fills in the defaults of a route. It may be done twice.
func (r *Route) prepare(l *config.Limits) error {
	if (r.Pool == nil) == (r.Handler == nil) {
		return fmt.Errorf("cannot serve generation: route %q needs exactly one of pool and handler", r.ID)
	}
	if r.Metrics == nil {
		return fmt.Errorf("cannot serve generation: route %q has no metrics", r.ID)
	}
	fillTimeouts(&r.Timeouts)
	if r.Fallback != nil {
		fillTimeouts(&r.Fallback.Timeouts)
	}
	orDefault(&r.Timeout, r.Timeouts.Request)
	orDefault(&r.MaxBodySize, l.MaxBodySize)
	orDefault(&r.Attempts, 1)
	if r.OnFailure == "" {
		r.OnFailure = config.FailClosed
	}
	return nil
}

func fillTimeouts(t *config.UpstreamTimeouts) {
	orDefault(&t.Connect, defaultConnect)
	orDefault(&t.Request, defaultRequest)
	orDefault(&t.Read, defaultReadWrite)
	orDefault(&t.Write, defaultReadWrite)
	orDefault(&t.TunnelIdle, defaultTunnelIdle)
}

func (g *Generation) listener(id string) *Listener {
	for i := range g.Listeners {
		if g.Listeners[i].ID == id {
			return &g.Listeners[i]
		}
	}
	return nil
}
