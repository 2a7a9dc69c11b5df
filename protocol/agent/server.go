package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
)

// Server serves one Agent to any number of proxies and connections. Main makes one; tests and embedders may do so themselves.
type Server struct {
	agent  Agent
	log    *slog.Logger
	caps   protocol.Capabilities
	slots  chan struct{} // one element per running handler
	procs  *procs        // nil except under Main: the process may not be ours
	events atomic.Int64  // received and not answered, over all connections
	bytes  atomic.Int64  // their payloads
	total  atomic.Uint64 // events ever received

	configuring sync.Mutex // serialises Configure; guards config and configured
	config      []byte     // last accepted, compact
	configured  bool

	mu       sync.Mutex // guards everything below
	peers    map[*peer]struct{}
	listener map[net.Listener]struct{}
	draining bool
	health   protocol.Health
	message  string
	idle     chan struct{} // closed and replaced when events or peers fall

	work  sync.WaitGroup // connections and their handlers
	tasks sync.WaitGroup // reporting
	stop  chan struct{}
}

// What may wait for a handler, beside the events that have one; beyond it an event is answered with "overloaded".
const (
	maxWaiting      = 256      // events
	maxWaitingBytes = 64 << 20 // bytes of all events, waiting or not
)

// quiet is how long a draining server waits for a proxy that has nothing under way to close its connection.
const quiet = 250 * time.Millisecond

// reportEvery and checkEvery are the paces of metrics reports and health checks.
const (
	reportEvery = 10 * time.Second
	checkEvery  = 2 * time.Second
)

// NewServer returns a server for a. The caller has called Start if a is a Starter, and calls Shutdown at the end.
func NewServer(a Agent, log *slog.Logger) *Server {
	s := &Server{agent: a, log: log, caps: capabilities(a), peers: map[*peer]struct{}{}, listener: map[net.Listener]struct{}{},
		health: protocol.Healthy, idle: make(chan struct{}), stop: make(chan struct{})}
	s.slots = make(chan struct{}, s.caps.Limits.MaxConcurrency)
	s.tasks.Go(s.reports)
	return s
}

// capabilities derives what the agent can do from what it implements.
func capabilities(a Agent) protocol.Capabilities {
	c := protocol.Capabilities{AgentID: a.Name(), Name: a.Name(), Version: versionOf(a), Limits: protocol.DefaultLimits(),
		Events: []protocol.EventType{protocol.EventRequestHeaders}}
	if l, ok := a.(Limited); ok {
		c.Limits = withDefaults(l.Limits())
	}
	if _, ok := a.(RequestBodyHandler); ok {
		c.Events = append(c.Events, protocol.EventRequestBody)
		c.Features.StreamingBody = true
	}
	if _, ok := a.(ResponseHandler); ok {
		c.Events = append(c.Events, protocol.EventResponseHeaders)
	}
	if _, ok := a.(ResponseBodyHandler); ok {
		c.Events = append(c.Events, protocol.EventResponseBody)
		c.Features.StreamingBody = true
	}
	if _, ok := a.(WebSocketHandler); ok {
		c.Events = append(c.Events, protocol.EventWebSocketFrame)
		c.Features.WebSocket = true
	}
	if _, ok := a.(CompleteHandler); ok {
		c.Events = append(c.Events, protocol.EventRequestComplete)
	}
	if _, ok := a.(Configurer); ok {
		c.Events = append(c.Events, protocol.EventConfigure)
		c.Features.ConfigPush = true
	}
	_, c.Features.MetricsExport = a.(MetricsReporter)
	c.Features.ConcurrentRequests = uint32(c.Limits.MaxConcurrency)
	c.Features.Cancellation, c.Features.FlowControl, c.Features.HealthReporting = true, true, true
	return c
}

func withDefaults(l protocol.Limits) protocol.Limits {
	d := protocol.DefaultLimits()
	if l.MaxBodySize > 0 {
		d.MaxBodySize = l.MaxBodySize
	}
	if l.MaxConcurrency > 0 {
		d.MaxConcurrency = l.MaxConcurrency
	}
	if l.PreferredChunkSize > 0 {
		d.PreferredChunkSize = min(l.PreferredChunkSize, protocol.MaxChunk)
	}
	return d
}

func versionOf(a Agent) string {
	if v, ok := a.(Versioned); ok {
		return v.Version()
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// Capabilities returns what the server tells proxies.
func (s *Server) Capabilities() protocol.Capabilities { return s.caps }

// Configure gives the agent a configuration, as a proxy would. A text equal to the last accepted one changes nothing.
func (s *Server) Configure(ctx context.Context, config []byte) (err error) {
	compact := new(bytes.Buffer)
	if len(config) == 0 {
		return nil
	}
	if json.Compact(compact, config) != nil {
		return errors.New("configuration is no JSON")
	}
	if compact.String() == "null" {
		return nil
	}
	s.configuring.Lock()
	defer s.configuring.Unlock()
	if s.configured && bytes.Equal(s.config, compact.Bytes()) {
		return nil
	}
	c, ok := s.agent.(Configurer)
	if !ok {
		if compact.String() == "{}" {
			return nil
		}
		return errors.New("agent takes no configuration")
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("agent panicked while it was configured", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New("agent panicked while it was configured")
		}
	}()
	if err := c.Configure(ctx, bytes.Clone(compact.Bytes())); err != nil {
		return err
	}
	s.config, s.configured = compact.Bytes(), true
	s.log.Info("configuration accepted", "bytes", compact.Len())
	return nil
}

// Serve accepts connections from ln until Shutdown, which closes it, and returns nil then.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return errors.New("cannot serve: server is shut down")
	}
	s.listener[ln] = struct{}{}
	s.mu.Unlock()
	pause := time.Duration(0)
	for {
		nc, err := ln.Accept()
		if err == nil {
			pause = 0
			s.accept(nc)
			continue
		}
		if s.isDraining() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second) // out of descriptors, most likely: others must end first
		s.log.Warn("cannot accept connection", "error", err)
		select {
		case <-time.After(pause):
		case <-s.stop:
			return nil
		}
	}
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

func (s *Server) accept(nc net.Conn) {
	p := newPeer(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		nc.Close()
		return
	}
	s.peers[p] = struct{}{}
	s.work.Go(p.serve)
}

// gone is called when a connection has ended.
func (s *Server) gone(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, p)
	s.fell()
}

// fell wakes a waiting Shutdown. It is called with mu held.
func (s *Server) fell() {
	if s.draining {
		close(s.idle)
		s.idle = make(chan struct{})
	}
}

// Shutdown drains: it closes the listeners, tells every proxy, lets running handlers finish and waits for the proxies to close their connections. When ctx
// ends first, handlers are cancelled and connections closed. It returns ctx's error in that case.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return nil
	}
	s.draining = true
	s.health, s.message = protocol.Draining, "shutting down"
	for ln := range s.listener {
		ln.Close()
	}
	peers := s.list()
	s.mu.Unlock()
	close(s.stop)
	for _, p := range peers {
		p.sendHealth(protocol.Draining, "shutting down")
	}
	err := s.waitIdle(ctx)
	s.mu.Lock()
	peers = s.list()
	s.mu.Unlock()
	for _, p := range peers {
		p.close()
	}
	if !s.waitHandlers() {
		return errors.Join(err, errors.New("handlers did not end when they were cancelled"))
	}
	if c, ok := s.agent.(Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}

// waitHandlers waits for everything the server started; a handler that ignores its context is not waited for longer than grace.
func (s *Server) waitHandlers() bool {
	const grace = 2 * time.Second
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		s.tasks.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(grace):
		return false
	}
}

// list is called with mu held.
func (s *Server) list() []*peer {
	out := make([]*peer, 0, len(s.peers))
	for p := range s.peers {
		out = append(out, p)
	}
	return out
}

// waitIdle waits until every connection has ended, or nothing has happened for a while and nothing is under way.
func (s *Server) waitIdle(ctx context.Context) error {
	last := s.total.Load()
	for {
		s.mu.Lock()
		idle, peers := s.idle, len(s.peers)
		s.mu.Unlock()
		if peers == 0 {
			return nil
		}
		timer := time.NewTimer(quiet)
		select {
		case <-idle:
		case <-timer.C:
			now := s.total.Load()
			if s.events.Load() == 0 && now == last {
				return nil
			}
			last = now
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// reports tells proxies about health and metrics until Shutdown.
func (s *Server) reports() {
	health, _ := s.agent.(HealthReporter)
	metrics, _ := s.agent.(MetricsReporter)
	if health == nil && metrics == nil {
		return
	}
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-s.stop:
			return
		case now := <-ticker.C:
			if health != nil {
				s.checkHealth(health)
			}
			if metrics != nil && now.Sub(last) >= reportEvery {
				s.report(metrics, now, now.Sub(last))
				last = now
			}
		}
	}
}

func (s *Server) checkHealth(h HealthReporter) {
	state, message := h.Health()
	s.mu.Lock()
	same := s.draining || state == s.health && message == s.message
	if !same {
		s.health, s.message = state, message
	}
	peers := s.list()
	s.mu.Unlock()
	if same {
		return
	}
	s.log.Info("health changed", "health", state.String(), "message", message)
	for _, p := range peers {
		p.sendHealth(state, message)
	}
}

func (s *Server) report(m MetricsReporter, now time.Time, interval time.Duration) {
	r := m.Metrics()
	r.AgentID, r.TimeMillis, r.IntervalMillis = s.caps.AgentID, now.UnixMilli(), interval.Milliseconds()
	s.mu.Lock()
	peers := s.list()
	s.mu.Unlock()
	for _, p := range peers {
		p.send(&r)
	}
}

// Pause asks every proxy to send no new events until Resume.
func (s *Server) Pause() { s.flow(protocol.FlowPause) }

// Resume ends a Pause.
func (s *Server) Resume() { s.flow(protocol.FlowResume) }

func (s *Server) flow(a protocol.FlowAction) {
	s.mu.Lock()
	peers := s.list()
	s.mu.Unlock()
	for _, p := range peers {
		p.send(&protocol.FlowControl{Action: a, TimeMillis: time.Now().UnixMilli()})
	}
}

// Settled reports that no event is under way.
func (s *Server) Settled() bool { return s.events.Load() == 0 }
