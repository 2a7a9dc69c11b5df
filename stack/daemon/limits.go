package daemon

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/limits"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

// checkLimits looks for limits that this host cannot enforce as asked: errors with strict-limits, else a warning for each service that is news.
func (d *Daemon) checkLimits(p *plan.Plan, news func(plan.Service) bool) error {
	var faults []error
	for _, s := range p.Services {
		for _, l := range d.limits.Layers(s.Limits) {
			switch {
			case l.Why == "":
			case p.StrictLimits:
				faults = append(faults, p.LimitFault(s, l))
			case news(s):
				d.Note("warn", s.Name+": "+l.String())
			}
		}
	}
	return errors.Join(faults...)
}

// group is the cgroup v2 of a service's main process, "" = none.
func (d *Daemon) group(pid int) string {
	own, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil || d.forest.Root() == "" {
		return ""
	}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join(d.forest.Root(), filepath.Base(path))
		}
	}
	return ""
}

func pressure(dir string) *api.Pressure {
	p, ok := limits.ReadPressure(dir)
	if dir == "" || !ok {
		return nil
	}
	return &api.Pressure{CPU: p.CPU, Memory: p.Memory, IO: p.IO}
}

// writeLimits writes what the limits of services are, what enforces them and what they did.
func writeLimits(b *bytes.Buffer, services []api.Service) {
	family(b, "sentinel_stack_service_limit", "gauge", "Resource limits and the layer that enforces them: bytes, percent of one CPU, or a number.")
	for _, s := range services {
		for _, l := range s.Limits {
			sample(b, "sentinel_stack_service_limit", float64(l.Value), "service", s.Name, "limit", l.Name, "layer", l.Layer)
		}
	}
	each := func(name, kind, help string, value func(s api.Service) float64) {
		family(b, name, kind, help)
		for _, s := range services {
			sample(b, name, value(s), "service", s.Name)
		}
	}
	each("sentinel_stack_service_oom_kills_total", "counter", "Processes ended by the memory limit.", func(s api.Service) float64 { return float64(s.OOMKills) })
	each("sentinel_stack_service_pids_refused_total", "counter", "Forks refused by the pids limit.", func(s api.Service) float64 { return float64(s.PIDsRefused) })
	each("sentinel_stack_service_cpu_throttled_seconds_total", "counter", "Time for which the cpu limit stopped it.", func(s api.Service) float64 { return float64(s.ThrottledMillis) / 1000 })
	each("sentinel_stack_service_limit_restarts_total", "counter", "Restarts because a sampled limit was exceeded.", func(s api.Service) float64 { return float64(s.LimitRestarts) })
	each("sentinel_stack_service_sandbox_missing", "gauge", "Layers of its sandbox that this host does not have.", func(s api.Service) float64 { return float64(len(s.SandboxLacks)) })
	family(b, "sentinel_stack_service_pressure_percent", "gauge", "Share of the last ten seconds in which some process waited for the resource.")
	for _, s := range services {
		if p := s.Pressure; p != nil {
			for _, r := range []struct {
				name string
				v    float64
			}{{"cpu", p.CPU}, {"memory", p.Memory}, {"io", p.IO}} {
				sample(b, "sentinel_stack_service_pressure_percent", r.v, "service", s.Name, "resource", r.name)
			}
		}
	}
}
