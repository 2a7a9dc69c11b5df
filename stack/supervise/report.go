package supervise

import (
	"fmt"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/limits"
	"github.com/sentinel-stack/sentinel/stack/ready"
	"github.com/sentinel-stack/sentinel/stack/reap"
)

// Snapshot is the service as of its last change.
func (s *Service) Snapshot() api.Service {
	snap := *s.snapshot.Load()
	s.latency.mu.Lock()
	restart, slowest := s.latency.restarts.quantiles()
	ready, _ := s.latency.readys.quantiles()
	s.latency.mu.Unlock()
	snap.RestartP50Micros, snap.RestartP99Micros, snap.ReadyP50Micros = restart.Microseconds(), slowest.Microseconds(), ready.Microseconds()
	return snap
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
	if s.shown != m.current && m.state == Ready { // another process in the same state
		s.since = time.Now()
	}
	s.shown = m.current
	snap := &api.Service{
		Name: s.name, Kind: s.kind, State: string(m.state), Reason: m.reason, Since: s.since, Restarts: m.restarts, LastExit: m.lastExit, Kill: reap.ByGroup,
	}
	if snap.Reason == "" && (m.state == Ready || m.state == Starting) {
		snap.Reason = s.status
	}
	if in := s.instances[m.current]; in != nil && in.strain != "" && m.state != Stopping {
		snap.Reason = in.strain
	}
	if next := s.instances[m.next]; next != nil && next.ready && m.state != Stopping {
		snap.Reason = fmt.Sprintf("a new process, pid %d, is on trial", next.proc.PID())
	}
	if n := len(m.old); n > 0 && m.state == Ready {
		snap.Reason = fmt.Sprintf("%d old process still drains", n)
		if n > 1 {
			snap.Reason = fmt.Sprintf("%d old processes still drain", n)
		}
	}
	if in := s.instances[m.current]; in != nil && in.proc != nil {
		snap.PID, snap.Started, snap.Adopted = in.proc.PID(), in.executed, in.proc.Alien()
		snap.SandboxLacks = in.lacking
	}
	s.showLimits(snap)
	if s.deps.Forest.Why() == "" {
		snap.Kill = reap.ByCgroup
	}
	if m.state == Backoff || m.state == Quarantined {
		snap.NextStart = s.began.Add(m.nextStart)
	}
	s.snapshot.Store(snap)
	if s.deps.OnChange != nil {
		s.deps.OnChange()
	}
}

// reportExit tells of a process that ended though nobody had asked it to.
func (s *Service) reportExit(in *instance, e event, at time.Time) {
	m := s.m
	if e.kind != evExited || m.state == Stopping || in.id != m.current && in.id != m.next || in.ending == endTerminate {
		return
	}
	out := api.Event{Time: at, Service: s.name, Kind: "exit", To: "crashed", Reason: e.reason}
	switch c := m.cause[in.id]; {
	case strings.HasPrefix(e.limit, limits.OutOfMemory):
		out.To = "oom"
	case e.limit == "" && c == "" && e.ok:
		out.To = "ended"
	case e.limit == "" && c != "":
		out.Reason = c + " (" + e.reason + ")"
	}
	if e.limit != "" {
		out.Reason = e.limit + " (" + e.reason + ")"
	}
	s.deps.OnEvent(out)
}
