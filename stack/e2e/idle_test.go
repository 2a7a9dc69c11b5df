package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// process is what the kernel counts of one process.
type process struct {
	ticks    int // of 10 ms, user and system
	rss      int // KB
	switches int // voluntary: it waited, and was woken
}

func measure(t *testing.T, pid int) (p process) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	p.ticks = user + system
	number := func(file, field string) int {
		text, _ := os.ReadFile(file)
		_, after, _ := strings.Cut(string(text), field+":")
		n, _ := strconv.Atoi(strings.Fields(after + " ?")[0])
		return n
	}
	p.rss = number(filepath.Join(dir, "status"), "VmRSS")
	tasks, _ := filepath.Glob(filepath.Join(dir, "task/*/status"))
	for _, f := range tasks {
		p.switches += number(f, "voluntary_ctxt_switches")
	}
	return p
}

// watching is how long a test watches, and whether it judges what it sees: it does when a variable says for how long, because the machine is quiet then. Else it runs beside others.
func watching(t *testing.T, variable string, otherwise time.Duration) (d time.Duration, strict bool) {
	t.Helper()
	d, err := time.ParseDuration(os.Getenv(variable))
	if err != nil {
		t.Parallel()
		return otherwise, false
	}
	return d, true
}

// TestIdleStack: a supervisor with thirty services that do nothing does nothing either. IDLE says for how long it is watched; with that the figures are printed and held against the bounds of
// 20 MB, 0.1 % of a processor and 5 wake-ups a second, without it only against what no busy machine can excuse.
func TestIdleStack(t *testing.T) {
	watched, strict := watching(t, "IDLE", 3*time.Second)
	var services strings.Builder
	for i := range 30 {
		fmt.Fprintf(&services, "service \"s%d\" { command \"/bin/sleep\" \"100000\" }\n", i)
	}
	s := newStack(t, plain+"stack {\n"+services.String()+"}\n")
	s.up()
	pid := s.status().PID
	if strict {
		time.Sleep(5 * time.Second) // what a start leaves to be done is no part of idling
	}
	before := measure(t, pid)
	time.Sleep(watched)
	after := measure(t, pid)
	seconds := watched.Seconds()
	cpu, wakeups := float64(after.ticks-before.ticks)/seconds, float64(after.switches-before.switches)/seconds // a tick is 1 % of a second
	t.Logf("31 services idle for %v: rss %.1f MB, %.3f %% of a processor, %.1f wake-ups a second", watched, float64(after.rss)/1024, cpu, wakeups)
	switch {
	case strict && (after.rss > 20<<10 || cpu > 0.1 || wakeups > 5):
		t.Error("that is more than 20 MB, 0.1 % or 5 a second")
	case after.rss > 40<<10 || wakeups > 100:
		t.Error("that is no idling")
	}
}
