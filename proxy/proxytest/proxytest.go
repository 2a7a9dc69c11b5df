// Package proxytest starts real proxies and backends for tests: real sockets on free ports, gone when the test ends.
package proxytest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/filters"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/route"
	"github.com/sentinel-stack/sentinel/proxy/server"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// Options are what a configuration alone does not say.
type Options struct {
	Filters   []filter.Filter           // found by name before the configuration's own
	Handlers  map[string]server.Handler // builtin handlers by name
	AccessLog *Log                      // nil = off
	AuditLog  *Log                      // nil = off
}

// Instance is a running proxy.
type Instance struct {
	Addr    string // host:port of the first listener
	Server  *server.Server
	Metrics *observe.Metrics
	Logs    *Log // the error log

	options Options
	mu      sync.Mutex // guards pools and number
	pools   *upstream.Set
	number  uint64
	access  *observe.AccessLog
	audit   *observe.AuditLog
	tls     map[string]*tlsconf.Server // by listener
}

// Log collects what a log writes.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer

	discard bool
}

// Write appends p.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.discard {
		return len(p), nil
	}
	return l.buf.Write(p)
}

// Discard makes the log forget what it has and everything that comes: for tests that count allocations.
func (l *Log) Discard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = bytes.Buffer{}
	l.discard = true
}

// String returns everything written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// ListenerID is the id of the listener a configuration without one gets.
const ListenerID = "test"

// Proxy starts a proxy. Listeners are bound to free ports of 127.0.0.1 whatever their addresses say; without any there is one.
func Proxy(t testing.TB, c config.Config, o Options) *Instance {
	t.Helper()
	p := &Instance{Metrics: observe.NewMetrics("test", nil), Logs: &Log{}, options: o}
	clock := &observe.Clock{}
	var err error
	if o.AccessLog != nil {
		if p.access, err = observe.OpenAccessLog(observe.LogOptions{Output: o.AccessLog, Metrics: p.Metrics}, observe.JSON, "test", clock); err != nil {
			t.Fatal(err)
		}
	}
	if o.AuditLog != nil {
		if p.audit, err = observe.OpenAuditLog(observe.LogOptions{Output: o.AuditLog, Metrics: p.Metrics}, "test", clock); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.Listeners) == 0 {
		c.Listeners = []config.Listener{{ID: ListenerID}}
	}
	g := p.Generation(t, c)
	if p.Server, err = server.New(server.Options{Logger: slog.New(slog.NewJSONHandler(p.Logs, nil)), Metrics: p.Metrics}, g); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	for i := range c.Listeners {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			p.Addr = ln.Addr().String()
		}
		if c.Listeners[i].HTTP3.Enabled {
			socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(ln.Addr().(*net.TCPAddr).AddrPort()))
			if err != nil {
				t.Fatal(err)
			}
			serving.Go(func() {
				if err := p.Server.ServeQUIC(socket, c.Listeners[i].ID); !errors.Is(err, server.ErrClosed) {
					t.Errorf("ServeQUIC: %v", err)
				}
			})
		}
		serving.Go(func() {
			if err := p.Server.Serve(ln, c.Listeners[i].ID); !errors.Is(err, server.ErrClosed) {
				t.Errorf("Serve: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.Server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		serving.Wait()
		p.close(ctx)
	})
	return p
}

func (p *Instance) close(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pools.Close()
	if p.access != nil {
		_ = p.access.Close(ctx)
	}
	if p.audit != nil {
		_ = p.audit.Close(ctx)
	}
}

// Swap makes the proxy run another configuration.
func (p *Instance) Swap(t testing.TB, c config.Config) {
	t.Helper()
	if len(c.Listeners) == 0 {
		c.Listeners = []config.Listener{{ID: ListenerID}}
	}
	if err := p.Server.Swap(p.Generation(t, c)); err != nil {
		t.Fatal(err)
	}
}

// Generation resolves a configuration as the builder does, as far as tests of the request path need it.
func (p *Instance) Generation(t testing.TB, c config.Config) *server.Generation {
	t.Helper()
	table, err := route.Compile(c.Routes)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	deps := upstream.Deps{Metrics: p.Metrics, Logger: slog.New(slog.NewJSONHandler(p.Logs, nil)), Files: os.ReadFile}
	old := p.pools
	pools, err := upstream.NewSet(c.Upstreams, old, deps)
	if err != nil {
		t.Fatal(err)
	}
	pools.Start()
	p.pools = pools
	if old != nil {
		old.Close()
	}
	p.number++
	g := &server.Generation{
		Number: p.number, Table: table, StreamDrain: c.System.StreamDrainTimeout, Limits: c.Limits, Trusted: c.System.TrustedProxies, AccessLog: p.access, AuditLog: p.audit,
	}
	for _, l := range c.Listeners {
		secure := p.secure(t, &l)
		g.Identity = append(g.Identity, secure.HeaderNames()...)
		g.Listeners = append(g.Listeners, server.Listener{Listener: l, TLS: secure, Default: routeIndex(c.Routes, l.DefaultRoute), Metrics: p.Metrics.Listener(l.ID)})
	}
	for i := range c.Routes {
		g.Routes = append(g.Routes, p.route(t, &c, &c.Routes[i], pools))
	}
	return g
}

// secure makes what a listener speaks TLS with, from files on disk.
func (p *Instance) secure(t testing.TB, l *config.Listener) *tlsconf.Server {
	t.Helper()
	if l.TLS == nil {
		return nil
	}
	s, err := tlsconf.NewServer(l.TLS, os.ReadFile, p.tls[l.ID])
	if err != nil {
		t.Fatal(err)
	}
	if l.HTTP2.ALPN {
		s.OfferHTTP2(l.HTTP2.Only)
	}
	if p.tls == nil {
		p.tls = map[string]*tlsconf.Server{}
	}
	p.tls[l.ID] = s
	return s
}

func routeIndex(routes []config.Route, id string) int {
	for i := range routes {
		if routes[i].ID == id {
			return i
		}
	}
	return -1
}

func (p *Instance) route(t testing.TB, c *config.Config, r *config.Route, pools *upstream.Set) server.Route {
	t.Helper()
	out := server.Route{
		ID: r.ID, Metrics: p.Metrics.Route(r.ID), UpstreamID: r.Upstream, HandlerName: r.BuiltinHandler, Handler: p.options.Handlers[r.BuiltinHandler],
		Timeout: r.Policies.Timeout, MaxBodySize: r.Policies.MaxBodySize, Attempts: r.Retry.MaxAttempts, MaxInFlight: r.MaxInFlight, OnFailure: r.Policies.FailureMode,
	}
	if r.WebSocket != nil && r.WebSocket.Enabled {
		out.WebSocket = r.WebSocket
		out.Metrics.Sockets.Allowed.Store(true)
	}
	var err error
	if r.Upstream != "" {
		if out.Pool = pools.Pool(r.Upstream); out.Pool == nil {
			t.Fatalf("route %q: no upstream %q", r.ID, r.Upstream)
		}
		out.Timeouts = out.Pool.Config().Timeouts
	}
	if r.Retry.On != nil { // a whole policy, not attempts alone
		out.Retry = server.RetryOf(&r.Retry)
	}
	if h := r.Hedging; h != nil {
		out.Hedge = server.Hedge{Delay: h.Delay, Most: h.MaxAttempts}
	}
	if f := r.Fallback; f != nil {
		out.Fallback = &server.Fallback{Pool: pools.Pool(f.Upstream), UpstreamID: f.Upstream, OnHealth: f.OnHealth, OnConnection: f.OnConnection, StatusCodes: f.OnStatus}
	}
	if out.RequestRules, err = filter.CompileRules(r.Policies.RequestHeaders); err != nil {
		t.Fatal(err)
	}
	if out.ResponseRules, err = filter.CompileRules(r.Policies.ResponseHeaders); err != nil {
		t.Fatal(err)
	}
	var steps []filter.Filter
	for _, id := range r.Filters {
		steps = append(steps, p.filter(t, c, id))
	}
	if len(steps) > 0 {
		if out.Chain, err = filter.NewChain(steps...); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (p *Instance) filter(t testing.TB, c *config.Config, id string) filter.Filter {
	t.Helper()
	for _, f := range p.options.Filters {
		if f.Name() == id {
			return f
		}
	}
	for _, f := range c.Filters {
		if f.ID == id {
			built, err := filters.Build(f)
			if err != nil {
				t.Fatal(err)
			}
			return built
		}
	}
	t.Fatalf("no filter %q", id)
	return nil
}

// ToBackends is a configuration with one route for everything to an upstream of the given addresses.
func ToBackends(addresses ...string) config.Config {
	u := config.Upstream{
		ID: "backend", LoadBalancing: "round-robin", Pool: config.ConnectionPool{MaxConnections: 100, MaxIdle: 100, IdleTimeout: time.Minute},
		Timeouts: config.UpstreamTimeouts{Connect: time.Second, Request: 10 * time.Second, Read: 5 * time.Second, Write: 5 * time.Second},
	}
	for _, a := range addresses {
		u.Targets = append(u.Targets, config.Target{Address: a, Weight: 1})
	}
	return config.Config{
		Listeners: []config.Listener{{ID: ListenerID, MinBodyRate: 100}},
		Upstreams: []config.Upstream{u},
		Routes:    []config.Route{{ID: "all", Upstream: "backend", Retry: config.Retry{MaxAttempts: 3}}},
	}
}

// Loopback is the address tests connect from.
var Loopback = netip.MustParseAddr("127.0.0.1")
