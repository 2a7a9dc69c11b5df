// Package agent is the filter that asks an agent: it turns the phases of an exchange into protocol events, sends them through protocol/client, and turns
// verdicts into decisions, header changes and audit facts. What it cannot ask, or gets no usable verdict for, follows the failure mode.
//
// A Set holds the clients of one generation, one for each instance of an agent. Clients are carried over: an instance at the same address keeps its connections, its
// circuit and its counters; a changed configuration is sent to it before the generation is swapped, and a refusal keeps the generation from being used.
package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/client"
	"github.com/sentinel-stack/sentinel/protocol/wire"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/unpack"
)

// Deps is what the agents of every generation share.
type Deps struct {
	Metrics      *observe.Metrics // required
	Logger       *slog.Logger     // required
	RuntimeDir   string           // where sockets are when the configuration does not say
	ProxyID      string           // told to agents
	ProxyVersion string

	DecompressionMemory int64 // bytes that all decoders may hold
}

// Set is the agents of one generation. The nil Set is empty.
type Set struct {
	members map[string]*member
	order   []*member      // as configured
	ids     *atomic.Uint64 // exchanges that asked agents, over all generations; makes correlation ids unique

	decoders *unpack.Decoders // of all generations
	memory   int64            // their bound from Configure on
}

// member is one agent of one generation.
type member struct {
	config    config.Agent
	shared    *shared
	instances []*instance // one for each socket
	pool      *client.Pool
	used      bool // some filter asks it
}

// NewSet prepares clients for the agents; what prev (nil for the first) has of the same name and address is shared with it.
// No agent is contacted before Configure.
func NewSet(agents []config.Agent, prev *Set, deps Deps) (*Set, error) {
	s := &Set{members: make(map[string]*member, len(agents)), ids: new(atomic.Uint64), memory: deps.DecompressionMemory}
	if prev != nil {
		s.ids, s.decoders = prev.ids, prev.decoders
	} else {
		s.decoders = unpack.NewDecoders(s.memory)
	}
	for _, a := range agents {
		if err := wire.ValidConfig([]byte(a.ConfigJSON)); err != nil {
			s.Close()
			return nil, fmt.Errorf("cannot use configuration of agent %q: %v", a.Name, err)
		}
		m := &member{config: a, shared: prev.share(a.Name)}
		if m.shared == nil {
			m.shared = newShared(a.Name, deps)
		}
		m.open(deps)
		s.members[a.Name] = m
		s.order = append(s.order, m)
	}
	return s, nil
}

// jsonOf is the configuration as it is sent: nothing when there is none.
func jsonOf(a config.Agent) []byte {
	if a.ConfigJSON == "" {
		return nil
	}
	return []byte(a.ConfigJSON)
}

func limitsOf(a config.Agent) client.Limits {
	queue := a.QueueLength
	if queue == 0 || a.QueueTimeout == 0 {
		queue = -1 // the client's zero is its default; the configuration's is none
	}
	return client.Limits{MaxConcurrent: a.MaxConcurrentCalls, Queue: queue, QueueTimeout: a.QueueTimeout,
		Breaker: client.Breaker{Failures: a.Breaker.Failures, Successes: a.Breaker.Successes, OpenFor: a.Breaker.OpenFor, HalfOpen: a.Breaker.HalfOpen}}
}

// Configure connects to agents that are new and sends changed configurations to the others, all at once. It fails when an agent refuses its configuration; then,
// and when the generation is given up for another reason, Rollback restores what prev had. An agent that cannot be reached is no
// failure: it gets its configuration when it comes.
func (s *Set) Configure(ctx context.Context) error {
	if s == nil {
		return nil
	}
	errs := make([]error, len(s.order))
	var wg sync.WaitGroup
	for i, m := range s.order {
		wg.Go(func() { errs[i] = m.configure(ctx, firstWait) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err == nil {
		s.decoders.SetLimit(s.memory)
	}
	return err
}

// firstWait is how long Configure waits for a new agent: time for two handshakes.
const firstWait time.Duration = 2 * protocol.HandshakeTimeout

// configure brings every instance to the member's configuration.
func (m *member) configure(ctx context.Context, wait time.Duration) error {
	errs := make([]error, len(m.instances))
	var wg sync.WaitGroup
	for i, in := range m.instances {
		wg.Go(func() { errs[i] = m.configureOne(ctx, in.client, wait) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err // they run one program, so the others would say the same
		}
	}
	m.shared.pool.Store(m.pool)
	return nil
}

func (m *member) configureOne(ctx context.Context, c *client.Client, wait time.Duration) error {
	want := jsonOf(m.config)
	if c.Start() {
		if !m.used {
			return nil // nothing depends on it, so serving does not wait for it: it may be down for good, or be started after the proxy
		}
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		err := c.WaitReady(ctx)
		var refused *client.RefusedError
		if errors.As(err, &refused) {
			return refused
		}
		if err != nil {
			m.shared.log.Warn("agent is not reachable yet", "address", c.Address(), "error", err)
		}
		return nil
	}
	if want == nil && c.Config() != nil {
		want = []byte("{}") // null would mean: keep what you have
	}
	if !bytes.Equal(want, c.Config()) {
		if err := c.Configure(ctx, want); err != nil {
			return err
		}
	}
	c.SetLimits(limitsOf(m.config))
	return nil
}

// Rollback gives the agents that prev shares their configuration of prev back.
func (s *Set) Rollback(ctx context.Context, prev *Set) {
	if s == nil || prev == nil {
		return
	}
	for name, m := range s.members {
		if old := prev.members[name]; old != nil && old.shared == m.shared {
			if err := old.configure(ctx, 0); err != nil {
				m.shared.log.Error("cannot restore the agent's configuration", "error", err)
			}
		}
	}
}

// Close gives the clients back; those no other set shares are closed.
func (s *Set) Close() {
	if s == nil {
		return
	}
	for _, m := range s.order {
		m.close()
	}
	s.order, s.members = nil, nil
}

// Filter returns the filter with this name that asks one agent, with the settings of f where it has any. Filters are made before Configure, which
// waits only for agents that one of them asks. phase is "request", "response" or, for all that the agent's events say, "both" or "".
func (s *Set) Filter(name, agent, phase string, f config.AgentFilter) (filter.Filter, error) {
	var m *member
	if s != nil {
		m = s.members[agent]
	}
	if m == nil {
		return nil, fmt.Errorf("no agent %q", agent)
	}
	m.used = true
	return newFilter(name, m, phase, f, s), nil
}
