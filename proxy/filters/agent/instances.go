package agent

import (
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/protocol/client"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// shared is what generations share of one agent.
type shared struct {
	metrics *observe.AgentMetrics
	process *observe.Process
	log     *slog.Logger
	pool    atomic.Pointer[client.Pool] // of the generation that serves; nil before the first

	mu        sync.Mutex // guards everything below
	refs      int
	instances map[string]*instance // by address
}

// instance is one process of an agent, at one address. Generations that have the address share it.
type instance struct {
	client *client.Client
	refs   int // guarded by the mutex of shared
}

func newShared(name string, deps Deps) *shared {
	h := &shared{metrics: deps.Metrics.Agent(name), process: &deps.Metrics.Process, log: deps.Logger.With("agent", name), refs: 1, instances: map[string]*instance{}}
	h.metrics.SetState(h.state)
	return h
}

// share takes another reference on what there is of the agent with this name.
func (s *Set) share(name string) *shared {
	if s == nil || s.members[name] == nil {
		return nil
	}
	h := s.members[name].shared
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refs++
	return h
}

// open takes the instances at the member's addresses, and makes clients for those that are new.
func (m *member) open(deps Deps) {
	addresses := config.AgentSockets(m.config, deps.RuntimeDir)
	h := m.shared
	h.mu.Lock()
	defer h.mu.Unlock()
	clients := make([]*client.Client, len(addresses))
	for i, address := range addresses {
		in := h.instances[address]
		if in == nil {
			log := deps.Logger
			if len(addresses) > 1 {
				log = log.With("address", address)
			}
			in = &instance{client: client.New(client.Options{Name: m.config.Name, Address: address, ProxyID: deps.ProxyID, ProxyVersion: deps.ProxyVersion,
				Config: jsonOf(m.config), Limits: limitsOf(m.config), Log: log})}
			h.instances[address] = in
		}
		in.refs++
		m.instances, clients[i] = append(m.instances, in), in.client
	}
	m.pool = client.NewPool(clients...)
}

// close gives everything back that open took.
func (m *member) close() {
	m.pool.Close()
	h := m.shared
	var over []*client.Client
	h.mu.Lock()
	for _, in := range m.instances {
		if in.refs--; in.refs == 0 {
			over = append(over, in.client)
			delete(h.instances, in.client.Address())
		}
	}
	h.refs--
	last := h.refs == 0
	h.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range over {
		wg.Go(c.Close)
	}
	wg.Wait()
	if last {
		h.metrics.SetState(nil)
		h.metrics.Release()
	}
}

// state is what metrics show of the agent now.
func (h *shared) state() observe.AgentState {
	pool := h.pool.Load()
	if pool == nil {
		return observe.AgentState{}
	}
	st := stateOf(pool.Snapshot())
	if members := pool.Members(); len(members) > 1 {
		for i, c := range members {
			s := c.Snapshot()
			st.Instances = append(st.Instances, observe.AgentInstance{Name: instanceName(i), AgentState: stateOf(s), Calls: s.Calls, Errors: s.Errors})
		}
	}
	return st
}

// instanceName is what the instance at place i of the configuration is called.
func instanceName(i int) string { return strconv.Itoa(i + 1) }

func stateOf(s client.Snapshot) observe.AgentState {
	st := observe.AgentState{Opens: s.Opens, Queued: s.Queued, InFlight: s.InFlight, Up: s.Connected}
	switch s.Circuit {
	case "open":
		st.Circuit = observe.CircuitOpen
	case "half-open":
		st.Circuit = observe.CircuitHalfOpen
	}
	return st
}
