// Package limits bounds what services use. A Host knows which layer of this machine can enforce which limit: rlimits, cgroup v2, cgroup v1 (also beside
// v2 on hybrid hosts), or, where no cgroup may be written, nothing but sampling. A Group is one instance's place in those layers, with their counters.
package limits

import (
	"fmt"
	"strconv"
)

// Set is what one instance of a service may use. 0 = no limit, but for Core, where it means no core file.
type Set struct {
	Memory     int64 // bytes
	MemoryHigh int64
	CPU        int64 // percent of one CPU
	PIDs       int64 // processes and threads
	NoFile     int64
	Core       int64 // bytes
	IOWeight   int64 // 1 to 10000, 100 = usual
}

// Names of limits, as the configuration spells them.
const (
	Memory     = "memory"
	MemoryHigh = "memory-high"
	CPU        = "cpu"
	PIDs       = "pids"
	NoFile     = "nofile"
	Core       = "core"
	IOWeight   = "io-weight"
)

// Layers that enforce a limit.
const (
	Rlimit  = "rlimit"
	V2      = "cgroup-v2"
	V1      = "cgroup-v1"
	Sampled = "sampled" // looked at every second: what exceeds it is restarted, CPU only reported
	None    = "none"
)

// Limit is one limit and what really enforces it.
type Limit struct {
	Name  string
	Text  string // the value, for people
	Value int64  // bytes, percent or number
	Layer string
	Why   string // why it is not enforced as asked; "" = it is
}

// String says what is wrong with the limit; it has a Why.
func (l Limit) String() string {
	how := map[string]string{Sampled: "only watched", None: "not enforced"}[l.Layer]
	if how == "" {
		how = "enforced differently"
	}
	return fmt.Sprintf("limit %s %s is %s: %s", l.Name, l.Text, how, l.Why)
}

// all lists the limits of s that are set, without layers. Core always is.
func (s Set) all() []Limit {
	var out []Limit
	add := func(name string, v int64, text string) {
		if v > 0 || name == Core {
			out = append(out, Limit{Name: name, Value: v, Text: text})
		}
	}
	add(Memory, s.Memory, Bytes(s.Memory))
	add(MemoryHigh, s.MemoryHigh, Bytes(s.MemoryHigh))
	add(CPU, s.CPU, fmt.Sprintf("%d%%", s.CPU))
	add(PIDs, s.PIDs, strconv.FormatInt(s.PIDs, 10))
	add(NoFile, s.NoFile, strconv.FormatInt(s.NoFile, 10))
	add(Core, s.Core, Bytes(s.Core))
	add(IOWeight, s.IOWeight, strconv.FormatInt(s.IOWeight, 10))
	return out
}

// Bytes is a size as the configuration takes it.
func Bytes(n int64) string {
	units := []string{"KB", "MB", "GB", "TB"}
	text := strconv.FormatInt(n, 10)
	for _, u := range units {
		if n == 0 || n%1024 != 0 {
			break
		}
		n /= 1024
		text = strconv.FormatInt(n, 10) + u
	}
	return text
}

// Layers says what enforces each limit of s on this host.
func (h *Host) Layers(s Set) []Limit {
	out := s.all()
	for i := range out {
		l := &out[i]
		switch l.Name {
		case NoFile, Core:
			l.Layer, l.Why = Rlimit, clampWhy(l.Name, l.Value)
		default:
			l.Layer, l.Why = h.layer(l.Name)
		}
	}
	return out
}

// controllers of the limits that need one.
var controllers = map[string]struct{ v2, v1 string }{
	Memory: {"memory", "memory"}, MemoryHigh: {"memory", ""}, CPU: {"cpu", "cpu"}, PIDs: {"pids", "pids"}, IOWeight: {"io", "blkio"},
}

func (h *Host) layer(name string) (layer, why string) {
	c := controllers[name]
	whyV2 := h.useV2(c.v2)
	if whyV2 == "" {
		if name != IOWeight || h.weightFile(V2) != "" {
			return V2, ""
		}
		whyV2 = "the disk's scheduler knows no weights"
	}
	whyV1 := "cgroup v1 has nothing like it"
	if c.v1 != "" {
		if whyV1 = h.useV1(c.v1); whyV1 == "" {
			if name != IOWeight || h.weightFile(V1) != "" {
				return V1, ""
			}
			whyV1 = "the disk's scheduler knows no weights"
		}
	}
	why = fmt.Sprintf("cgroup v2: %s; cgroup v1: %s", whyV2, whyV1)
	if name == Memory || name == CPU || name == PIDs {
		return Sampled, why
	}
	return None, why
}
