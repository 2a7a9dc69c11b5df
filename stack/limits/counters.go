package limits

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// OutOfMemory is how the texts of Blame and Exceeds about memory begin.
const OutOfMemory = "out of memory"

// Counters are what the kernel has counted for an instance since it was started.
type Counters struct {
	OOMKills    uint64        // processes ended because of the memory limit
	PIDsRefused uint64        // forks refused by the pids limit
	Periods     uint64        // time slices of the CPU limit in which it wanted to run
	Throttled   uint64        // of those, the ones it could not finish
	ThrottledBy time.Duration // how long it stood still
}

// Counters reads them. What is not counted stays 0.
func (g *Group) Counters() Counters {
	var c Counters
	for _, l := range g.Limits {
		switch {
		case l.Name == Memory && l.Layer == V2:
			c.OOMKills = fields(g.v2, "memory.events")["oom_kill"]
		case l.Name == Memory && l.Layer == V1:
			c.OOMKills = fields(g.v1["memory"], "memory.oom_control")["oom_kill"]
		case l.Name == PIDs && l.Layer == V2:
			c.PIDsRefused = fields(g.v2, "pids.events")["max"]
		case l.Name == PIDs && l.Layer == V1:
			c.PIDsRefused = fields(g.v1["pids"], "pids.events")["max"]
		case l.Name == CPU && l.Layer == V2:
			c.throttle(fields(g.v2, "cpu.stat"), "throttled_usec", time.Microsecond)
		case l.Name == CPU && l.Layer == V1:
			c.throttle(fields(g.v1["cpu"], "cpu.stat"), "throttled_time", time.Nanosecond)
		}
	}
	return c
}

func (c *Counters) throttle(stat map[string]uint64, name string, unit time.Duration) {
	c.Periods, c.Throttled, c.ThrottledBy = stat["nr_periods"], stat["nr_throttled"], time.Duration(stat[name])*unit
}

// fields reads a file of names and numbers.
func fields(dir, file string) map[string]uint64 {
	out := map[string]uint64{}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if dir == "" || err != nil {
		return out
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 {
			out[f[0]], _ = strconv.ParseUint(f[1], 10, 64)
		}
	}
	return out
}

// Blame says which limit explains that an instance failed, "" = none: one that was hit since the reading before, for what was hit long ago it survived.
func (g *Group) Blame(before, last Counters) string {
	switch {
	case last.OOMKills > before.OOMKills:
		return fmt.Sprintf(OutOfMemory+": more than its limit of %s", Bytes(g.set.Memory))
	case last.PIDsRefused > before.PIDsRefused:
		return fmt.Sprintf("pids limit %d reached, forks refused: %d", g.set.PIDs, last.PIDsRefused)
	}
	return ""
}

// Pressure is how much of the last ten seconds some process of a group waited for a resource, in percent.
type Pressure struct{ CPU, Memory, IO float64 }

// ReadPressure reads the pressure of a cgroup v2; ok is false when the kernel does not measure it.
func ReadPressure(dir string) (p Pressure, ok bool) {
	for file, to := range map[string]*float64{"cpu.pressure": &p.CPU, "memory.pressure": &p.Memory, "io.pressure": &p.IO} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			rest, some := strings.CutPrefix(line, "some avg10=")
			if !some {
				continue
			}
			value, _, _ := strings.Cut(rest, " ")
			if n, err := strconv.ParseFloat(value, 64); err == nil {
				*to, ok = n, true
			}
		}
	}
	return p, ok
}
