package supervise

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var testPolicy = Policy{Restart: "always", BaseDelay: 100 * time.Millisecond, MaxDelay: 30 * time.Second, ResetAfter: 30 * time.Second, QuarantineAfter: 10}

// middle is jitter's neutral value.
func middle() float64 { return 0.5 }

// TestRestartPace: at once after a healthy life, then 100 ms doubling, then quarantine; health brings the beginning back.
func TestRestartPace(t *testing.T) {
	t.Parallel()
	m := newMachine(testPolicy, middle)
	now := time.Duration(0)
	acts := m.transition(now, event{kind: evStart})
	die := func() (State, time.Duration) {
		acts = m.transition(now, event{kind: evExited, id: m.current, reason: "exit 1"})
		for _, a := range acts {
			if a.kind == actArm {
				st := m.state
				now += a.delay
				m.transition(now, event{kind: evTimer})
				return st, a.delay
			}
		}
		return m.state, 0
	}
	want := []time.Duration{0, 100, 200, 400, 800, 1600, 3200, 6400, 12800}
	for i, w := range want {
		if _, d := die(); d != w*time.Millisecond {
			t.Errorf("failure %d: waits %v, want %v ms", i+1, d, int(w))
		}
	}
	if st, d := die(); st != Quarantined || d != 30*time.Second {
		t.Errorf("10th failure: %s for %v", st, d)
	}
	if st, _ := die(); st != Quarantined {
		t.Errorf("11th failure: %s", st)
	}
	m.transition(now, event{kind: evReady, id: m.current})
	now += testPolicy.ResetAfter - 1
	if st, _ := die(); st != Quarantined { // ready, but not for long enough
		t.Errorf("after a short life: %s", st)
	}
	m.transition(now, event{kind: evReady, id: m.current})
	now += testPolicy.ResetAfter
	if st, d := die(); st != Starting || d != 0 {
		t.Errorf("after a healthy life: %s, waits %v", st, d)
	}
}

func TestAliveButNeverReadyIsNoHealthyLife(t *testing.T) {
	t.Parallel()
	m := newMachine(testPolicy, middle)
	m.transition(0, event{kind: evStart})
	m.transition(0, event{kind: evExited, id: m.current})
	m.transition(time.Hour, event{kind: evExited, id: m.current})
	if m.state != Backoff {
		t.Errorf("state %s", m.state)
	}
}

func TestJitterStaysWithinAFifth(t *testing.T) {
	t.Parallel()
	m := newMachine(testPolicy, rand.Float64)
	for range 10000 {
		if d := m.jitter(time.Second); d < 800*time.Millisecond || d > 1200*time.Millisecond {
			t.Fatalf("%v", d)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		restart string
		ok      bool
		want    State
	}{
		{"always", true, Starting}, {"always", false, Starting},
		{"on-failure", true, Stopped}, {"on-failure", false, Starting},
		{"never", true, Stopped}, {"never", false, Stopped},
	}
	for _, tt := range tests {
		p := testPolicy
		p.Restart = tt.restart
		m := newMachine(p, middle)
		m.transition(0, event{kind: evStart})
		m.transition(0, event{kind: evReady, id: m.current})
		m.transition(0, event{kind: evExited, id: m.current, ok: tt.ok, reason: "exit"})
		if m.state != tt.want || m.state == Stopped && m.reason != "exit" {
			t.Errorf("%s, success %v: %s (%s)", tt.restart, tt.ok, m.state, m.reason)
		}
	}
}

func TestUnusableProgramFailsAndStartTriesAgain(t *testing.T) {
	t.Parallel()
	m := newMachine(testPolicy, middle)
	m.transition(0, event{kind: evStart})
	m.transition(0, event{kind: evSpawnFailed, id: m.current, permanent: true, reason: "no such program"})
	if m.state != Failed || m.reason != "no such program" {
		t.Fatalf("%s (%s)", m.state, m.reason)
	}
	if acts := m.transition(0, event{kind: evStart}); m.state != Starting || len(acts) != 1 || acts[0].kind != actSpawn {
		t.Errorf("%s %v", m.state, acts)
	}
}

func TestReplacement(t *testing.T) {
	t.Parallel()
	begin := func() *machine {
		m := newMachine(testPolicy, middle)
		m.transition(0, event{kind: evStart})
		m.transition(0, event{kind: evReady, id: 1})
		m.transition(0, event{kind: evReplace})
		return m
	}
	m := begin()
	acts := m.transition(0, event{kind: evReady, id: 2})
	if m.current != 2 || !m.old[1] || m.state != Ready || fmt.Sprint(acts) != fmt.Sprint([]action{{kind: actReplaced}, {kind: actTerminate, id: 1}}) {
		t.Errorf("the new one is ready: %+v %v", m, acts)
	}
	m = begin()
	acts = m.transition(0, event{kind: evExited, id: 2, reason: "exit 1"})
	if m.current != 1 || m.state != Ready || len(acts) != 1 || acts[0].reason != "exit 1" {
		t.Errorf("the new one fails: %+v %v", m, acts)
	}
	m = begin()
	m.transition(0, event{kind: evExited, id: 1, reason: "signal KILL"})
	if m.state != Starting || m.next != 2 {
		t.Errorf("the current one dies meanwhile: %+v", m)
	}
	acts = m.transition(0, event{kind: evExited, id: 2, reason: "exit 1"})
	if m.state != Starting || m.current != 3 || acts[0].kind != actReplaced || acts[1].kind != actSpawn {
		t.Errorf("both die: %+v %v", m, acts)
	}
}

// legal lists where one event may lead from each state of a service that is always started again. A stop that finds no process, and a start that is tried at once, pass through a state in between.
var legal = map[State][]State{
	Stopped:     {Starting},
	Starting:    {Ready, Stopping, Backoff, Quarantined, Failed},
	Ready:       {Degraded, Stopping, Starting, Backoff, Quarantined, Failed},
	Degraded:    {Ready, Stopping, Starting, Backoff, Quarantined, Failed},
	Stopping:    {Stopped, Starting}, // Starting: somebody wanted it again meanwhile
	Backoff:     {Starting, Stopped, Stopping},
	Quarantined: {Starting, Stopped, Stopping},
	Failed:      {Starting, Stopped, Stopping},
}

// TestModel throws random commands and faults at the machine and checks what must hold whatever happens. The world it plays is the smallest that is
// true to life: an instance lives from its spawn until the world says that it has ended, and only a world in which it ended may say so.
func TestModel(t *testing.T) {
	t.Parallel()
	steps := 1_000_000
	if testing.Short() {
		steps = 50_000
	}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	policy := testPolicy
	policy.QuarantineAfter = 4
	m := newMachine(policy, r.Float64)
	alive := map[int]bool{}  // instances in the world
	ending := map[int]bool{} // asked to end, or killed
	asked := map[int]bool{}
	armed, wanted := false, false
	now := time.Duration(0)
	taken := map[[2]State]int{}
	var trail []string
	for i := range steps {
		if len(trail) > 30 {
			trail = trail[1:]
		}
		e := event{kind: eventKind(r.IntN(int(evTimer) + 1)), id: 1 + r.IntN(m.lastID+2), ok: r.IntN(2) == 0, reason: "fault"}
		switch e.kind {
		case evExited, evSpawnFailed:
			if !alive[e.id] {
				if e.id = anyOf(r, alive); e.id == 0 {
					continue
				}
			}
			e.permanent = e.kind == evSpawnFailed && r.IntN(8) == 0
			delete(alive, e.id)
			delete(ending, e.id)
		case evReady, evReadyTimeout, evWatchdog, evLimit, evHealth:
			if !alive[e.id] && r.IntN(8) > 0 { // most often it is something real that this happens to
				e.id = anyOf(r, alive)
			}
		case evTimer:
			if !armed {
				continue
			}
			armed = false
		case evStart:
			wanted = true
		case evStop:
			wanted = false
		case evReplace:
			wanted = wanted || m.state != Stopping
		}
		now += time.Duration(r.IntN(int(20 * time.Second)))
		before := m.state
		acts := m.transition(now, e)
		trail = append(trail, fmt.Sprintf("%d: %s %+v -> %s %v", i, before, e, m.state, acts))
		fail := func(format string, args ...any) {
			t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(trail, "\n"))
		}
		if m.state != before && !slices.Contains(legal[before], m.state) {
			fail("illegal transition from %s to %s", before, m.state)
		}
		taken[[2]State{before, m.state}]++
		for _, a := range acts {
			switch a.kind {
			case actSpawn:
				if alive[a.id] {
					fail("instance %d spawned twice", a.id)
				}
				alive[a.id] = true
			case actTerminate:
				if asked[a.id] {
					fail("instance %d terminated twice", a.id)
				}
				asked[a.id] = true
				fallthrough
			case actKill, actDump:
				if !alive[a.id] {
					fail("action on instance %d, which does not live", a.id)
				}
				ending[a.id] = true
			case actArm:
				if armed || a.delay <= 0 || a.delay > policy.MaxDelay*6/5 {
					fail("armed %v, delay %v", armed, a.delay)
				}
				armed = true
			case actDisarm:
				armed = false
			}
		}
		known := 0
		for id := range alive {
			if !m.running(id) {
				fail("instance %d lives and the machine does not know it", id)
			}
			known++
		}
		if known != len(m.instances()) {
			fail("the machine knows %v, alive are %v", m.instances(), alive)
		}
		switch m.state {
		case Stopped:
			if len(alive) > 0 || armed {
				fail("stopped with %v alive, armed %v", alive, armed)
			}
		case Failed:
			if m.current != 0 || m.next != 0 || armed {
				fail("failed but running")
			}
		case Stopping:
			if len(alive) == 0 || armed {
				fail("stopping with nothing to wait for, armed %v", armed)
			}
			for id := range alive {
				if !ending[id] {
					fail("stopping, but nobody asked instance %d to end", id)
				}
			}
		case Backoff, Quarantined:
			if !armed || m.current != 0 || m.next != 0 {
				fail("waiting without a timer or with a process")
			}
		case Ready, Degraded:
			if m.current == 0 || !m.isReady {
				fail("ready without a ready instance")
			}
		case Starting:
			if m.current == 0 && m.next == 0 {
				fail("starting nothing")
			}
		default:
			fail("unknown state")
		}
		if m.state != Failed && wanted != (m.wanted) {
			fail("somebody wants it to run: %v; the machine thinks %v", wanted, m.wanted)
		}
		if wanted && m.state == Stopped {
			fail("the wish was lost")
		}
	}
	if testing.Short() {
		return // too few steps for the rare ones
	}
	for from, tos := range legal { // a row that is never taken proves nothing
		for _, to := range tos {
			if taken[[2]State{from, to}] == 0 {
				t.Errorf("never went from %s to %s", from, to)
			}
		}
	}
}

func anyOf(r *rand.Rand, set map[int]bool) int {
	n := 0
	pick := 0
	for id := range set {
		if n++; r.IntN(n) == 0 {
			pick = id
		}
	}
	return pick
}
