package limits

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These tests run on made-up hierarchies: which files are written, and what is read from them, must not depend on the machine. That the kernel
// understands it is shown by the tests of stack/supervise on whatever this machine has.

func put(t *testing.T, dir string, files ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var everything = Set{Memory: 64 << 20, MemoryHigh: 48 << 20, CPU: 50, PIDs: 20, NoFile: 100, IOWeight: 200}

func layers(list []Limit) string {
	var out []string
	for _, l := range list {
		out = append(out, l.Name+" "+l.Text+" "+l.Layer)
	}
	return strings.Join(out, ", ")
}

func TestVersion2(t *testing.T) {
	base := t.TempDir()
	root := filepath.Join(base, "sentinel-x")
	tree := filepath.Join(root, "waf.1")
	put(t, base, "cgroup.controllers", "cpuset cpu io memory pids\n", "cgroup.subtree_control", "cpu io memory pids\n")
	put(t, root, "cgroup.subtree_control", "", "io.weight", "default 100\n")
	put(t, tree, "memory.swap.max", "", "memory.oom.group", "", "memory.max", "", "memory.high", "", "cpu.max", "", "pids.max", "", "io.weight", "",
		"memory.events", "low 0\nhigh 3\nmax 9\noom 1\noom_kill 2\n", "pids.events", "max 7\n",
		"cpu.stat", "usage_usec 100\nnr_periods 10\nnr_throttled 6\nthrottled_usec 2500\n")
	h := &Host{root: root}
	list := h.Layers(everything)
	want := "memory 64MB cgroup-v2, memory-high 48MB cgroup-v2, cpu 50% cgroup-v2, pids 20 cgroup-v2, nofile 100 rlimit, core 0 rlimit, io-weight 200 cgroup-v2"
	if got := layers(list); got != want {
		t.Errorf("layers %s", got)
	}
	g, err := h.Group("waf.1", tree, everything, list)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"memory.max": "67108864", "memory.high": "50331648", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.max": "50000 100000", "pids.max": "20", "io.weight": "default 200",
	} {
		if got := read(t, tree, file); got != want {
			t.Errorf("%s holds %q, want %q", file, got, want)
		}
	}
	if c := g.Counters(); c != (Counters{OOMKills: 2, PIDsRefused: 7, Periods: 10, Throttled: 6, ThrottledBy: 2500 * time.Microsecond}) {
		t.Errorf("%+v", c)
	}
	for before, want := range map[Counters]string{
		{OOMKills: 1, PIDsRefused: 7}: "out of memory: more than its limit of 64MB", {OOMKills: 2, PIDsRefused: 6}: "pids limit 20 reached, forks refused: 7", {OOMKills: 2, PIDsRefused: 7}: "",
	} {
		if got := g.Blame(before, g.Counters()); got != want {
			t.Errorf("after %+v: %q", before, got)
		}
	}
	if len(g.Joins()) != 0 || g.Close() != nil {
		t.Error("version 2 needs no joining and nothing to remove")
	}
}

// TestNotDelegated: each reason for not using version 2 is said, and the rest still works.
func TestNotDelegated(t *testing.T) {
	base := t.TempDir()
	root := filepath.Join(base, "sentinel-x")
	put(t, base, "cgroup.controllers", "pids\n", "cgroup.subtree_control", "pids\n")
	put(t, root, "cgroup.subtree_control", "")
	h := &Host{root: root}
	list := h.Layers(everything)
	want := "memory 64MB sampled, memory-high 48MB none, cpu 50% sampled, pids 20 cgroup-v2, nofile 100 rlimit, core 0 rlimit, io-weight 200 none"
	if got := layers(list); got != want {
		t.Errorf("layers %s", got)
	}
	if why := list[0].Why; why != "cgroup v2: the controller memory is not delegated to it; cgroup v1: no memory hierarchy is mounted" {
		t.Errorf("why: %s", why)
	}
	if got := list[0].String(); !strings.HasPrefix(got, "limit memory 64MB is only watched: ") {
		t.Error(got)
	}
}

func TestVersion1(t *testing.T) {
	dir := t.TempDir()
	base := map[string]string{}
	for _, c := range []string{"memory", "cpu", "pids", "blkio"} {
		base[c] = filepath.Join(dir, c)
		put(t, base[c])
	}
	h := &Host{name: "sentinel-x", v1: base}
	list := h.Layers(Set{Memory: 64 << 20, MemoryHigh: 48 << 20, CPU: 150, PIDs: 20, IOWeight: 200})
	want := "memory 64MB cgroup-v1, memory-high 48MB none, cpu 150% cgroup-v1, pids 20 cgroup-v1, core 0 rlimit, io-weight 200 none"
	if got := layers(list); got != want {
		t.Errorf("layers %s", got)
	}
	if _, err := h.Group("waf.1", "", Set{PIDs: 20}, h.Layers(Set{PIDs: 20})); err == nil {
		t.Error("a limit that cannot be written is no error") // a made-up directory has no pids.max
	}
	for c, files := range map[string][]string{
		"memory": {"memory.limit_in_bytes", "", "memory.memsw.limit_in_bytes", "", "memory.oom_control", "oom_kill_disable 0\noom_kill 1\n", "cgroup.procs", ""},
		"cpu":    {"cpu.cfs_period_us", "", "cpu.cfs_quota_us", "", "cpu.stat", "nr_periods 4\nnr_throttled 3\nthrottled_time 5000\n", "cgroup.procs", ""},
		"pids":   {"pids.max", "", "pids.events", "max 2\n", "cgroup.procs", ""},
	} {
		put(t, filepath.Join(base[c], "sentinel-x", "waf.1"), files...)
	}
	g, err := h.Group("waf.1", "", Set{Memory: 64 << 20, CPU: 150, PIDs: 20}, list[:4])
	if err != nil {
		t.Fatal(err)
	}
	defer g.Joined()
	for file, want := range map[string]string{
		"memory/sentinel-x/waf.1/memory.limit_in_bytes": "67108864", "memory/sentinel-x/waf.1/memory.memsw.limit_in_bytes": "67108864",
		"cpu/sentinel-x/waf.1/cpu.cfs_quota_us": "150000", "pids/sentinel-x/waf.1/pids.max": "20",
	} {
		if got := read(t, dir, file); got != want {
			t.Errorf("%s holds %q, want %q", file, got, want)
		}
	}
	if c := g.Counters(); c != (Counters{OOMKills: 1, PIDsRefused: 2, Periods: 4, Throttled: 3, ThrottledBy: 5 * time.Microsecond}) {
		t.Errorf("%+v", c)
	}
	if len(g.Joins()) != 3 {
		t.Errorf("joins %v", g.Joins())
	}
}

// TestOwnGroups: combined controllers, and a container whose mount shows only a part of the hierarchy.
func TestOwnGroups(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "mountinfo", "30 1 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"+
		"31 1 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"+
		"32 1 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n32 broken\n",
		"cgroup", "4:memory:/docker/abc/app\n3:cpu,cpuacct:/svc\n1:name=systemd:/\n0::/x\n")
	got := ownV1(filepath.Join(dir, "mountinfo"), filepath.Join(dir, "cgroup"))
	want := map[string]string{"cpu": "/sys/fs/cgroup/cpu,cpuacct/svc", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/svc", "memory": "/sys/fs/cgroup/memory/app"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestSampling(t *testing.T) {
	s := Set{Memory: 64 << 20, PIDs: 20, CPU: 50}
	h := &Host{}
	g, err := h.Group("x.1", "", s, h.Layers(s))
	if err != nil {
		t.Fatal(err)
	}
	if !g.Sampled() || !g.Watched() {
		t.Error("nothing but sampling can limit here")
	}
	for _, tt := range []struct {
		u    Usage
		want string
	}{{Usage{RSS: 64 << 20, Threads: 20}, ""}, {Usage{RSS: 64<<20 + 1}, Memory}, {Usage{Threads: 21}, PIDs}} {
		if limit, text := g.Exceeds(tt.u); limit != tt.want || (text == "") != (tt.want == "") {
			t.Errorf("%+v: %s %q", tt.u, limit, text)
		}
	}
	for cpu, want := range map[time.Duration]bool{500 * time.Millisecond: false, 600 * time.Millisecond: true} {
		if got := g.Slow("", Counters{}, Counters{}, Usage{CPU: cpu}, Usage{}, time.Second); (got != "") != want {
			t.Errorf("%v in a second: %q", cpu, got)
		}
	}
	for now, want := range map[Counters]string{
		{Periods: 10, Throttled: 4}: "", {Periods: 10, Throttled: 5}: "slowed down by its cpu limit of 50%",
	} {
		if got := g.Slow("", Counters{}, now, Usage{}, Usage{}, time.Second); got != want {
			t.Errorf("%+v: %q", now, got)
		}
		if got := g.Slow("before", Counters{}, now, Usage{}, Usage{}, time.Second); got == "" { // it must fall further to be over
			t.Errorf("%+v ends it", now)
		}
	}
}

func TestMeasure(t *testing.T) {
	if u := Measure([]int{os.Getpid(), 1 << 30}); u.Processes != 1 || u.RSS < 1<<20 || u.Threads < 2 || u.CPU < 0 {
		t.Errorf("%+v", u)
	}
}

func TestReadPressure(t *testing.T) {
	dir := t.TempDir()
	if _, ok := ReadPressure(dir); ok {
		t.Error("nothing is measured there")
	}
	put(t, dir, "cpu.pressure", "some avg10=12.50 avg60=1.00 avg300=0.10 total=5\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=1\n")
	if p, ok := ReadPressure(dir); !ok || p != (Pressure{CPU: 12.5}) {
		t.Errorf("%+v %v", p, ok)
	}
}

// TestRlimitsAreLowered: what this process may not give is lowered, and Layers says so.
func TestRlimitsAreLowered(t *testing.T) {
	s := Set{NoFile: 1 << 40, Core: 4096}
	got, list := Rlimits(s), h0.Layers(s)
	if got[0].Name != NoFile || got[0].Value >= 1<<40 || got[0].Resource != unix.RLIMIT_NOFILE {
		t.Errorf("%+v", got)
	}
	i := slices.IndexFunc(list, func(l Limit) bool { return l.Name == NoFile })
	if list[i].Layer != Rlimit || !strings.Contains(list[i].Why, "lowered to ") {
		t.Errorf("%+v", list[i])
	}
	if list := h0.Layers(Set{NoFile: 64}); list[0].Why != "" {
		t.Errorf("%+v", list)
	}
}

var h0 = &Host{}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1000: "1000", 1024: "1KB", 64 << 20: "64MB", 3 << 30: "3GB", 1<<20 + 1: "1048577"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
