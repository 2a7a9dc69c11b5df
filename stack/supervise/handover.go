package supervise

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/limits"
	"github.com/sentinel-stack/sentinel/stack/logs"
)

// Saved is a service as another supervisor, or this one after it replaced its program, takes it over.
type Saved struct {
	Name      string          `json:"name"`
	Machine   SavedMachine    `json:"machine"`
	Zero      time.Duration   `json:"zero"` // of the machine's clock, since boot
	Since     time.Time       `json:"since"`
	Shown     int             `json:"shown"`
	Status    string          `json:"status,omitempty"`
	Hits      SavedHits       `json:"hits"`
	Restarts  []time.Duration `json:"restarts,omitempty"` // exit to exec
	Readys    []time.Duration `json:"readys,omitempty"`   // exec to ready
	Instances []SavedInstance `json:"instances,omitempty"`
	NotifyFD  int             `json:"notify_fd"` // -1 = none was handed over
}

// SavedMachine is the state machine of a service.
type SavedMachine struct {
	State     State          `json:"state"`
	Reason    string         `json:"reason,omitempty"`
	Wanted    bool           `json:"wanted"`
	Current   int            `json:"current,omitempty"`
	Next      int            `json:"next,omitempty"`
	Old       []int          `json:"old,omitempty"`
	LastID    int            `json:"last_id"`
	Failures  int            `json:"failures,omitempty"`
	Restarts  uint64         `json:"restarts,omitempty"`
	IsReady   bool           `json:"is_ready,omitempty"`
	ReadyAt   time.Duration  `json:"ready_at,omitempty"`
	NextStart time.Duration  `json:"next_start,omitempty"`
	Cause     map[int]string `json:"cause,omitempty"`
	LastExit  string         `json:"last_exit,omitempty"`
}

// SavedHits is what limits did.
type SavedHits struct {
	limits.Counters
	Restarts uint64 `json:"restarts,omitempty"`
}

// SavedInstance is one running process.
type SavedInstance struct {
	ID        int             `json:"id"`
	PID       int             `json:"pid"`
	StartTime uint64          `json:"start_time"` // clock ticks since boot
	Forked    time.Time       `json:"forked"`
	Executed  time.Time       `json:"executed"`
	Lacking   []string        `json:"lacking,omitempty"` // layers of its sandbox that the host does not have
	Ready     bool            `json:"ready,omitempty"`
	Told      bool            `json:"told,omitempty"`
	Fed       bool            `json:"fed,omitempty"`
	Ending    int             `json:"ending,omitempty"`
	Asked     time.Time       `json:"asked,omitzero"`
	Dumped    time.Time       `json:"dumped,omitzero"`
	Stop      Stop            `json:"stop"`
	Notify    bool            `json:"notify,omitempty"`
	Timeout   time.Duration   `json:"timeout,omitempty"` // to be ready
	Watchdog  time.Duration   `json:"watchdog,omitempty"`
	FromStart bool            `json:"from_start,omitempty"` // the watchdog
	Limits    limits.Set      `json:"limits"`
	Layers    []limits.Limit  `json:"layers,omitempty"`
	Seen      limits.Counters `json:"seen"`

	Spools []logs.SavedSpool `json:"spools,omitempty"` // what it writes to, when not to pipes
}

// PIDs are the processes of the service.
func (s *Saved) PIDs() []int {
	var pids []int
	for _, in := range s.Instances {
		pids = append(pids, in.PID)
	}
	return pids
}

// TreeID is the name of the tree of an instance in the forest.
func (s *Saved) TreeID(in SavedInstance) string { return fmt.Sprintf("%s.%d", s.Name, in.ID) }

// retryFreeze is the pause before a service that is just starting a process is looked at again.
const retryFreeze = time.Millisecond

// Save is the service now, without the processes that are just being started.
func (s *Service) Save(ctx context.Context) (saved Saved, err error) {
	err = s.wait(ctx, func() chan error { saved = s.save(); return answer(nil) })
	return saved, err
}

// Ping returns when the service's goroutine has answered.
func (s *Service) Ping(ctx context.Context) error {
	return s.wait(ctx, func() chan error { return answer(nil) })
}

// Freeze waits until no process is being started and then keeps the service from doing anything until thaw is called. The caller holds the reaper, and owns the
// notification descriptor in what is returned.
func (s *Service) Freeze(ctx context.Context) (saved Saved, thaw func(), err error) {
	s.notify.Pause() // what was read is in the queue before what is posted now
	got, over := make(chan Saved, 1), make(chan struct{})
	thaw = func() { close(over); s.notify.GoOn() }
	var attempt func()
	attempt = func() {
		select {
		case <-over:
			return
		default:
		}
		for _, in := range s.instances {
			if in.proc == nil {
				time.AfterFunc(retryFreeze, func() { s.post(attempt) })
				return
			}
		}
		got <- s.save()
		<-over
	}
	if !s.post(attempt) {
		thaw()
		return saved, nil, ErrClosed
	}
	select {
	case saved = <-got:
	case <-ctx.Done():
		thaw()
		return saved, nil, fmt.Errorf("%s is still starting a process: %w", s.name, ctx.Err())
	}
	if saved.NotifyFD, err = s.notify.Duplicate(); err != nil {
		thaw()
		return saved, nil, fmt.Errorf("cannot hand over the notification socket of %s: %v", s.name, err)
	}
	return saved, thaw, nil
}

func (s *Service) save() Saved {
	m := s.m
	out := Saved{
		Name: s.name, Zero: exec.BootTime() - time.Since(s.began), Since: s.since, Shown: s.shown, Status: s.status, NotifyFD: -1,
		Hits: SavedHits{Counters: s.hits.Counters, Restarts: s.hits.restarts},
		Machine: SavedMachine{
			State: m.state, Reason: m.reason, Wanted: m.wanted, Current: m.current, Next: m.next, Old: slices.Sorted(maps.Keys(m.old)), LastID: m.lastID,
			Failures: m.failures, Restarts: m.restarts, IsReady: m.isReady, ReadyAt: m.readyAt, NextStart: m.nextStart, Cause: maps.Clone(m.cause), LastExit: m.lastExit,
		},
	}
	s.latency.mu.Lock()
	out.Restarts, out.Readys = slices.Clone(s.latency.restarts.ring), slices.Clone(s.latency.readys.ring)
	s.latency.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.instances)) {
		if in := s.instances[id]; in.proc != nil {
			out.Instances = append(out.Instances, in.save())
		}
	}
	return out
}

func (in *instance) save() SavedInstance {
	saved := SavedInstance{
		ID: in.id, PID: in.proc.PID(), StartTime: in.startTime, Forked: in.forked, Executed: in.executed, Lacking: in.lacking, Ready: in.ready, Told: in.told.Load(), Fed: in.fed,
		Ending: int(in.ending), Asked: in.asked, Dumped: in.dumped, Stop: in.plan.Stop, Notify: in.plan.Ready.Notify, Timeout: in.plan.Ready.Timeout,
		Watchdog: in.plan.Watchdog, FromStart: in.plan.WatchdogFromStart, Limits: in.plan.Limits, Layers: in.plan.layers, Seen: in.seen,
	}
	for _, st := range in.streams {
		if st.spool != nil {
			saved.Spools = append(saved.Spools, st.spool.SavedSpool)
		}
	}
	return saved
}
