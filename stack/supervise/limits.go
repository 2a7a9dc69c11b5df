package supervise

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/limits"
)

// watchInterval is how often the counters of an instance with limits are read.
const watchInterval = time.Second

// watched is what is known about the limits of an instance.
type watched struct {
	seen     limits.Counters
	slow     string // how its cpu limit slows it down, "" = it does not
	strain   string // all that its limits do to it now, for people
	exceeded string // the sampled limit it was ended for
}

// hits counts over all instances.
type hits struct {
	limits.Counters
	restarts uint64 // for a sampled limit
}

// hint is appended to the reason for ending an instance that was too slow.
func (w *watched) hint() string {
	if w.strain == "" {
		return ""
	}
	return ": " + w.strain
}

// watch reads the counters of an instance until it ends. The limits themselves work without it, but for the sampled ones.
func (s *Service) watch(ctx context.Context, in *instance) {
	defer s.running.Done()
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	before, at := in.group.Counters(), time.Now()
	var past limits.Usage
	slow := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, used, apart := in.group.Counters(), limits.Usage{}, time.Since(at)
		if in.group.Sampled() {
			used = limits.Measure(in.tree.Members(in.proc.PID()))
		}
		slow = in.group.Slow(slow, before, now, used, past, apart)
		limit, excess := in.group.Exceeds(used)
		state, refused := slow, now.PIDsRefused > before.PIDsRefused
		before, past, at = now, used, at.Add(apart)
		s.post(func() { s.sampled(in, now, state, refused, limit, excess) })
	}
}

// sampled takes one reading.
func (s *Service) sampled(in *instance, c limits.Counters, slow string, refused bool, limit, excess string) {
	if s.instances[in.id] != in {
		return
	}
	changed := s.counted(in, c)
	var strain []string
	if slow != "" {
		strain = append(strain, slow)
	}
	if refused {
		strain = append(strain, fmt.Sprintf("its pids limit of %d refuses forks", in.plan.Limits.PIDs))
	}
	if slow != in.slow {
		text := slow
		if text == "" {
			text = "no longer " + in.slow
		}
		s.limitEvent(limits.CPU, text)
	}
	if now := strings.Join(strain, "; "); now != in.strain || changed {
		in.slow, in.strain = slow, now
		s.publish()
	}
	if excess != "" && in.exceeded == "" {
		in.exceeded = excess
		s.hits.restarts++
		s.limitEvent(limit, excess)
		s.apply(event{kind: evLimit, id: in.id, reason: excess})
	}
}

// counted adds what the kernel has counted since the last time and tells of it; changed says that there was something.
func (s *Service) counted(in *instance, c limits.Counters) (changed bool) {
	was := in.seen
	in.seen = c
	s.hits.OOMKills += c.OOMKills - was.OOMKills
	s.hits.PIDsRefused += c.PIDsRefused - was.PIDsRefused
	s.hits.ThrottledBy += c.ThrottledBy - was.ThrottledBy
	if c.OOMKills > was.OOMKills {
		s.limitEvent(limits.Memory, fmt.Sprintf("out of memory at its limit of %s, processes ended: %d", limits.Bytes(in.plan.Limits.Memory), c.OOMKills-was.OOMKills))
	}
	if c.PIDsRefused > 0 && was.PIDsRefused == 0 { // once for each instance: a fork bomb has thousands
		s.limitEvent(limits.PIDs, fmt.Sprintf("its pids limit of %d refuses forks", in.plan.Limits.PIDs))
	}
	return c != was
}

func (s *Service) limitEvent(limit, text string) {
	s.deps.OnEvent(api.Event{Time: time.Now(), Service: s.name, Kind: "limit", To: limit, Reason: text})
}

// showLimits fills in what the limits are and what they did. Those of the running instance count, which may be older than the plan.
func (s *Service) showLimits(snap *api.Service) {
	layers := s.plan.layers
	if in := s.instances[s.m.current]; in != nil {
		layers, snap.Strain = in.plan.layers, in.strain
	}
	for _, l := range layers {
		snap.Limits = append(snap.Limits, api.Limit{Name: l.Name, Text: l.Text, Value: l.Value, Layer: l.Layer, Why: l.Why})
	}
	snap.OOMKills, snap.PIDsRefused, snap.ThrottledMillis = s.hits.OOMKills, s.hits.PIDsRefused, s.hits.ThrottledBy.Milliseconds()
	snap.LimitRestarts = s.hits.restarts
}
