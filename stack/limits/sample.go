package limits

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc, the same on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// Usage is what processes use.
type Usage struct {
	CPU       time.Duration // since they were started
	RSS       int64         // resident memory, shared pages counted for each
	Processes int
	Threads   int64
}

// Measure adds up what the processes use; those that have ended do not count.
func Measure(pids []int) (u Usage) {
	for _, pid := range pids {
		u.add(pid)
	}
	return u
}

func (u *Usage) add(pid int) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	i := bytes.LastIndexByte(stat, ')') // the name may hold anything
	if err != nil || i < 0 {
		return
	}
	const utime, stime, threads, pages = 11, 12, 17, 21 // fields after the name
	f := strings.Fields(string(stat[i+1:]))
	if len(f) <= pages {
		return
	}
	number := func(at int) int64 { n, _ := strconv.ParseInt(f[at], 10, 64); return n }
	u.CPU += time.Duration(number(utime)+number(stime)) * clockTick
	u.RSS += number(pages) * int64(os.Getpagesize())
	u.Threads += number(threads)
	u.Processes++
}

// Sampled says whether some limit of the group is enforced by nothing but Exceeds.
func (g *Group) Sampled() bool {
	return g.layer(Memory) == Sampled || g.layer(PIDs) == Sampled || g.layer(CPU) == Sampled
}

func (g *Group) layer(name string) string {
	for _, l := range g.Limits {
		if l.Name == name {
			return l.Layer
		}
	}
	return ""
}

// Exceeds names the sampled limit that u is above, "" = none. The instance has to be restarted.
func (g *Group) Exceeds(u Usage) (limit, text string) {
	switch {
	case g.layer(Memory) == Sampled && u.RSS > g.set.Memory:
		return Memory, fmt.Sprintf(OutOfMemory+": %dMB resident, its limit is %s (sampled)", u.RSS>>20, Bytes(g.set.Memory))
	case g.layer(PIDs) == Sampled && u.Threads > g.set.PIDs:
		return PIDs, fmt.Sprintf("%d processes and threads, its pids limit is %d (sampled)", u.Threads, g.set.PIDs)
	}
	return "", ""
}

// Shares of a second's time slices from which on a service counts as slowed down by its CPU limit, and below which it no longer does.
const (
	slowFrom = 0.5
	slowTo   = 0.25
)

// Slow says how the CPU limit slows the instance down between two readings that are a while apart, "" = it does not. was is the last answer.
func (g *Group) Slow(was string, before, now Counters, used Usage, past Usage, apart time.Duration) string {
	if periods := now.Periods - before.Periods; now.Periods > before.Periods {
		share := float64(now.Throttled-before.Throttled) / float64(periods)
		if share >= slowFrom || was != "" && share >= slowTo {
			return fmt.Sprintf("slowed down by its cpu limit of %d%%", g.set.CPU)
		}
		return ""
	}
	if g.layer(CPU) != Sampled || apart <= 0 || used.CPU < past.CPU {
		return ""
	}
	if percent := 100 * float64(used.CPU-past.CPU) / float64(apart); percent > 1.1*float64(g.set.CPU) {
		return fmt.Sprintf("uses more than its cpu limit of %d%%, which this host cannot enforce", g.set.CPU)
	}
	return ""
}

// Watched says whether the group has limits whose counters are worth a look while the instance runs.
func (g *Group) Watched() bool { return g.set.Memory > 0 || g.set.PIDs > 0 || g.set.CPU > 0 }
