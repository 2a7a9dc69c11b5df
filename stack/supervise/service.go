package supervise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/ready"
	"github.com/sentinel-stack/sentinel/stack/reap"
)

// Spec is everything about how a service is run.
type Spec struct {
	Command           exec.Command // its Env is complete but for NOTIFY_SOCKET and WATCHDOG_USEC, which the service adds
	Problem           string       // why the command cannot be run at all, "" = it can
	Policy            Policy
	Stop              Stop
	Ready             Readiness
	Overlap           bool          // a second instance may run beside the first, so that a replacement is ready before the old one drains
	Watchdog          time.Duration // 0 = none
	WatchdogFromStart bool          // the program is known to feed it; others are watched from their first feed on
}

// Stop says how a process is asked to end.
type Stop struct {
	Signal  syscall.Signal // 0 = TERM
	Timeout time.Duration  // then QUIT, and soon after KILL
}

// Readiness says how a service becomes ready; with neither Notify nor Probe it is ready when it was executed.
type Readiness struct {
	Notify  bool        // it sends READY=1
	Probe   ready.Probe // it is asked; with Notify, whichever comes first
	Timeout time.Duration

	RestartHung bool // a service that no longer answers its probe is restarted, rather than only shown as degraded
}

// Deps is what all services share. All fields are required.
type Deps struct {
	Launcher  *exec.Launcher
	Reaper    *reap.Reaper
	Forest    *reap.Forest
	Logs      *logs.Store
	Null      int    // /dev/null, for standard input
	NotifyDir string // where the notification sockets live
	OnEvent   func(api.Event)
	Note      func(level, text string) // the supervisor's own log
}

// Service is one supervised service. Its methods are safe for concurrent use.
type Service struct {
	name, kind string
	deps       Deps
	notify     *ready.Receiver
	began      time.Time // zero of the machine's clock
	work       chan func()
	stop       chan struct{}
	done       chan struct{}
	running    sync.WaitGroup // goroutines of instances
	snapshot   atomic.Pointer[api.Service]
	latency    latencies

	// Below belongs to the service's goroutine.
	m         *machine
	plan      *prepared // of instances started from now on
	staged    *prepared // of the next instance while a replacement runs
	instances map[int]*instance
	early     []ready.Report // came before the start was reported
	timer     *time.Timer
	waiters   []waiter
	replacers []chan error
	answers   []func() // to callers, after the snapshot was published
	since     time.Time
	last      State
	exitedAt  time.Time // of the last current instance, until the next was executed
	status    string    // STATUS= of the current instance
	lastProbe string
	leaving   int // instances that have ended and whose killed descendants may not be gone yet
}

// prepared is a spec made ready to be started. Its program is closed when it is retired and no start uses it.
type prepared struct {
	Spec
	program *exec.Program
	users   int
	retired bool
}

func (p *prepared) acquire() *prepared { p.users++; return p }

func (p *prepared) release() {
	if p.users--; p.users == 0 && p.retired {
		p.program.Close()
	}
}

func (p *prepared) retire() {
	if p.retired = true; p.users == 0 {
		p.program.Close()
	}
}

// waiter is told once check says so.
type waiter struct {
	check func(*machine) (bool, error)
	done  chan error
}

// ErrClosed is returned by calls on a service whose Close was called.
var ErrClosed = errors.New("the service is closed")

// New makes a service in state stopped. Close it when it has been stopped.
func New(name, kind string, spec Spec, d Deps) (*Service, error) {
	s := &Service{
		name: name, kind: kind, deps: d, began: time.Now(), since: time.Now(), last: Stopped,
		work: make(chan func(), 64), stop: make(chan struct{}), done: make(chan struct{}), instances: map[int]*instance{},
		m: newMachine(spec.Policy, rand.Float64),
	}
	var err error
	s.notify, err = ready.NewReceiver(filepath.Join(d.NotifyDir, name), func(r ready.Report) { s.post(func() { s.report(r) }) })
	if err != nil {
		return nil, err
	}
	if s.plan, err = s.prepare(spec); err != nil {
		s.notify.Close()
		return nil, err
	}
	s.publish()
	go s.loop()
	return s, nil
}

// prepare encodes the command with what only the service knows.
func (s *Service) prepare(spec Spec) (*prepared, error) {
	c := spec.Command
	c.Env = append(c.Env[:len(c.Env):len(c.Env)], "NOTIFY_SOCKET="+s.notify.Path())
	if spec.Watchdog > 0 {
		c.Env = append(c.Env, fmt.Sprintf("WATCHDOG_USEC=%d", spec.Watchdog.Microseconds()))
	}
	p, err := exec.Prepare(c)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare %s: %v", s.name, err)
	}
	return &prepared{Spec: spec, program: p}, nil
}

// Name of the service.
func (s *Service) Name() string { return s.name }

// Kind of the service: proxy, agent or service.
func (s *Service) Kind() string { return s.kind }

// Start starts the service and waits until it is ready or has failed for the first time; it is then retried in the background.
func (s *Service) Start(ctx context.Context) error {
	return s.wait(ctx, func() chan error {
		s.start()
		return s.await(untilReady)
	})
}

// Stop stops the service and waits until all its processes are gone.
func (s *Service) Stop(ctx context.Context) error {
	return s.wait(ctx, func() chan error {
		s.apply(event{kind: evStop})
		return s.await(func(m *machine) (bool, error) { return m.state == Stopped && s.leaving == 0, nil })
	})
}

// Restart replaces the current instance: the new one is ready before the old one is asked to drain. A new one that does not become ready is killed, the
// old one stays and the error says why.
func (s *Service) Restart(ctx context.Context) error {
	switch overlap, err := s.overlaps(ctx); {
	case err != nil:
		return err
	case !overlap:
		return s.stopAndStart(ctx, nil)
	}
	return s.replaceWith(ctx, nil)
}

// Replace is Restart with a new spec, which is kept only when the new instance became ready.
func (s *Service) Replace(ctx context.Context, spec Spec) error {
	st, err := s.prepare(spec)
	if err != nil {
		return err
	}
	switch overlap, err := s.overlaps(ctx); {
	case err != nil:
		return err
	case !overlap || !spec.Overlap:
		return s.stopAndStart(ctx, st)
	}
	return s.replaceWith(ctx, st)
}

func (s *Service) overlaps(ctx context.Context) (overlap bool, err error) {
	err = s.wait(ctx, func() chan error { overlap = s.plan.Overlap; return answer(nil) })
	return overlap, err
}

// stopAndStart replaces a service of which only one instance may run. When the new one does not become ready the old spec is started again.
func (s *Service) stopAndStart(ctx context.Context, st *prepared) error {
	if err := s.Stop(ctx); err != nil {
		return err
	}
	var was Spec
	if st != nil {
		if err := s.wait(ctx, func() chan error { was = s.plan.Spec; s.commit(st); return answer(nil) }); err != nil {
			return err
		}
	}
	err := s.Start(ctx)
	if err == nil || st == nil {
		return err
	}
	back := context.WithoutCancel(ctx)
	s.Stop(back)
	return errors.Join(err, s.Update(back, was), s.Start(back))
}

// Update sets the spec for instances started from now on; the current one is left alone.
func (s *Service) Update(ctx context.Context, spec Spec) error {
	st, err := s.prepare(spec)
	if err != nil {
		return err
	}
	return s.wait(ctx, func() chan error {
		s.commit(st)
		return answer(nil)
	})
}

func (s *Service) replaceWith(ctx context.Context, st *prepared) error {
	return s.wait(ctx, func() chan error {
		switch {
		case s.m.state == Stopping, s.m.next != 0:
			if st != nil {
				st.retire()
			}
			return answer(fmt.Errorf("cannot replace %s: %s is under way", s.name, map[bool]string{true: "a stop", false: "another replacement"}[s.m.state == Stopping]))
		case s.m.current == 0: // nothing runs: start with the new spec
			if st != nil {
				s.commit(st)
			}
			s.start()
			return s.await(untilReady)
		}
		done := make(chan error, 1)
		s.staged = st
		s.replacers = append(s.replacers, done)
		s.apply(event{kind: evReplace})
		return done
	})
}

// start begins a life that somebody asked for: what came before does not count as restart latency.
func (s *Service) start() {
	s.exitedAt = time.Time{}
	s.apply(event{kind: evStart})
}

// commit makes st the spec of the service.
func (s *Service) commit(st *prepared) {
	s.plan.retire()
	s.plan = st
	s.m.policy = st.Policy
}

func answer(err error) chan error {
	done := make(chan error, 1)
	done <- err
	return done
}

func untilReady(m *machine) (bool, error) {
	switch m.state {
	case Ready, Degraded:
		return true, nil
	case Backoff, Quarantined, Failed, Stopped:
		return true, fmt.Errorf("%s: %s", m.state, m.reason)
	}
	return false, nil
}

// Snapshot is the service as of its last change.
func (s *Service) Snapshot() api.Service {
	snap := *s.snapshot.Load()
	s.latency.mu.Lock()
	snap.RestartP50Micros = s.latency.restarts.median().Microseconds()
	snap.ReadyP50Micros = s.latency.readys.median().Microseconds()
	s.latency.mu.Unlock()
	return snap
}

// Signal sends sig to every process the service was started as.
func (s *Service) Signal(ctx context.Context, sig syscall.Signal) error {
	return s.wait(ctx, func() chan error {
		for _, in := range s.instances {
			s.signal(in, sig)
		}
		return answer(nil)
	})
}

// Close releases the service. Stop comes first; processes that still run are killed.
func (s *Service) Close() {
	close(s.stop)
	<-s.done
	s.notify.Close()
}

// wait runs fn on the service's goroutine and waits for the channel it returns.
func (s *Service) wait(ctx context.Context, fn func() chan error) error {
	got := make(chan chan error, 1)
	if !s.post(func() { got <- fn() }) {
		return ErrClosed
	}
	var done chan error
	select {
	case done = <-got:
	case <-s.done:
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s is still %s: %w", s.name, s.Snapshot().State, ctx.Err())
	case <-s.done:
		return ErrClosed
	}
}

// post hands work to the service's goroutine; false when that has ended.
func (s *Service) post(fn func()) bool {
	select {
	case s.work <- fn:
		return true
	case <-s.done:
		return false
	}
}

func (s *Service) loop() {
	defer close(s.done)
	for {
		select {
		case fn := <-s.work:
			fn()
		case <-s.stop:
			s.shutdown()
			return
		}
	}
}

// shutdown kills what still runs and works until the last goroutine of an instance has reported.
func (s *Service) shutdown() {
	s.disarm()
	s.apply(event{kind: evStop})
	for _, in := range s.instances {
		s.kill(in)
	}
	idle := make(chan struct{})
	go func() { s.running.Wait(); close(idle) }()
	for {
		select {
		case fn := <-s.work:
			fn()
		case <-idle:
			s.settle()
			return
		}
	}
}

// settle does the work that was posted before the last goroutine ended, and waits for what that started.
func (s *Service) settle() {
	for {
		select {
		case fn := <-s.work:
			fn()
			continue
		default:
		}
		s.running.Wait()
		s.plan.retire()
		return
	}
}

// apply sends an event through the machine and does what it says.
func (s *Service) apply(e event) {
	for _, a := range s.m.transition(time.Since(s.began), e) {
		s.act(a)
	}
	s.publish()
	for _, tell := range s.answers { // only now does the snapshot show what the caller is told
		tell()
	}
	s.answers = nil
	s.tell()
}

// tell answers those whose wait is over.
func (s *Service) tell() {
	kept := s.waiters[:0]
	for _, w := range s.waiters {
		if ok, err := w.check(s.m); ok {
			w.done <- err
		} else {
			kept = append(kept, w)
		}
	}
	s.waiters = kept
}

func (s *Service) await(check func(*machine) (bool, error)) chan error {
	done := make(chan error, 1)
	if ok, err := check(s.m); ok {
		done <- err
	} else {
		s.waiters = append(s.waiters, waiter{check, done})
	}
	return done
}

func (s *Service) act(a action) {
	switch a.kind {
	case actSpawn:
		in := &instance{id: a.id, plan: s.plan}
		if a.id == s.m.next && s.staged != nil {
			in.plan = s.staged
		}
		in.plan.acquire()
		s.instances[a.id] = in
		s.lastProbe = ""
		s.running.Add(1)
		go s.run(in)
	case actTerminate:
		s.terminate(s.instances[a.id])
	case actKill:
		s.kill(s.instances[a.id])
	case actDump:
		s.dump(s.instances[a.id])
	case actArm:
		s.exitedAt = s.exitedAt.Add(a.delay) // the wait is not latency
		s.timer = time.AfterFunc(a.delay, func() { s.post(func() { s.apply(event{kind: evTimer}) }) })
	case actDisarm:
		s.disarm()
	case actReplaced:
		s.replaced(a.reason)
	}
}

func (s *Service) disarm() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

// replaced keeps or drops the staged spec and tells who asked.
func (s *Service) replaced(reason string) {
	var err error
	if reason != "" {
		err = fmt.Errorf("the new instance of %s did not become ready: %s", s.name, reason)
	}
	if st := s.staged; st != nil && s.m.next == 0 {
		s.staged = nil
		if err == nil {
			s.commit(st)
		} else {
			st.retire()
		}
	}
	for _, done := range s.replacers {
		s.answers = append(s.answers, func() { done <- err })
	}
	s.replacers = nil
}

// ended forgets an instance and tells the machine.
func (s *Service) ended(in *instance, e event, at time.Time) {
	for _, t := range in.timers {
		t.Stop()
	}
	if in.feed != nil {
		in.feed.Stop()
	}
	if in.cancel != nil {
		in.cancel()
	}
	if in.proc == nil {
		in.plan.release()
	}
	delete(s.instances, in.id)
	if in.id == s.m.current {
		s.exitedAt, s.status = at, ""
	}
	s.apply(e)
	if st := s.m.state; st != Starting && st != Backoff && st != Quarantined {
		s.exitedAt = time.Time{}
	}
}

// maxEarly bounds the reports kept from processes that are not known yet.
const maxEarly = 16

// report believes only the processes this service was started as.
func (s *Service) report(r ready.Report) {
	var from *instance
	starting := false
	for _, in := range s.instances {
		if in.proc == nil {
			starting = true
		} else if in.proc.PID() == r.PID {
			from = in
		}
	}
	if from == nil {
		if starting && len(s.early) < maxEarly {
			s.early = append(s.early, r)
		}
		return
	}
	if r.Watchdog {
		from.fed = true
		s.armWatchdog(from)
	}
	if r.Status != "" && from.id == s.m.current {
		s.status = r.Status
		s.publish()
	}
	if r.Ready && from.plan.Ready.Notify {
		from.told.Store(true)
		s.becameReady(from)
	}
}

// publish makes the snapshot and reports a change of state.
func (s *Service) publish() {
	m := s.m
	if m.state != s.last {
		s.since = time.Now()
		s.deps.OnEvent(api.Event{Time: s.since, Service: s.name, Kind: "state", From: string(s.last), To: string(m.state), Reason: m.reason})
		s.last = m.state
	}
	snap := &api.Service{
		Name: s.name, Kind: s.kind, State: string(m.state), Reason: m.reason, Since: s.since, Restarts: m.restarts, LastExit: m.lastExit, Kill: reap.ByGroup,
	}
	if snap.Reason == "" && (m.state == Ready || m.state == Starting) {
		snap.Reason = s.status
	}
	if in := s.instances[m.current]; in != nil && in.proc != nil {
		snap.PID, snap.Started = in.proc.PID(), in.executed
	}
	if s.deps.Forest.Why() == "" {
		snap.Kill = reap.ByCgroup
	}
	if m.state == Backoff || m.state == Quarantined {
		snap.NextStart = s.began.Add(m.nextStart)
	}
	s.snapshot.Store(snap)
}

// OpenNull opens what services get as standard input.
func OpenNull() (*os.File, error) { return os.Open(os.DevNull) }
