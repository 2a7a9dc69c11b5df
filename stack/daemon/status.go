package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// Status is the whole stack at one glance.
func (d *Daemon) Status() api.Status {
	s := api.Status{
		Version: d.o.Version, PID: os.Getpid(), Started: d.began, ConfigFile: d.o.Config, RuntimeDir: d.o.RuntimeDir,
		Services: d.Services(), Listeners: []api.Listener{},
	}
	if strings.HasPrefix(s.ConfigFile, "embedded:") {
		s.ConfigFile = ""
	}
	d.mu.Lock()
	s.Generation, s.LastReload = d.generation, d.lastReload
	if d.plan != nil {
		s.ProxyAdmin = d.plan.AdminSocket
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
	pids := d.members(s)
	var cpu time.Duration
	for _, pid := range pids {
		c, rss, ok := measure(pid)
		if ok {
			cpu += c
			s.RSSBytes += rss
			s.PIDs++
		}
	}
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
func (d *Daemon) members(s *api.Service) []int {
	pids := []int{s.PID}
	own, err := os.ReadFile("/proc/" + strconv.Itoa(s.PID) + "/cgroup")
	if err != nil || d.forest.Root() == "" {
		return pids
	}
	for line := range strings.Lines(string(own)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		list, err := os.ReadFile(filepath.Join(d.forest.Root(), filepath.Base(path), "cgroup.procs"))
		if err != nil {
			return pids
		}
		for f := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(f); err == nil && pid != s.PID {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// clockTick is the unit of CPU times in /proc, the same on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// measure reads CPU time and resident memory of one process.
func measure(pid int) (cpu time.Duration, rss int64, ok bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, false
	}
	i := bytes.LastIndexByte(stat, ')') // the name may hold anything
	if i < 0 {
		return 0, 0, false
	}
	const utime, stime, pages = 11, 12, 21 // fields after the name
	f := strings.Fields(string(stat[i+1:]))
	if len(f) <= pages {
		return 0, 0, false
	}
	u, _ := strconv.ParseInt(f[utime], 10, 64)
	s, _ := strconv.ParseInt(f[stime], 10, 64)
	r, _ := strconv.ParseInt(f[pages], 10, 64)
	return time.Duration(u+s) * clockTick, r * int64(os.Getpagesize()), true
}
