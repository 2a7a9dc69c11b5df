package e2e

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// greedy are agents' worst days: each never stops taking what it can get. DISK is a file system of its own, of a few megabytes.
const greedy = `
stack {
    service "spinner" { command "/bin/sh" "-c" "while :; do :; done"; limits { cpu "25%" }; restart { quarantine-after 0 } }
    service "bomb" {
        command "/bin/sh" "-c" "while :; do for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 0.2 & done; wait; done"
        limits { pids 12; cpu "10%" }
        restart { quarantine-after 0 }
    }
    service "hoarder" { command "/bin/sh" "-c" "while :; do head -c 100000000 /dev/zero | tail -c 100000000 >/dev/null; sleep 0.2; done"; limits { memory "24MB"; cpu "25%" }; restart { quarantine-after 0; max-delay-secs 1 } }
    service "writer" { command "/bin/sh" "-c" "while :; do head -c 100000000 /dev/zero > DISK/full; sleep 0.05; done"; limits { cpu "25%" }; restart { quarantine-after 0 } }
}
`

var hogNames = []string{"spinner", "bomb", "hoarder", "writer"}

// latencies are those of a route without agents, at a fixed pace.
func (s *stack) latencies(perSecond int, d time.Duration) []time.Duration {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var all []time.Duration
	var calls sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		calls.Go(func() {
			began := time.Now()
			resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/plain", s.port))
			if err != nil {
				s.t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				s.t.Error(resp.Status)
			}
			mu.Lock()
			all = append(all, time.Since(began))
			mu.Unlock()
		})
	}
	calls.Wait()
	slices.Sort(all)
	return all
}

// TestLatencyBesideHogs: services that take all the processor, processes, memory and disk they can get leave the others what they had. Rounds with and without them alternate; HOGS says how many there are of each, and
// then the p99 beside them is held against that without, else it is only printed.
func TestLatencyBesideHogs(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("HOGS"))
	judged, length := err == nil && rounds > 0, 5*time.Second
	if !judged {
		t.Parallel()
		rounds, length = 1, time.Second
	}
	disk := smallDisk(t)
	text := strings.Replace(guarded, `routes {`, `routes { route "plain" { matches { path "/plain" }; builtin-handler "status" };`, 1)
	text = strings.Replace(text, `stack { proxy { restart { reset-after-secs 1 } } }`, strings.ReplaceAll(greedy, "DISK", disk), 1)
	s := newStack(t, text)
	s.up()
	if l := limit(s.service("spinner"), "cpu"); l.Layer == "sampled" || l.Layer == "" {
		if os.Getenv("CI") == "true" {
			t.Error("this host has no cgroups to test with")
		}
		t.Skipf("no cgroup limits processors on this host: %s", l.Why)
	}
	all := func(verb string) {
		t.Helper()
		for _, name := range hogNames {
			s.must(0, verb, name)
		}
	}
	var quiet, beside []time.Duration
	for range rounds {
		all("stop")
		quiet = append(quiet, p99(s.latencies(300, length)))
		all("start")
		beside = append(beside, p99(s.latencies(300, length)))
	}
	for name, seen := range map[string]func() bool{
		"spinner": func() bool { return s.service("spinner").ThrottledMillis > 0 },
		"bomb":    func() bool { return s.service("bomb").PIDsRefused > 0 },
		"hoarder": func() bool { return s.service("hoarder").OOMKills > 0 },
		"writer":  func() bool { return full(disk) },
	} {
		eventually(t, name+" takes all it can get", seen)
	}
	for _, name := range []string{"proxy", "echo", "denylist"} {
		if v := s.service(name); v.State != "ready" || v.Restarts != 0 {
			t.Errorf("%s is %s, %d restarts", name, v.State, v.Restarts)
		}
	}
	ratio := float64(middle(beside)) / float64(middle(quiet))
	t.Logf("p99 of a route beside four hogs, middle of %d rounds: %v, without them %v, ratio %.2f (beside %v, without %v)", rounds, middle(beside), middle(quiet), ratio, beside, quiet)
	if judged && ratio > 1.1 {
		t.Error("that is more than 1.1")
	}
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

func middle(list []time.Duration) time.Duration {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}

// smallDisk is a file system of eight megabytes.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=8m"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("no file system can be made here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func full(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Bavail == 0
}

// TestProcessorQuota: who takes all the processor it can get, gets what its limit says.
func TestProcessorQuota(t *testing.T) {
	watched, off := 3*time.Second, 0.25
	if timed() {
		watched, off = 20*time.Second, 0.05
	} else {
		t.Parallel()
	}
	s := newStack(t, plain+"stack { service \"spinner\" { command \"/bin/sh\" \"-c\" \"while :; do :; done\"; limits { cpu \"30%\" } } }\n")
	s.up()
	v := s.service("spinner")
	if l := limit(v, "cpu"); l.Layer == "sampled" || l.Layer == "" {
		if os.Getenv("CI") == "true" {
			t.Error("this host has no cgroups to test with")
		}
		t.Skipf("no cgroup limits processors on this host: %s", l.Why)
	}
	before, began := measure(t, v.PID).ticks, time.Now()
	time.Sleep(watched)
	used := float64(measure(t, v.PID).ticks-before) / 100 / time.Since(began).Seconds()
	t.Logf("with a quota of 30 %% it used %.1f %%", 100*used)
	if used > 0.3*(1+off) || timed() && used < 0.3*(1-off) { // a busy machine may have given it less
		t.Errorf("that is off by more than %.0f %%", 100*off)
	}
}
