package daemon

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/limits"
)

// Status is the whole stack at one glance.
func (d *Daemon) Status() api.Status {
	s := api.Status{
		Version: d.o.Version, PID: os.Getpid(), Started: d.began, ConfigFile: d.o.Config, RuntimeDir: d.o.RuntimeDir,
		Services: d.Services(), Listeners: []api.Listener{}, Hooks: d.hookStatus(),
	}
	if strings.HasPrefix(s.ConfigFile, "embedded:") {
		s.ConfigFile = ""
	}
	d.mu.Lock()
	s.Generation, s.LastReload, s.Upgrade = d.generation, d.lastReload, d.upgrade
	if d.plan != nil {
		s.ProxyAdmin, s.Scaled = d.plan.AdminSocket, scaled(d.plan)
	}
	d.mu.Unlock()
	for _, h := range d.sockets.Held() {
		s.Listeners = append(s.Listeners, api.Listener{Name: h.Name, Address: h.Bound, Kind: h.Kind})
	}
	return s
}

// Services lists the services in start order.
func (d *Daemon) Services() []api.Service {
	list := []api.Service{}
	for _, s := range d.list() {
		snap := s.Snapshot()
		snap.LogDropped = d.logs.Dropped(snap.Name)
		d.sampler.fill(d, &snap)
		list = append(list, snap)
	}
	return list
}

// sampler measures what services use, only when somebody asks: an idle stack does not wake up for it.
type sampler struct {
	mu   sync.Mutex
	last map[int]usage // by pid of the main process
}

type usage struct {
	at      time.Time
	cpu     time.Duration
	percent float64
}

// minSample is the shortest time over which a CPU share means something; those who ask more often get the last figure.
const minSample = 500 * time.Millisecond

// fill measures one service: the processes of its cgroup, or its process group where there is none.
func (m *sampler) fill(d *Daemon, s *api.Service) {
	if s.PID == 0 {
		return
	}
	group := d.group(s.PID)
	used := limits.Measure(members(s.PID, group))
	cpu := used.CPU
	s.RSSBytes, s.PIDs, s.Pressure = used.RSS, used.Processes, pressure(group)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		m.last = map[int]usage{}
	}
	now := time.Now()
	was, ok := m.last[s.PID]
	if !ok {
		was = usage{at: s.Started} // the first time: since it was started
	}
	if now.Sub(was.at) < minSample {
		s.CPUPercent = was.percent
		return
	}
	s.CPUPercent = max(0, 100*float64(cpu-was.cpu)/float64(now.Sub(was.at)))
	m.last[s.PID] = usage{at: now, cpu: cpu, percent: s.CPUPercent}
	for pid, u := range m.last { // those of processes long gone
		if now.Sub(u.at) > time.Minute {
			delete(m.last, pid)
		}
	}
}

// members lists the processes of a service, its first one at least.
func members(pid int, group string) []int {
	pids := []int{pid}
	list, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	for f := range strings.FieldsSeq(string(list)) {
		if other, err := strconv.Atoi(f); err == nil && group != "" && other != pid {
			pids = append(pids, other)
		}
	}
	return pids
}
