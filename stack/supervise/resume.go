package supervise

import (
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/ready"
)

// Resumed is a service that was taken over and does nothing yet: either Go or Detach comes next.
type Resumed struct {
	*Service
	alive []attached
	gone  []*instance // have ended meanwhile
}

type attached struct {
	in *instance
	outcome
}

// Resume takes over a service. The processes must be registered with the reaper when they are this process's children.
func Resume(kind string, spec Spec, d Deps, saved Saved) (r *Resumed, err error) {
	s := blank(saved.Name, kind, spec, d)
	s.began = time.Now().Add(saved.Zero - exec.BootTime())
	s.since, s.last, s.shown, s.status = saved.Since, saved.Machine.State, saved.Shown, saved.Status
	s.hits = hits{Counters: saved.Hits.Counters, restarts: saved.Hits.Restarts}
	for _, l := range saved.Restarts {
		s.latency.restart(l)
	}
	for _, l := range saved.Readys {
		s.latency.ready(l)
	}
	s.m.resume(saved.Machine)
	if err := s.listen(saved.NotifyFD); err != nil {
		return nil, err
	}
	if s.plan, err = s.prepare(spec); err != nil {
		s.notify.Close()
		return nil, err
	}
	r = &Resumed{Service: s}
	for _, in := range saved.Instances {
		if err := r.attach(&saved, in); err != nil {
			r.Detach()
			return nil, err
		}
	}
	for _, id := range s.m.instances() { // one whose start was not noted in time
		if s.instances[id] == nil {
			s.instances[id] = &instance{id: id, plan: s.plan.acquire()}
			r.gone = append(r.gone, s.instances[id])
		}
	}
	return r, nil
}

func (s *Service) listen(fd int) (err error) {
	report := func(r ready.Report) { s.post(func() { s.report(r) }) }
	path := filepath.Join(s.deps.NotifyDir, strings.ReplaceAll(s.name, "/", "_"))
	if fd < 0 {
		s.notify, err = ready.NewReceiver(path, report)
	} else {
		s.notify, err = ready.ResumeReceiver(fd, path, report)
	}
	return err
}

func (m *machine) resume(s SavedMachine) {
	m.state, m.reason, m.wanted, m.current, m.next, m.lastID = s.State, s.Reason, s.Wanted, s.Current, s.Next, s.LastID
	m.failures, m.restarts, m.isReady, m.readyAt, m.nextStart, m.lastExit = s.Failures, s.Restarts, s.IsReady, s.ReadyAt, s.NextStart, s.LastExit
	for _, id := range s.Old {
		m.old[id] = true
	}
	for id, cause := range s.Cause {
		m.cause[id] = cause
	}
}

// attach takes hold of one process. That it has ended is no error.
func (r *Resumed) attach(saved *Saved, was SavedInstance) error {
	s := r.Service
	plan := &prepared{Spec: s.plan.Spec, layers: was.Layers}
	plan.Stop, plan.Limits, plan.Watchdog, plan.WatchdogFromStart = was.Stop, was.Limits, was.Watchdog, was.FromStart
	plan.Ready.Notify, plan.Ready.Timeout = was.Notify, was.Timeout
	in := &instance{id: was.ID, plan: plan, ready: was.Ready, ending: ending(was.Ending), asked: was.Asked, dumped: was.Dumped, forked: was.Forked, executed: was.Executed, lacking: was.Lacking, startTime: was.StartTime}
	in.fed, in.seen = was.Fed, was.Seen
	in.told.Store(was.Told)
	s.instances[in.id] = in
	proc, err := exec.Attach(was.PID, was.StartTime)
	if errors.Is(err, exec.ErrGone) {
		r.gone = append(r.gone, in)
		return nil
	}
	if err != nil {
		return err
	}
	tree, err := s.deps.Forest.Attach(saved.TreeID(was), proc.Alien())
	if err != nil {
		proc.Detach()
		return err
	}
	if !tree.Holds(was.PID) && proc.Alien() { // a process that left its group could be anybody's
		proc.Detach()
		tree.Detach()
		r.gone = append(r.gone, in)
		return nil
	}
	for _, saved := range was.Spools {
		if spool, err := logs.OpenSpool(saved); err != nil { // a service whose output is lost still serves
			s.deps.Note("warn", err.Error())
		} else {
			in.streams = append(in.streams, stream{name: saved.Stream, spool: spool})
		}
	}
	if proc.Alien() && !in.ready && plan.Ready.Probe == nil {
		plan.Ready.Probe = plan.Ready.Again
	}
	in.proc, in.tree = proc, tree
	in.group = s.deps.Limits.Attach(saved.TreeID(was), tree.Dir(), was.Limits, was.Layers)
	r.alive = append(r.alive, attached{in, outcome{proc: proc, tree: tree, group: in.group, streams: in.streams}})
	return nil
}

// Running counts the processes that were found alive.
func (r *Resumed) Running() int { return len(r.alive) }

// Detach lets go of everything; the processes run on.
func (r *Resumed) Detach() {
	close(r.done) // nobody works
	for _, o := range r.alive {
		o.proc.Detach()
		o.tree.Detach()
		for _, st := range o.streams {
			st.spool.Detach()
		}
	}
	r.notify.Abandon()
	r.plan.retire()
}

// Go begins to supervise.
func (r *Resumed) Go() *Service {
	s := r.Service
	s.publish()
	for _, a := range r.alive {
		for _, st := range a.streams {
			st.read(s)
		}
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			s.stayWith(a.in, a.outcome)
		}()
	}
	go s.loop()
	s.notify.Start()
	s.post(func() { s.goOn(r) })
	return s
}

// goOn does what was to be done when the last supervisor ended.
func (s *Service) goOn(r *Resumed) {
	now := time.Now()
	for _, a := range r.alive {
		in := a.in
		if s.instances[in.id] != in {
			continue
		}
		s.accompany(in, max(0, in.executed.Add(in.plan.Ready.Timeout).Sub(now)))
		if in.id == s.m.next && in.ready && in.ending == endNot { // nobody knows how the trial went
			s.apply(event{kind: evLimit, id: in.id, reason: "the supervisor was replaced during its trial"})
			continue
		}
		switch {
		case in.ending == endKill:
			s.kill(in)
		case !in.dumped.IsZero():
			s.after(in, max(0, in.dumped.Add(dumpGrace).Sub(now)), func() { s.kill(in) })
		case in.ending == endTerminate:
			s.after(in, max(0, in.asked.Add(in.plan.Stop.Timeout).Sub(now)), func() { s.dump(in) })
		}
	}
	for _, in := range r.gone {
		s.ended(in, event{kind: evExited, id: in.id, reason: "it ended while no supervisor ran, exit status unknown"}, now)
	}
	if st := s.m.state; st == Backoff || st == Quarantined {
		s.act(action{kind: actArm, delay: max(0, s.m.nextStart-time.Since(s.began))})
	}
	s.publish()
}
