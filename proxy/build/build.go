// Package build turns a loaded configuration into a generation that can be served: names resolved, files opened, filters and chains built,
// pools, agent clients and logs of the previous generation carried over where their configuration did not change. It is the only package that sees everything.
package build

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/builtin"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/filters/agent"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/route"
	"github.com/sentinel-stack/sentinel/proxy/server"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
	"github.com/sentinel-stack/sentinel/proxy/upstream"
)

// Deps is what generations share for the life of the process.
type Deps struct {
	Metrics    *observe.Metrics // required
	Log        *slog.Logger     // required
	Source     builtin.Source   // what builtin handlers show
	Instance   string           // in logs and answers
	Version    string           // told to agents
	RuntimeDir string           // where agents' sockets are when the configuration does not say
	Stdout     io.Writer        // the access log's "-"
	DryRun     bool             // check everything, talk to nobody: no agent is asked, no log file opened
}

// Set is one generation with everything it owns. Exactly one of Close (the process ends), Abandon (it never served) or the retirement of its
// generation (another replaced it) gives its parts back.
type Set struct {
	Loaded     *config.Loaded
	Generation *server.Generation

	deps    Deps
	pools   *upstream.Set
	agents  *agent.Set
	logs    *logs
	release []func() // metric handles

	background background
	challenges *tlsconf.Challenges // nil = no ACME
}

// Build makes the generation called number. What prev (nil for the first) has is carried over where it is equal. On failure
// nothing has changed: agents that had accepted a new configuration have been given their old one back.
func Build(ctx context.Context, loaded *config.Loaded, prev *Set, number uint64, deps Deps) (set *Set, err error) {
	c := &loaded.Config
	s := &Set{Loaded: loaded, deps: deps}
	defer func() {
		if err != nil {
			s.abandon(ctx, prev)
		}
	}()
	if s.logs, err = openLogs(c, prev.sharedLogs(), deps); err != nil {
		return nil, err
	}
	if s.pools, err = upstream.NewSet(c.Upstreams, prev.sharedPools(), upstream.Deps{Metrics: deps.Metrics, Logger: deps.Log, OnHealth: s.auditHealth, Files: loaded.Material}); err != nil {
		return nil, s.upstreamFault(err)
	}
	if s.agents, err = agent.NewSet(c.Agents, prev.sharedAgents(), agent.Deps{
		Metrics: deps.Metrics, Logger: deps.Log, RuntimeDir: deps.RuntimeDir, ProxyID: deps.Instance, ProxyVersion: deps.Version, DecompressionMemory: c.Limits.MaxDecompressionMemory,
	}); err != nil {
		return nil, err
	}
	g, err := s.generation(c, prev, number)
	if err != nil {
		return nil, err
	}
	if !deps.DryRun {
		// Last, because it reaches outside: from here on only an agent's refusal can fail.
		if err = s.agents.Configure(ctx); err != nil {
			return nil, refusals(loaded, err)
		}
		s.pools.Start()
		showCertificates(g)
		s.startTLS(g)
	}
	g.Retire = s.give
	s.Generation = g
	return s, nil
}

// generation resolves every name of c.
func (s *Set) generation(c *config.Config, prev *Set, number uint64) (*server.Generation, error) {
	g := &server.Generation{
		Number: number, Hash: s.Loaded.Hash, Limits: c.Limits, Trusted: c.System.TrustedProxies,
		AccessLog: s.logs.access, AuditLog: s.logs.audit,
	}
	g.StreamDrain = c.System.StreamDrainTimeout
	var err error
	if g.IDFormat, err = observe.ParseIDFormat(c.System.TraceIDFormat); err != nil {
		return nil, err
	}
	if g.Table, err = route.Compile(c.Routes); err != nil {
		return nil, err
	}
	for i := range c.Routes {
		r, err := s.route(c, &c.Routes[i])
		if err != nil {
			return nil, fmt.Errorf("cannot build route %q: %w", c.Routes[i].ID, err)
		}
		g.Routes = append(g.Routes, r)
	}
	for _, l := range c.Listeners {
		m := s.deps.Metrics.Listener(l.ID)
		s.release = append(s.release, m.Release)
		def := -1
		if l.DefaultRoute != "" {
			def = slices.IndexFunc(c.Routes, func(r config.Route) bool { return r.ID == l.DefaultRoute })
		}
		secure, err := s.listenerTLS(&l, prev)
		if err != nil {
			return nil, err
		}
		g.Identity = append(g.Identity, secure.HeaderNames()...)
		ln := server.Listener{Listener: l, TLS: secure, Default: def, Metrics: m}
		if err := applyPolicies(&ln, g.Routes); err != nil {
			return nil, fmt.Errorf("cannot build listener %q: %w", l.ID, err)
		}
		g.Listeners = append(g.Listeners, ln)
	}
	g.Challenges = s.challenges
	return g, nil
}

func (s *Set) route(c *config.Config, rc *config.Route) (server.Route, error) {
	m := s.deps.Metrics.Route(rc.ID)
	s.release = append(s.release, m.Release)
	r := server.Route{
		ID: rc.ID, Metrics: m, Timeout: rc.Policies.Timeout, MaxBodySize: rc.Policies.MaxBodySize,
		Attempts: rc.Retry.MaxAttempts, MaxInFlight: rc.MaxInFlight, OnFailure: rc.Policies.FailureMode,
	}
	if rc.WebSocket != nil && rc.WebSocket.Enabled {
		r.WebSocket = rc.WebSocket
		m.Sockets.Allowed.Store(true)
	}
	var err error
	if r.RequestRules, err = filter.CompileRules(rc.Policies.RequestHeaders); err != nil {
		return r, err
	}
	if r.ResponseRules, err = filter.CompileRules(rc.Policies.ResponseHeaders); err != nil {
		return r, err
	}
	if r.Chain, err = s.chain(c, rc); err != nil {
		return r, err
	}
	if rc.BuiltinHandler != "" {
		r.HandlerName = rc.BuiltinHandler
		r.Handler, err = builtin.Handler(rc.BuiltinHandler, s.deps.Source)
		return r, err
	}
	if r.Pool = s.pools.Pool(rc.Upstream); r.Pool == nil {
		return r, fmt.Errorf("no upstream %q", rc.Upstream)
	}
	r.UpstreamID, r.Timeouts, r.Retry = rc.Upstream, r.Pool.Config().Timeouts, server.RetryOf(&rc.Retry)
	if h := rc.Hedging; h != nil {
		r.Hedge = server.Hedge{Delay: h.Delay, Most: h.MaxAttempts}
	}
	r.Fallback, err = s.fallback(rc.Fallback)
	return r, err
}

// Close gives back everything the set owns; the process is about to end.
func (s *Set) Close() {
	s.give()
}

// Abandon gives back a set that was built but never served, and gives agents the configuration of prev back.
func (s *Set) Abandon(ctx context.Context, prev *Set) { s.abandon(ctx, prev) }

func (s *Set) abandon(ctx context.Context, prev *Set) {
	if s.agents != nil && !s.deps.DryRun {
		s.agents.Rollback(context.WithoutCancel(ctx), prev.sharedAgents())
	}
	s.give()
}

// give returns what the set holds; what other sets hold as well lives on.
func (s *Set) give() {
	s.background.end()
	s.pools.Close()
	s.agents.Close()
	s.logs.release()
	for _, f := range s.release {
		f()
	}
}

func (s *Set) sharedLogs() *logs {
	if s == nil {
		return nil
	}
	return s.logs
}

func (s *Set) sharedPools() *upstream.Set {
	if s == nil {
		return nil
	}
	return s.pools
}

func (s *Set) sharedAgents() *agent.Set {
	if s == nil {
		return nil
	}
	return s.agents
}

// auditHealth notes in the audit log what became of a target or an upstream.
func (s *Set) auditHealth(h upstream.HealthChange) {
	log := s.logs.audit
	if log == nil {
		return
	}
	r := observe.AuditRecord{Time: h.At, Event: observe.EventHealthChange, Action: h.Action, Reason: h.Reason, Metadata: []observe.Pair{{Name: "upstream", Value: h.Upstream}}}
	if h.Circuit {
		r.Event = observe.EventCircuitChange
	}
	if h.Address != "" {
		r.Metadata = append(r.Metadata, observe.Pair{Name: "target", Value: h.Address})
	}
	log.Append(&r)
}

// Reopen opens every log file again, after somebody has moved it.
func (s *Set) Reopen() error { return s.logs.reopen() }

// Upstreams shows every pool.
func (s *Set) Upstreams() []api.Upstream {
	var out []api.Upstream
	for _, p := range s.pools.Pools() {
		out = append(out, p.Snapshot())
	}
	return out
}

// Reports is what agents say about themselves, for scrapes.
func (s *Set) Reports() []observe.Report {
	var out []observe.Report
	for _, report := range s.agents.Reports() {
		r := report.Metrics
		o := observe.Report{Agent: report.Agent, Instance: report.Instance, Counters: reported(r.Counters), Gauges: reported(r.Gauges)}
		for _, h := range r.Histograms {
			buckets := make(map[float64]uint64, len(h.Buckets))
			for _, b := range h.Buckets {
				if !math.IsInf(b.UpTo, 1) { // Prometheus adds that one itself
					buckets[b.UpTo] = b.Count
				}
			}
			o.Histograms = append(o.Histograms, observe.ReportedHistogram{Name: h.Name, Labels: pairs(h.Labels), Sum: h.Sum, Count: h.Count, Buckets: buckets})
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b observe.Report) int { return strings.Compare(a.Agent, b.Agent) })
	return out
}

func reported(samples []protocol.Sample) []observe.Reported {
	var out []observe.Reported
	for _, s := range samples {
		out = append(out, observe.Reported{Name: s.Name, Labels: pairs(s.Labels), Value: s.Value})
	}
	return out
}

func pairs(labels []protocol.Header) []observe.Pair {
	var out []observe.Pair
	for _, l := range labels {
		out = append(out, observe.Pair{Name: l.Name, Value: l.Value})
	}
	return out
}

// Agents shows every agent.
func (s *Set) Agents() []api.Agent { return s.agents.Snapshot() }
