// Package supervise keeps services running.
//
// What happens to a service is decided by one explicit state machine (this file) with one transition function, which is pure: events and the time go
// in, actions come out. One goroutine per service (service.go) feeds it and carries the actions out.
//
//	stopped ──start──► starting ──ready──► ready ◄──health──► degraded
//	   ▲                 │  ▲ │ └─program unusable─► failed       │
//	   │            exit │  │ └──────stop──► stopping ◄───stop────┘
//	   │                 ▼  │ time             │
//	   │       backoff / quarantined           │ all processes gone
//	   └───────────────────────────────────────┘
//
// A service has at most one current instance, one next instance that is to replace it, and old instances that drain.
package supervise

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// State of a service.
type State string

// The states, spelled as the control API shows them.
const (
	Stopped     State = "stopped"
	Starting    State = "starting"
	Ready       State = "ready"
	Degraded    State = "degraded"    // runs, but does not answer its health probe
	Stopping    State = "stopping"    // asked to end, or old instances still drain
	Backoff     State = "backoff"     // waits before the next start
	Quarantined State = "quarantined" // failed too often: waits long before the next start
	Failed      State = "failed"      // cannot run with this configuration
)

// Policy says when and how soon a service that ended is started again.
type Policy struct {
	Restart         string        // always, on-failure, never
	InitialDelay    time.Duration // before the first restart after a healthy life
	BaseDelay       time.Duration // before the second; doubles from there
	MaxDelay        time.Duration
	ResetAfter      time.Duration // ready for so long = a healthy life
	QuarantineAfter int           // failures in a row; 0 = never
}

type eventKind int

const (
	evStart        eventKind = iota // somebody wants the service to run
	evStop                          // somebody wants it not to run
	evReplace                       // somebody wants a new instance to take over
	evSpawnFailed                   // id could not be executed; permanent says that trying again is useless
	evReady                         // id says or proved that it is ready
	evReadyTimeout                  // id was not ready in time
	evWatchdog                      // id missed its watchdog
	evLimit                         // id uses more than it may
	evHealth                        // id answered (ok) or did not answer its health probe
	evExited                        // id ended; ok says by itself with status 0
	evTimer                         // the wait armed by actArm is over
)

type event struct {
	kind      eventKind
	id        int
	ok        bool
	permanent bool
	reason    string
	limit     string // of an exit: the resource limit that explains it
}

type actionKind int

const (
	actSpawn     actionKind = iota // start instance id
	actTerminate                   // ask instance id to end, with its deadlines
	actKill                        // end instance id at once
	actDump                        // have instance id print its stacks, then end it
	actArm                         // send evTimer after delay
	actDisarm                      // forget actArm
	actReplaced                    // the replacement is done (reason "") or has failed
)

type action struct {
	kind   actionKind
	id     int
	delay  time.Duration
	reason string
}

// machine is the state of one service. Times are durations on a monotonic clock.
type machine struct {
	policy Policy
	random func() float64 // [0,1), for jitter

	state     State
	reason    string // why it is in this state, for people
	wanted    bool   // somebody wants it to run
	current   int    // instance, 0 = none
	next      int
	old       map[int]bool
	lastID    int
	failures  int // in a row
	restarts  uint64
	isReady   bool // current was ready
	readyAt   time.Duration
	nextStart time.Duration  // in backoff and quarantined
	cause     map[int]string // why we ended an instance
	lastExit  string
}

func newMachine(p Policy, random func() float64) *machine {
	return &machine{policy: p, random: random, state: Stopped, old: map[int]bool{}, cause: map[int]string{}}
}

// transition is the only place where the state changes. Events about instances that are gone change nothing.
func (m *machine) transition(now time.Duration, e event) []action {
	switch e.kind {
	case evStart:
		return m.start()
	case evStop:
		return m.stop()
	case evReplace:
		return m.replace()
	case evReady:
		return m.ready(now, e.id)
	case evReadyTimeout:
		if e.id == m.next && e.id != 0 || e.id == m.current && m.state == Starting && !m.isReady {
			m.cause[e.id] = e.reason
			return []action{{kind: actKill, id: e.id}}
		}
	case evWatchdog:
		if m.running(e.id) && m.cause[e.id] == "" {
			m.cause[e.id] = e.reason
			return []action{{kind: actDump, id: e.id}}
		}
	case evLimit:
		if m.running(e.id) {
			m.cause[e.id] = e.reason
			return []action{{kind: actKill, id: e.id}}
		}
	case evHealth:
		if e.id == m.next && e.id != 0 && !e.ok { // on trial
			m.cause[e.id] = e.reason
			return []action{{kind: actKill, id: e.id}}
		}
		m.health(e)
	case evSpawnFailed, evExited:
		if m.running(e.id) {
			return m.gone(now, e)
		}
	case evTimer:
		if m.state == Backoff || m.state == Quarantined {
			return m.begin()
		}
	}
	return nil
}

func (m *machine) running(id int) bool {
	return id != 0 && (id == m.current || id == m.next || m.old[id])
}

func (m *machine) set(s State, reason string) { m.state, m.reason = s, reason }

// begin spawns the current instance.
func (m *machine) begin() []action {
	m.lastID++
	m.current, m.isReady = m.lastID, false
	m.set(Starting, "")
	return []action{{kind: actSpawn, id: m.current}}
}

func (m *machine) start() []action {
	m.wanted = true
	switch m.state {
	case Stopped, Failed:
		m.failures = 0
		return m.begin()
	case Backoff, Quarantined:
		return append([]action{{kind: actDisarm}}, m.begin()...)
	}
	return nil // runs, or starts again once it has stopped
}

func (m *machine) stop() []action {
	m.wanted = false
	switch m.state {
	case Stopped, Stopping:
		return nil
	case Backoff, Quarantined, Failed:
		m.set(Stopping, "")
		m.settle()
		return []action{{kind: actDisarm}}
	}
	m.set(Stopping, "")
	var acts []action
	for _, id := range []int{m.next, m.current} {
		if id != 0 {
			acts = append(acts, action{kind: actTerminate, id: id})
		}
	}
	return acts // old ones were asked before
}

// settle ends Stopping when no process is left.
func (m *machine) settle() []action {
	if m.state != Stopping || m.current != 0 || m.next != 0 || len(m.old) > 0 {
		return nil
	}
	m.set(Stopped, "")
	if m.wanted {
		m.failures = 0
		return m.begin()
	}
	return nil
}

func (m *machine) replace() []action {
	switch {
	case m.state == Stopping:
		return []action{{kind: actReplaced, reason: "it is being stopped"}}
	case m.next != 0:
		return []action{{kind: actReplaced, reason: "another replacement is under way"}}
	case m.current == 0:
		return m.start() // nothing to replace
	}
	m.wanted = true
	m.lastID++
	m.next = m.lastID
	return []action{{kind: actSpawn, id: m.next}}
}

func (m *machine) ready(now time.Duration, id int) []action {
	if m.state == Stopping || id == 0 {
		return nil
	}
	switch id {
	case m.current:
		if m.state == Starting {
			m.set(Ready, "")
			m.isReady, m.readyAt = true, now
		}
	case m.next:
		acts := []action{{kind: actReplaced}}
		if m.current != 0 {
			m.old[m.current] = true
			acts = append(acts, action{kind: actTerminate, id: m.current})
		}
		m.current, m.next = m.next, 0
		m.set(Ready, "")
		m.isReady, m.readyAt = true, now
		m.restarts++
		return acts
	}
	return nil
}

func (m *machine) health(e event) {
	switch {
	case e.id != m.current || e.id == 0:
	case m.state == Ready && !e.ok:
		m.set(Degraded, e.reason)
	case m.state == Degraded && e.ok:
		m.set(Ready, "")
	}
}

// gone handles the end of an instance, or that it never came to be.
func (m *machine) gone(now time.Duration, e event) []action {
	reason := e.reason
	m.lastExit = e.reason
	if e.limit != "" {
		m.lastExit = e.limit + " (" + e.reason + ")"
		reason = m.lastExit
	} else if c := m.cause[e.id]; c != "" {
		reason = c + " (" + e.reason + ")"
	}
	delete(m.cause, e.id)
	if m.old[e.id] {
		delete(m.old, e.id)
		return m.settle()
	}
	var acts []action
	healthy := false
	if e.id == m.next {
		m.next = 0
		acts = []action{{kind: actReplaced, reason: reason}}
		if m.current != 0 {
			return acts // the current one serves on
		}
	} else {
		m.current = 0
		healthy = m.isReady && now-m.readyAt >= m.policy.ResetAfter
		m.isReady = false
		if m.state != Stopping && m.next != 0 {
			m.set(Starting, reason) // the next one takes over when it is ready
			return nil
		}
	}
	if m.state == Stopping {
		return append(acts, m.settle()...)
	}
	return append(acts, m.again(now, e, healthy, reason)...)
}

// again decides what follows when no instance is left although somebody wanted one.
func (m *machine) again(now time.Duration, e event, healthy bool, reason string) []action {
	switch {
	case e.kind == evSpawnFailed && e.permanent:
		m.set(Failed, reason)
		return nil
	case m.policy.Restart == "never", m.policy.Restart == "on-failure" && e.ok:
		m.set(Stopping, "")
		acts := m.settleAs(reason)
		return acts
	}
	if healthy {
		m.failures = 0
	}
	delay := m.delay()
	m.failures++
	m.restarts++
	if q := m.policy.QuarantineAfter; q > 0 && m.failures >= q {
		m.set(Quarantined, fmt.Sprintf("failed %d times in a row: %s", m.failures, reason))
		delay = m.jitter(m.policy.MaxDelay)
	} else if delay <= 0 {
		acts := m.begin()
		m.reason = reason
		return acts
	} else {
		m.set(Backoff, reason)
	}
	m.nextStart = now + delay
	return []action{{kind: actArm, delay: delay}}
}

// settleAs ends a service that is not to be restarted and keeps the reason.
func (m *machine) settleAs(reason string) []action {
	m.wanted = false
	acts := m.settle()
	m.reason = reason
	return acts
}

// delay is the wait before the next start.
func (m *machine) delay() time.Duration {
	if m.failures == 0 {
		return m.policy.InitialDelay
	}
	d := m.policy.BaseDelay
	for range m.failures - 1 {
		if d *= 2; d >= m.policy.MaxDelay {
			break
		}
	}
	return m.jitter(min(d, m.policy.MaxDelay))
}

// jitter spreads d by ±20 %, so that services that failed together do not start together for ever.
func (m *machine) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*m.random()))
}

// instances lists all that live, for the status.
func (m *machine) instances() []int {
	ids := slices.Sorted(maps.Keys(m.old))
	for _, id := range []int{m.current, m.next} {
		if id != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}
