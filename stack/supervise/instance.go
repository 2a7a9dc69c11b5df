package supervise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/exec/shim"
	"github.com/sentinel-stack/sentinel/stack/limits"
	"github.com/sentinel-stack/sentinel/stack/ready"
	"github.com/sentinel-stack/sentinel/stack/reap"
)

// dumpGrace is how long a process may take to print its stacks after QUIT before it is killed.
const dumpGrace = 2 * time.Second

// healthInterval is the pause between two health probes of a service that is probed.
const healthInterval = 10 * time.Second

// maxUnanswered is after how many probes in a row without an answer a service counts as hung, when its Readiness says so.
const maxUnanswered = 3

// instance is one process of a service with its timers. Everything but run belongs to the service's goroutine.
type instance struct {
	id      int
	plan    *prepared
	proc    *exec.Process // nil until it was executed
	tree    *reap.Tree
	group   *limits.Group
	streams []stream
	watched
	cancel context.CancelFunc // ends its probes
	timers []*time.Timer
	feed   *time.Timer // watchdog, nil = not armed
	fed    bool        // it has shown that it feeds the watchdog
	told   atomic.Bool // it has said itself that it is ready: it needs no probing
	ready  bool
	ending ending    // what is to be done as soon as the process exists
	asked  time.Time // when it was asked to end
	dumped time.Time // when it was asked for its stacks

	forked, executed time.Time
	lacking          []string // layers of its sandbox
	startTime        uint64   // in clock ticks since boot: with the pid it names the process for good
}

type ending int

const (
	endNot ending = iota
	endTerminate
	endKill
)

// outcome of starting, sent to the service's goroutine.
type outcome struct {
	proc   *exec.Process
	tree   *reap.Tree
	group  *limits.Group
	timing exec.Timing

	streams []stream
}

// run lives as long as the process: it starts it, waits for it, kills what it left behind and reports.
func (s *Service) run(in *instance) {
	defer s.running.Done()
	out, logs, err := s.spawn(in)
	if err != nil {
		var e *exec.Error
		permanent := in.plan.Problem != "" || errors.As(err, &e) && e.Permanent()
		s.post(func() {
			s.ended(in, event{kind: evSpawnFailed, id: in.id, permanent: permanent, reason: err.Error()}, time.Now())
		})
		return
	}
	s.post(func() { s.executed(in, out) })
	s.stayWith(in, out)
	for _, done := range logs {
		<-done
	}
}

// stayWith waits for the end of a process, kills what it left behind and reports.
func (s *Service) stayWith(in *instance, out outcome) {
	waitErr := out.proc.Wait()
	exitAt := time.Now()
	s.deps.Reaper.Ending(func() {
		out.tree.Kill(out.proc.PID()) // before reaping: the number is still its own
		exit, err := out.proc.Reap()
		s.deps.Reaper.Forget(out.proc.PID())
		e := event{kind: evExited, id: in.id, ok: exit.Success(), reason: exit.String()}
		if err = errors.Join(waitErr, err); err != nil {
			e.reason = fmt.Sprintf("cannot wait for it: %v", err)
		}
		counters := out.group.Counters()
		s.post(func() { // a restart does not wait for what dies now
			s.leaving++
			if e.limit = in.exceeded; e.limit == "" && !e.ok && in.ending == endNot {
				e.limit = out.group.Blame(in.seen, counters)
			}
			s.counted(in, counters)
			s.ended(in, e, exitAt)
		})
	})
	if out.tree.How() != reap.ByCgroup {
		out.group.Kill()
	}
	if err := errors.Join(out.tree.Close(), out.group.Close()); err != nil {
		s.deps.Note("warn", fmt.Sprintf("%s: %v", s.name, err))
	}
	for _, st := range out.streams {
		st.finish() // nobody is left who could write
	}
	s.post(func() { s.leaving--; s.tell() })
}

// spawn starts the process with its pipes. On error nothing is left.
func (s *Service) spawn(in *instance) (o outcome, logs []<-chan struct{}, err error) {
	if in.plan.Problem != "" {
		return o, nil, errors.New(in.plan.Problem)
	}
	tree, err := s.deps.Forest.New(fmt.Sprintf("%s.%d", s.name, in.id))
	if err != nil {
		return o, nil, err
	}
	group, err := s.deps.Limits.Group(fmt.Sprintf("%s.%d", s.name, in.id), tree.Dir(), in.plan.Limits, in.plan.layers)
	if err != nil {
		tree.Close()
		return o, nil, err
	}
	defer group.Joined()
	defer func() {
		if err != nil {
			tree.Close()
			group.Close()
		}
	}()
	streams, write, err := s.outputs(in)
	if err != nil {
		return o, nil, err
	}
	output := exec.Output{Stdin: s.deps.Null, Stdout: write[0], Stderr: write[1]}
	s.deps.Reaper.Start(func() int {
		if o.proc, o.timing, err = s.deps.Launcher.Start(in.plan.program, output, tree.FD(), group.Joins()...); err != nil {
			return 0
		}
		return o.proc.PID()
	})
	for i := range streams {
		unix.Close(write[i])
		if err != nil {
			streams[i].abandon()
			continue
		}
		logs = append(logs, streams[i].read(s))
	}
	if err != nil {
		return o, nil, err
	}
	o.streams = streams
	o.tree, o.group = tree, group
	return o, logs, nil
}

// after sends an event about the instance unless the instance has ended before.
func (s *Service) after(in *instance, d time.Duration, fn func()) {
	in.timers = append(in.timers, time.AfterFunc(d, func() {
		s.post(func() {
			if s.instances[in.id] == in {
				fn()
			}
		})
	}))
}

// executed notes that the program runs.
func (s *Service) executed(in *instance, o outcome) {
	in.plan.release()
	in.proc, in.tree, in.group, in.streams = o.proc, o.tree, o.group, o.streams
	in.startTime, _ = exec.StartTime(in.proc.PID())
	in.forked, in.executed = o.timing.Forked, o.timing.Executed
	s.lacks(in, o.timing.Skipped)
	if !s.exitedAt.IsZero() {
		s.latency.restart(in.executed.Sub(s.exitedAt))
		s.exitedAt = time.Time{}
	}
	switch {
	case in.ending == endTerminate:
		s.terminate(in)
	case in.ending == endKill:
		s.kill(in)
	}
	s.accompany(in, in.plan.Ready.Timeout)
	early := s.early
	s.early = nil
	for _, r := range early {
		s.report(r)
	}
	s.publish()
}

// lacks notes the layers of its sandbox that the process has to do without, and says so once for all its instances.
func (s *Service) lacks(in *instance, skipped []shim.Skipped) {
	for _, l := range skipped {
		in.lacking = append(in.lacking, l.Layer+": "+l.Errno.Error())
	}
	if told := strings.Join(in.lacking, ", "); told != s.lackTold {
		s.lackTold = told
		if told != "" {
			s.deps.Note("warn", fmt.Sprintf("%s: this host does not have all layers of its sandbox: %s", s.name, told))
		}
	}
}

// accompany starts what goes along with a running process: its watchdog, probes and the watch over its limits. It is to be ready within the given time.
func (s *Service) accompany(in *instance, within time.Duration) {
	s.armWatchdog(in)
	ctx, cancel := context.WithCancel(context.Background())
	in.cancel = cancel
	if in.group.Watched() {
		s.running.Add(1)
		go s.watch(ctx, in)
	}
	if in.plan.Ready.Probe != nil {
		s.running.Add(1)
		go s.probe(ctx, in)
	} else if !in.plan.Ready.Notify {
		s.becameReady(in)
	}
	if in.plan.Ready.Timeout > 0 && !in.ready {
		s.after(in, within, func() {
			if !in.ready {
				s.apply(event{kind: evReadyTimeout, id: in.id, reason: fmt.Sprintf("not ready within %v%s%s", in.plan.Ready.Timeout, s.probeHint(), in.hint())})
			}
		})
	}
}

// probe asks until the instance is ready and then at intervals whether it still is.
func (s *Service) probe(ctx context.Context, in *instance) {
	defer s.running.Done()
	pid := in.proc.PID()
	if err := ready.Wait(ctx, pid, func(ctx context.Context, pid int) error {
		err := in.plan.Ready.Probe(ctx, pid)
		if err != nil && ctx.Err() == nil {
			s.post(func() { s.lastProbe = err.Error() })
		}
		return err
	}); err != nil {
		return // the instance has ended
	}
	s.post(func() { s.becameReady(in) })
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for unanswered := 0; !in.told.Load(); {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		attempt, cancel := context.WithTimeout(ctx, healthInterval/2)
		err := in.plan.Ready.Probe(attempt, pid)
		cancel()
		if ctx.Err() != nil {
			return
		}
		e := event{kind: evHealth, id: in.id, ok: err == nil}
		if unanswered++; err == nil {
			unanswered = 0
		} else {
			e.reason = err.Error()
		}
		s.post(func() { s.apply(e) })
		if unanswered == maxUnanswered && in.plan.Ready.RestartHung {
			s.post(func() {
				s.apply(event{kind: evWatchdog, id: in.id, reason: fmt.Sprintf("%d health probes in a row failed: %s", maxUnanswered, e.reason)})
			})
		}
	}
}

func (s *Service) probeHint() string {
	if s.lastProbe == "" {
		return ""
	}
	return ": " + s.lastProbe
}

// becameReady is called for the report, the probe or the mere start, whichever comes first.
func (s *Service) becameReady(in *instance) {
	if in.ready || s.instances[in.id] != in {
		return
	}
	in.ready = true
	s.latency.ready(time.Since(in.executed))
	s.armWatchdog(in)
	if in.id == s.m.next && s.m.current != 0 && s.trial > 0 {
		s.after(in, s.trial, func() { s.apply(event{kind: evReady, id: in.id}) })
		s.publish()
		return
	}
	s.apply(event{kind: evReady, id: in.id})
}

// armWatchdog starts or feeds the watchdog. A program that never fed it is watched only when its Spec says that it knows how.
func (s *Service) armWatchdog(in *instance) {
	switch d := in.plan.Watchdog; {
	case d <= 0:
	case in.feed != nil:
		in.feed.Reset(d)
	case in.plan.WatchdogFromStart || in.fed:
		in.feed = time.AfterFunc(d, func() {
			s.post(func() {
				if s.instances[in.id] == in {
					s.apply(event{kind: evWatchdog, id: in.id, reason: fmt.Sprintf("no sign of life for %v%s", d, in.hint())})
				}
			})
		})
	}
}

// terminate asks nicely, then for the stacks, then kills.
func (s *Service) terminate(in *instance) {
	in.ending = max(in.ending, endTerminate)
	if in.proc == nil {
		return // executed comes back to it
	}
	sig := in.plan.Stop.Signal
	if sig == 0 {
		sig = unix.SIGTERM
	}
	s.signal(in, sig)
	in.asked = time.Now()
	s.after(in, in.plan.Stop.Timeout, func() { s.dump(in) })
}

// dump has a Go program print its goroutines, which says why it does not end; then it is killed.
func (s *Service) dump(in *instance) {
	s.signal(in, unix.SIGQUIT)
	in.dumped = time.Now()
	s.after(in, dumpGrace, func() { s.kill(in) })
}

func (s *Service) kill(in *instance) {
	in.ending = endKill
	if in.proc != nil {
		in.tree.Kill(in.proc.PID())
		in.proc.Kill()
	}
}

func (s *Service) signal(in *instance, sig syscall.Signal) {
	if in.proc == nil {
		return
	}
	if err := in.proc.Signal(sig); err != nil {
		s.deps.Note("error", fmt.Sprintf("%s: cannot signal: %v", s.name, err))
	}
}

// latencies keeps the newest samples of both figures.
type latencies struct {
	mu               sync.Mutex
	restarts, readys samples
}

func (l *latencies) restart(d time.Duration) { l.mu.Lock(); l.restarts.add(d); l.mu.Unlock() }
func (l *latencies) ready(d time.Duration)   { l.mu.Lock(); l.readys.add(d); l.mu.Unlock() }
