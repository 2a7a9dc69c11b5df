package observe

import (
	"sync/atomic"
	"time"
)

// Circuit is the state of a breaker.
type Circuit int32

// Circuit states, in the order of the metric's values.
const (
	CircuitClosed Circuit = iota
	CircuitHalfOpen
	CircuitOpen
)

// CircuitNone says that there is no breaker.
const CircuitNone Circuit = -1

// String is the word of the admin API.
func (c Circuit) String() string {
	switch c {
	case CircuitClosed:
		return "closed"
	case CircuitHalfOpen:
		return "half-open"
	case CircuitOpen:
		return "open"
	}
	return "none"
}

// AgentState holds what is true of an agent now and is only asked for when somebody looks.
type AgentState struct {
	Circuit  Circuit
	Opens    uint64 // how often the circuit opened
	Queued   int64
	InFlight int64
	Up       bool // connected

	Instances []AgentInstance // when there are several; the state itself speaks for all of them
}

// AgentInstance is what is true of one instance.
type AgentInstance struct {
	Name string
	AgentState
	Calls, Errors uint64
}

// AgentMetrics counts the calls of one agent.
type AgentMetrics struct {
	handle
	Calls     atomic.Uint64
	Errors    atomic.Uint64 // calls without a verdict, timeouts included
	Timeouts  atomic.Uint64
	FailOpens atomic.Uint64 // exchanges that went on without the agent
	Latency   Histogram
	Decisions CounterSet // by verdict: allow, block, …

	PackedBytes   atomic.Uint64 // of bodies that were decompressed for it, as they came
	UnpackedBytes atomic.Uint64 // and what they became
	NotUnpacked   CounterSet    // bodies that could not be, by reason

	state atomic.Pointer[func() AgentState]
}

// CallResult is how a call ended.
type CallResult uint8

// Results of a call.
const (
	CallOK CallResult = iota
	CallError
	CallTimeout
)

// Done counts one call; decision is the verdict's word, "" when there is none.
func (a *AgentMetrics) Done(d time.Duration, result CallResult, decision string) {
	a.Calls.Add(1)
	a.Latency.Observe(d)
	switch result {
	case CallTimeout:
		a.Timeouts.Add(1)
		a.Errors.Add(1)
	case CallError:
		a.Errors.Add(1)
	}
	if decision != "" {
		a.Decisions.Add(decision)
	}
}

// SetState installs the function that a scrape asks for the agent's present state; nil removes it.
func (a *AgentMetrics) SetState(f func() AgentState) {
	if f == nil {
		a.state.Store(nil)
		return
	}
	a.state.Store(&f)
}

// State asks for the present state; the zero state when nobody knows.
func (a *AgentMetrics) State() AgentState {
	if f := a.state.Load(); f != nil {
		return (*f)()
	}
	return AgentState{}
}
