package limits

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// period is the kernel's usual time slice for CPU limits.
const period = 100 * time.Millisecond

// removeTimeout bounds the wait for killed processes to leave their groups.
const removeTimeout = 5 * time.Second

// Group is where one instance of a service is limited.
type Group struct {
	Limits []Limit
	set    Set
	v2     string            // the instance's cgroup v2, "" = none
	v1     map[string]string // its directory by controller of version 1
	joins  []*os.File
}

// Group makes the place of an instance; layers are what Layers said about s. v2 is its cgroup of version 2, made by whoever kills it, or "". id is unique among the living instances.
func (h *Host) Group(id, v2 string, s Set, layers []Limit) (*Group, error) {
	g := &Group{Limits: layers, set: s, v2: v2, v1: map[string]string{}}
	for _, l := range g.Limits {
		var err error
		switch l.Layer {
		case V2:
			err = g.limitV2(h, l)
		case V1:
			err = g.limitV1(h, id, l)
		}
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("cannot limit %s: %v", l.Name, err)
		}
	}
	return g, nil
}

func (g *Group) limitV2(h *Host, l Limit) error {
	set := func(file, text string) error { return write(filepath.Join(g.v2, file), text) }
	n := strconv.FormatInt(l.Value, 10)
	switch l.Name {
	case Memory:
		set("memory.swap.max", "0")  // or the service would only become slow; not there without swap
		set("memory.oom.group", "1") // half a service is worse than one that is restarted; Linux 4.19
		return set("memory.max", n)
	case MemoryHigh:
		return set("memory.high", n)
	case CPU:
		return set("cpu.max", fmt.Sprintf("%d %d", quota(l.Value), period.Microseconds()))
	case PIDs:
		return set("pids.max", n)
	}
	file := h.weightFile(V2)
	return set(file, "default "+n)
}

func quota(percent int64) int64 { return percent * period.Microseconds() / 100 }

func (g *Group) limitV1(h *Host, id string, l Limit) error {
	controller := controllers[l.Name].v1
	dir := filepath.Join(h.v1[controller], h.name, strings.ReplaceAll(id, "/", "_"))
	if _, mine := g.v1[controller]; !mine {
		os.Remove(dir) // what a supervisor left that was killed holds its counters
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	g.v1[controller] = dir
	set := func(file, text string) error { return write(filepath.Join(dir, file), text) }
	n := strconv.FormatInt(l.Value, 10)
	var err error
	switch l.Name {
	case Memory:
		if err = set("memory.limit_in_bytes", n); err == nil {
			set("memory.memsw.limit_in_bytes", n) // or the service would only become slow; not there without swap accounting
		}
	case CPU:
		if err = set("cpu.cfs_period_us", strconv.FormatInt(period.Microseconds(), 10)); err == nil {
			err = set("cpu.cfs_quota_us", strconv.FormatInt(quota(l.Value), 10))
		}
	case PIDs:
		err = set("pids.max", n)
	case IOWeight:
		err = set(h.weightFile(V1), strconv.FormatInt(min(max(l.Value, 10), 1000), 10)) // the range of version 1
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
	if err == nil {
		g.joins = append(g.joins, f)
	}
	return err
}

// Joins are descriptors of the cgroup.procs that the first process has to write itself to, valid until Joined.
func (g *Group) Joins() []int {
	var fds []int
	for _, f := range g.joins {
		if rc, err := f.SyscallConn(); err == nil {
			rc.Control(func(fd uintptr) { fds = append(fds, int(fd)) })
		}
	}
	return fds
}

// Joined is called when the first process was started, or was not.
func (g *Group) Joined() {
	for _, f := range g.joins {
		f.Close()
	}
	g.joins = nil
}

// Kill kills what is in the groups of version 1. Where the kernel has no cgroup.kill this finds what left its session and hid its environment.
func (g *Group) Kill() {
	for end := time.Now().Add(removeTimeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
		left := false
		for _, dir := range g.v1 {
			left = killMembers(dir) || left
		}
		if !left {
			return
		}
	}
}

// killMembers says whether there were any. Each is held by a pidfd and then looked for again, so no stranger with a reused number is hit.
func killMembers(dir string) bool {
	held := map[int]int{}
	for _, pid := range members(dir) {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			held[pid] = fd
		}
	}
	for _, pid := range members(dir) {
		if fd, ok := held[pid]; ok {
			unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
	}
	for _, fd := range held {
		unix.Close(fd)
	}
	return len(members(dir)) > 0
}

func members(dir string) []int {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var pids []int
	for f := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Close removes the groups of version 1; the processes have been killed.
func (g *Group) Close() error {
	g.Joined()
	var errs []error
	for _, dir := range g.v1 {
		pause := 100 * time.Microsecond
		for end := time.Now().Add(removeTimeout); ; pause = min(2*pause, 20*time.Millisecond) {
			err := os.Remove(dir)
			if err == nil || os.IsNotExist(err) {
				break
			}
			if !time.Now().Before(end) {
				errs = append(errs, fmt.Errorf("cannot remove cgroup: %v", err))
				break
			}
			time.Sleep(pause)
		}
	}
	return errors.Join(errs...)
}
