// Package client is the proxy's side of the agent protocol: one Client per agent, or a Pool of Clients when it has several instances.
//
// A Client keeps a few connections to the agent's Unix socket, each with its own handshake, and sends many calls over each at once; answers come in any
// order. Every call has a deadline. A bulkhead bounds how many run and how many wait, a circuit breaker stops calling an agent that keeps failing,
// and a lost connection is dialled again at once, then ever more slowly, for ever. A call about headers that was under way on a connection that died
// is sent again on another one while its deadline allows; so an agent that is restarted loses no request.
//
// A peer that breaks a rule of the protocol loses its connection, never the process. An agent that fails says nothing about a request: Call returns an error
// and the caller applies the route's failure mode.
package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// Errors of Call. Each means that there is no verdict.
var (
	ErrTimeout     = errors.New("agent did not answer in time")
	ErrOverload    = errors.New("too many calls to the agent")
	ErrCircuitOpen = errors.New("agent circuit is open")
	ErrUnavailable = errors.New("agent is not available")
	ErrCanceled    = errors.New("call is no longer wanted")
	ErrLost        = errors.New("agent connection was lost")
	ErrProtocol    = errors.New("agent broke the protocol")
	ErrClosed      = errors.New("agent client is closed")
)

// AgentError is an answer in which the agent says that it could not decide.
type AgentError struct{ Text string }

func (e *AgentError) Error() string { return "agent could not decide: " + e.Text }

// RefusedError is an agent's refusal of its configuration.
type RefusedError struct{ Agent, Reason string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("agent %q refused its configuration: %s", e.Agent, e.Reason)
}

// Options are what a Client needs to know. Address, Name and ProxyID are required.
type Options struct {
	Name         string // of the agent, for logs and errors
	Address      string // path of the Unix socket
	ProxyID      string
	ProxyVersion string
	Config       []byte // the agent's configuration as JSON, nil = none; must pass wire.ValidConfig
	Connections  int    // 0 = protocol.DefaultConnections
	JSONOnly     bool   // offer no other encoding
	Limits       Limits
	Log          *slog.Logger                                // nil = discard
	Dial         func(ctx context.Context) (net.Conn, error) // nil = dial Address
}

// Limits are what may change while a Client lives. Zero fields mean the default in parentheses.
type Limits struct {
	MaxConcurrent int           // calls that run at once (100); an agent that advertises less gets less
	Queue         int           // calls that wait for one to end (100); negative = none
	QueueTimeout  time.Duration // how long they wait (100ms)
	Breaker       Breaker
}

// Client is the connection to one agent. It is safe for concurrent use.
type Client struct {
	opt      Options
	log      *slog.Logger
	bulk     bulkhead
	breaker  breaker
	stats    stats
	ids      atomic.Uint64 // correlation ids of the client's own calls
	jsonOnly atomic.Bool   // the agent's msgpack is not ours

	ready atomic.Pointer[[]*conn] // connections that may get work, replaced as a whole

	mu         sync.Mutex // guards everything below
	limits     Limits
	config     []byte
	changed    chan struct{} // closed and replaced when ready, or the state of a connection, changes
	attempts   int           // finished attempts to connect
	lastErr    error
	refused    *RefusedError
	caps       protocol.Capabilities // of the last handshake
	encoding   protocol.Encoding
	connected  bool // there was a handshake
	report     *protocol.MetricsReport
	health     protocol.Health
	started    bool
	pools      []*Pool // are told of changes too
	closed     bool
	configured sync.RWMutex // held by Configure, and shared by handshakes, which must not deliver an older configuration after it; taken before mu

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup
}

// New returns a Client that has not begun to connect; Start does. Close ends it.
func New(o Options) *Client {
	if o.Connections <= 0 {
		o.Connections = protocol.DefaultConnections
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		dialer := &net.Dialer{Timeout: protocol.HandshakeTimeout}
		o.Dial = func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "unix", o.Address) }
	}
	c := &Client{opt: o, log: o.Log.With("agent", o.Name), config: o.Config, changed: make(chan struct{})}
	c.jsonOnly.Store(o.JSONOnly)
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.ready.Store(new([]*conn))
	c.SetLimits(o.Limits)
	return c
}

// Start begins to connect and reports whether it did; further calls do nothing.
func (c *Client) Start() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started || c.closed {
		return false
	}
	c.started = true
	for range c.opt.Connections {
		c.work.Go(c.maintain)
	}
	return true
}

// SetLimits changes the limits for the calls that begin from now on.
func (c *Client) SetLimits(l Limits) {
	l.MaxConcurrent = orInt(l.MaxConcurrent, 100)
	l.Queue = orInt(l.Queue, 100)
	if l.QueueTimeout <= 0 {
		l.QueueTimeout = 100 * time.Millisecond
	}
	l.Breaker = l.Breaker.withDefaults()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits = l
	c.applyLimits()
}

// applyLimits is called with mu held.
func (c *Client) applyLimits() {
	n := c.limits.MaxConcurrent
	if m := c.caps.Limits.MaxConcurrency; m > 0 {
		n = min(n, m)
	}
	c.bulk.set(n, c.limits.Queue, c.limits.QueueTimeout)
	c.breaker.set(c.limits.Breaker)
}

func orInt(v, def int) int {
	if v == 0 {
		return def
	}
	return v
}

// Name is the agent's name in the configuration.
func (c *Client) Name() string { return c.opt.Name }

// Address is the path of the agent's socket.
func (c *Client) Address() string { return c.opt.Address }

// Capabilities returns what the agent said in its last handshake; false when there was none yet.
func (c *Client) Capabilities() (protocol.Capabilities, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.caps, c.connected
}

// Close ends every connection and waits for everything the client started. Calls under way fail.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.work.Wait()
}

// WaitReady waits until the agent has taken its configuration and work can be sent to it. It returns a *RefusedError when the agent refused
// its configuration, and the last error once every connection has failed at least once or ctx ends.
func (c *Client) WaitReady(ctx context.Context) error {
	for {
		c.mu.Lock()
		changed, refused, lastErr, attempts := c.changed, c.refused, c.lastErr, c.attempts
		c.mu.Unlock()
		if len(*c.ready.Load()) > 0 {
			return nil
		}
		if refused != nil {
			return refused
		}
		if attempts >= c.opt.Connections && lastErr != nil {
			return lastErr
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ctx.Done():
			return ErrClosed
		}
	}
}

// notify wakes whoever waits for a change. It is called with mu held.
func (c *Client) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
	for _, p := range c.pools {
		p.notify()
	}
}

func (c *Client) watch(p *Pool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pools = append(c.pools, p)
}

func (c *Client) unwatch(p *Pool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pools = slices.DeleteFunc(c.pools, func(x *Pool) bool { return x == p })
}

func (c *Client) notifyChange() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notify()
}

// join makes a connection available for work, unless the configuration was changed during its handshake.
func (c *Client) join(cn *conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !bytes.Equal(cn.config, c.config) {
		return false
	}
	list := append(append([]*conn(nil), *c.ready.Load()...), cn)
	c.ready.Store(&list)
	c.breaker.retry()
	c.notify()
	return true
}

// leave takes a connection out of work.
func (c *Client) leave(cn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*conn
	for _, x := range *c.ready.Load() {
		if x != cn {
			list = append(list, x)
		}
	}
	c.ready.Store(&list)
	c.notify()
}

// Configure sends a new configuration to the agent and keeps it for later handshakes. When any connection refuses it, those that had accepted get the old one again
// and the error is a *RefusedError. With no connection at all the configuration is only kept: the next handshake delivers it.
func (c *Client) Configure(ctx context.Context, config []byte) error {
	if err := wire.ValidConfig(config); err != nil {
		return err
	}
	c.configured.Lock()
	defer c.configured.Unlock()
	c.mu.Lock()
	old := c.config
	c.config, c.refused = config, nil // a connection made meanwhile gets the new one in its handshake
	c.mu.Unlock()
	var accepted []*conn
	for _, cn := range *c.ready.Load() {
		err := c.configure(ctx, cn, config)
		if err == nil {
			accepted = append(accepted, cn)
			continue
		}
		if errors.Is(err, ErrLost) {
			continue // its successor's handshake delivers the configuration
		}
		c.mu.Lock()
		c.config = old
		c.mu.Unlock()
		for _, cn := range accepted {
			if err := c.configure(ctx, cn, old); err != nil {
				cn.close(fmt.Errorf("cannot restore configuration: %w", err)) // the next handshake restores it
			}
		}
		return err
	}
	return nil
}

// Config returns the configuration of the next handshake.
func (c *Client) Config() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.config
}

// waiting is a Waiter with a context of its own.
type waiting struct{ ctx context.Context }

func (w waiting) Context() context.Context { return w.ctx }

func (c *Client) configure(ctx context.Context, cn *conn, config []byte) error {
	deadline := time.Now().Add(10 * time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	id := fmt.Sprintf("configure-%d", c.ids.Add(1))
	var r protocol.Response
	err := cn.call(id, &protocol.Configure{CorrelationID: id, Config: config}, deadline, waiting{ctx}, &r)
	switch {
	case err != nil:
		return err
	case r.Error != "":
		return &RefusedError{c.opt.Name, r.Error}
	case r.Verdict.Action != protocol.ActionAllow:
		return &RefusedError{c.opt.Name, string(r.Verdict.Body)}
	}
	return nil
}
