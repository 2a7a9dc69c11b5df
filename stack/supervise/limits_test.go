package supervise

import (
	"context"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/limits"
)

// kernel skips a test where no cgroup enforces the limit. The sampled limits have tests of their own, which run everywhere.
func kernel(t *testing.T, st *stage, s limits.Set, name string) {
	t.Helper()
	for _, l := range st.deps.Limits.Layers(s) {
		if l.Name == name && l.Layer != limits.V1 && l.Layer != limits.V2 {
			t.Skipf("no cgroup limits %s here: %s", name, l.Why)
		} else if l.Name == name {
			t.Logf("%s is limited by %s", name, l.Layer)
		}
	}
}

func (st *stage) event(kind, to string) string {
	st.mu.Lock()
	defer st.mu.Unlock()
	i := slices.IndexFunc(st.events, func(e api.Event) bool { return e.Kind == kind && e.To == to })
	if i < 0 {
		return ""
	}
	return st.events[i].Reason
}

func (st *stage) limited(mode string, set limits.Set) *Service {
	sp := spec(mode)
	sp.Limits = set
	sp.Policy.ResetAfter = 0
	s := st.service(sp)
	if err := s.Start(ctx(st.t)); err != nil {
		st.t.Fatal(err)
	}
	return s
}

// hogged has the memory hog take its memory and waits until it was replaced for it; a service beside it is not touched.
func (st *stage) hogged(set limits.Set, want string) {
	beside, s := st.limited("good", limits.Set{}), st.limited("hog", set)
	pid, other := s.Snapshot().PID, beside.Snapshot().PID
	s.Signal(ctx(st.t), unix.SIGUSR1)
	eventually(st.t, "a new instance of the hog", func() bool { n := s.Snapshot(); return n.State == "ready" && n.PID != pid })
	n := s.Snapshot()
	if !strings.Contains(n.LastExit, want) || !strings.Contains(n.LastExit, "signal KILL") {
		st.t.Errorf("last exit %q, want %q", n.LastExit, want)
	}
	if got := st.event("limit", limits.Memory); !strings.Contains(got, "out of memory") {
		st.t.Errorf("event %q", got)
	}
	if n.OOMKills+n.LimitRestarts != 1 {
		st.t.Errorf("%d kills, %d restarts", n.OOMKills, n.LimitRestarts)
	}
	if b := beside.Snapshot(); b.PID != other || b.Restarts != 0 || b.OOMKills != 0 || !alive(other) {
		st.t.Errorf("the service beside it: %+v", b)
	}
}

func TestMemoryHogIsEndedByTheKernel(t *testing.T) {
	st, set := newStage(t, true), limits.Set{Memory: 40 << 20}
	kernel(t, st, set, limits.Memory)
	st.hogged(set, "out of memory: more than its limit of 40MB")
}

// TestMemoryHogIsEndedBySampling runs with cgroups for killing only and without any: the zero Host limits by sampling.
func TestMemoryHogIsEndedBySampling(t *testing.T) {
	for name, cgroups := range map[string]bool{"cgroup": true, "process group": false} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, cgroups)
			st.deps.Limits = &limits.Host{}
			st.hogged(limits.Set{Memory: 60 << 20}, "60MB (sampled)")
		})
	}
}

// TestMemoryWithinItsLimit is the twin: the same hog under a limit that it does not reach.
func TestMemoryWithinItsLimit(t *testing.T) {
	st := newStage(t, true)
	s := st.limited("hog", limits.Set{Memory: 400 << 20})
	pid := s.Snapshot().PID
	s.Signal(ctx(t), unix.SIGUSR1)
	st.logged("survived 96")
	if n := s.Snapshot(); n.PID != pid || n.OOMKills != 0 || n.Strain != "" {
		t.Errorf("%+v", n)
	}
}

func TestForkBombIsContained(t *testing.T) {
	st, set := newStage(t, true), limits.Set{PIDs: 40}
	kernel(t, st, set, limits.PIDs)
	beside, s := st.limited("good", limits.Set{}), st.limited("bomb", set)
	st.logged("refused [1-9]")
	eventually(t, "the refusals are counted", func() bool { return s.Snapshot().PIDsRefused > 0 })
	if got := st.event("limit", limits.PIDs); !strings.Contains(got, "pids limit of 40 refuses forks") {
		t.Errorf("event %q", got)
	}
	if u := limits.Measure(members(s)); u.Threads > 40 || u.Processes < 10 {
		t.Errorf("%+v", u)
	}
	pids := members(s)
	if err := s.Stop(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(pids, alive) {
		t.Error("part of the bomb survives the stop")
	}
	if n := s.Snapshot(); strings.Contains(n.LastExit, "limit") { // somebody asked for it
		t.Errorf("last exit %q", n.LastExit)
	}
	if b := beside.Snapshot(); b.State != "ready" || b.Restarts != 0 {
		t.Errorf("the service beside it: %+v", b)
	}
}

// TestForkBombIsKilledWithoutCgroupKill: on a host with version 1 only, what left its session is found by its group.
func TestForkBombIsKilledWithoutCgroupKill(t *testing.T) {
	st, set := newStage(t, false), limits.Set{PIDs: 40}
	kernel(t, st, set, limits.PIDs)
	s := st.limited("bomb", set)
	pids := members(s)
	if err := s.Stop(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(pids, alive) || len(pids) < 10 {
		t.Errorf("part of the bomb survives the stop: %v", pids)
	}
}

func TestForkBombIsEndedBySampling(t *testing.T) {
	st := newStage(t, true)
	st.deps.Limits = &limits.Host{}
	s := st.limited("bomb", limits.Set{PIDs: 60})
	eventually(t, "the bomb is restarted for its pids limit", func() bool { return strings.Contains(s.Snapshot().LastExit, "its pids limit is 60 (sampled)") })
}

func members(s *Service) (pids []int) {
	s.wait(context.Background(), func() chan error {
		in := s.instances[s.m.current]
		pids = in.tree.Members(in.proc.PID())
		return answer(nil)
	})
	return pids
}

func TestThrottledServiceSaysSo(t *testing.T) {
	st, set := newStage(t, true), limits.Set{CPU: 10}
	kernel(t, st, set, limits.CPU)
	s := st.limited("busy", set)
	eventually(t, "the cpu limit shows", func() bool {
		n := s.Snapshot()
		return n.Strain == "slowed down by its cpu limit of 10%" && n.Reason == n.Strain && n.State == "ready" && n.ThrottledMillis > 0
	})
	if got := st.event("limit", limits.CPU); got != "slowed down by its cpu limit of 10%" {
		t.Errorf("event %q", got)
	}
}

// TestUnenforcedCPULimitIsReported: without a cgroup the limit cannot be kept, only its excess be shown; the service is not ended for it.
func TestUnenforcedCPULimitIsReported(t *testing.T) {
	st := newStage(t, true)
	st.deps.Limits = &limits.Host{}
	s := st.limited("busy", limits.Set{CPU: 1})
	pid := s.Snapshot().PID
	eventually(t, "the excess shows", func() bool { return strings.Contains(s.Snapshot().Strain, "which this host cannot enforce") })
	if n := s.Snapshot(); n.PID != pid {
		t.Errorf("%+v", n)
	}
}

// TestRestartsLeaveNoGroups: every instance has groups of its own, and none outlives it.
func TestRestartsLeaveNoGroups(t *testing.T) {
	st, set := newStage(t, true), limits.Set{Memory: 400 << 20, PIDs: 100, CPU: 200, NoFile: 100}
	s := st.limited("good", set)
	for range 10 {
		if err := s.Restart(ctx(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Stop(ctx(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no group is left", func() bool { return st.deps.Limits.Groups() == 0 })
}

// TestReplaceChangesTheLimits: the new limits hold for the new instance, and a limit that cannot be set leaves the old one running.
func TestReplaceChangesTheLimits(t *testing.T) {
	st := newStage(t, true)
	s := st.limited("good", limits.Set{NoFile: 100})
	pid := s.Snapshot().PID
	sp := spec("good")
	sp.Limits = limits.Set{NoFile: 90}
	if err := s.Replace(ctx(t), sp); err != nil {
		t.Fatal(err)
	}
	var got unix.Rlimit
	n := s.Snapshot()
	if err := unix.Prlimit(n.PID, unix.RLIMIT_NOFILE, nil, &got); err != nil || got.Max != 90 || n.PID == pid {
		t.Errorf("limit %+v, %v", got, err)
	}
	i := slices.IndexFunc(n.Limits, func(l api.Limit) bool { return l.Name == limits.NoFile })
	if i < 0 || n.Limits[i].Text != "90" || n.Limits[i].Layer != limits.Rlimit {
		t.Errorf("shown: %+v", n.Limits)
	}
}
