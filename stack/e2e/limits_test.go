package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// hogs are a fork bomb and a memory hog beside the services that serve. Both have a bound of their own, so that a limit that does not work
// cannot hurt the machine.
const hogs = `
stack {
    service "bomb" {
        command "/bin/sh" "-c" "i=0; while [ $i -lt 80 ]; do sleep 1000 & i=$((i+1)); done; wait"
        limits { pids 30 }
        restart { quarantine-after 3 }
    }
    service "hog" {
        command "/bin/sh" "-c" "head -c 100000000 /dev/zero | tail -c 100000000 >/dev/null || exit 9; sleep 1000"
        limits { memory "24MB" }
        restart { quarantine-after 3 }
    }
}
`

func limit(v api.Service, name string) api.Limit {
	i := slices.IndexFunc(v.Limits, func(l api.Limit) bool { return l.Name == name })
	if i < 0 {
		return api.Limit{}
	}
	return v.Limits[i]
}

// TestHogsAreContained: both are stopped by the kernel, named in status, events and metrics, while every request is answered.
func TestHogsAreContained(t *testing.T) {
	t.Parallel()
	s := newStack(t, strings.Replace(guarded, `stack { proxy { restart { reset-after-secs 1 } } }`, "", 1))
	s.up()
	proxy := s.service("proxy").PID
	l := s.load(100)
	s.write(strings.Replace(guarded, `stack { proxy { restart { reset-after-secs 1 } } }`, hogs, 1))
	eventually(t, "the hogs are started", func() bool {
		for _, v := range s.status().Services {
			if v.Name == "hog" {
				return true
			}
		}
		return false
	})
	enforced := map[string]string{}
	for _, of := range [][2]string{{"bomb", "pids"}, {"hog", "memory"}} {
		got := limit(s.service(of[0]), of[1])
		if enforced[of[0]] = got.Layer; got.Layer == "sampled" {
			t.Logf("%s: %s", of[1], got.Why)
		}
	}
	if enforced["bomb"] == "sampled" || enforced["hog"] == "sampled" {
		l.stop(nil)
		if os.Getenv("CI") == "true" {
			t.Error("this host has no cgroups to test with")
		}
		t.Skip("no cgroup limits memory and processes on this host; what sampling does is shown by stack/supervise")
	}
	eventually(t, "the memory limit is named", func() bool {
		return strings.Contains(s.service("hog").LastExit, "out of memory: more than its limit of 24MB")
	})
	eventually(t, "the pids limit is named", func() bool {
		v := s.service("bomb")
		return strings.Contains(v.LastExit+v.Reason, "pids limit") && v.PIDsRefused > 0
	})
	l.stop(nil)
	for _, name := range []string{"proxy", "echo", "denylist"} {
		if v := s.service(name); v.State != "ready" || v.Restarts != 0 || v.OOMKills+v.PIDsRefused != 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if s.service("proxy").PID != proxy {
		t.Error("the proxy was replaced")
	}
	out := s.must(0, "events")
	for _, want := range []string{"out of memory", "refuses forks"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the events:\n%s", want, out)
		}
	}
	metrics := s.metrics()
	for _, want := range []string{`sentinel_stack_service_oom_kills_total{service="hog"} [1-9]`, `sentinel_stack_service_pids_refused_total{service="bomb"} [1-9]`,
		`sentinel_stack_service_limit{service="bomb",limit="pids",layer="cgroup-v[12]"} 30`, `sentinel_stack_service_oom_kills_total{service="proxy"} 0`} {
		if !regexp.MustCompile(want).MatchString(metrics) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if out := s.must(0, "status"); !regexp.MustCompile(`hog +memory +24MB +cgroup-v[12]`).MatchString(out) {
		t.Errorf("status says\n%s", out)
	}
	if len(s.groups()) == 0 {
		t.Error("the test does not find the groups of a running stack")
	}
	s.must(0, "down")
	if left := s.groups(); len(left) > 0 {
		t.Errorf("groups are left: %v", left)
	}
}

// groups lists the supervisor's directories in all cgroup hierarchies.
func (s *stack) groups() (found []string) {
	sum := sha256.Sum256([]byte(s.runtime()))
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), "sentinel-"+hex.EncodeToString(sum[:6])) {
			found = append(found, path)
		}
		return nil
	})
	return found
}

func (s *stack) metrics() string {
	c := api.NewClient(filepath.Join(s.runtime(), "control.sock"))
	defer c.Close()
	var b bytes.Buffer
	if err := c.Metrics(context.Background(), &b); err != nil {
		s.t.Fatal(err)
	}
	return b.String()
}

// TestChangedLimitReplacesOneService: the others keep their processes and no request is lost. What an agent does not say comes from the defaults.
func TestChangedLimitReplacesOneService(t *testing.T) {
	t.Parallel()
	limited := strings.Replace(guarded, "stack { ", "stack { defaults { limits { nofile 300; core 4096 } }; ", 1)
	s := newStack(t, limited)
	s.up()
	pids := func() [3]int { return [3]int{s.service("proxy").PID, s.service("echo").PID, s.service("denylist").PID} }
	nofile := func(name string) uint64 {
		var got unix.Rlimit
		if err := unix.Prlimit(s.service(name).PID, unix.RLIMIT_NOFILE, nil, &got); err != nil {
			t.Fatal(err)
		}
		return got.Max
	}
	before := pids()
	if nofile("echo") != 300 || nofile("denylist") != 300 || nofile("proxy") == 300 {
		t.Errorf("open files: echo %d, denylist %d, proxy %d", nofile("echo"), nofile("denylist"), nofile("proxy"))
	}
	if v := s.service("echo"); limit(v, "core").Value != 4096 || limit(v, "core").Layer != "rlimit" || limit(s.service("proxy"), "core").Text != "0" {
		t.Errorf("limits %+v", v.Limits)
	}
	l := s.load(100)
	s.write(strings.Replace(limited, `agent "echo" type="echo" { `, `agent "echo" type="echo" { limits { nofile 200 }; `, 1))
	eventually(t, "the new limit holds", func() bool { v := s.service("echo"); return v.State == "ready" && limit(v, "nofile").Text == "200" })
	l.stop(nil)
	after := pids()
	if after[0] != before[0] || after[1] == before[1] || after[2] != before[2] {
		t.Errorf("processes before %v, after %v: only the second may change", before, after)
	}
	if nofile("echo") != 200 || limit(s.service("echo"), "core").Value != 4096 {
		t.Errorf("open files %d, limits %+v", nofile("echo"), s.service("echo").Limits)
	}
	if out := s.must(0, "events"); !strings.Contains(out, "limits changed") {
		t.Errorf("events: %s", out)
	}
}

// TestStrictLimits: a limit above what any kernel gives is an error with its place, or else a warning and a note in the status.
func TestStrictLimits(t *testing.T) {
	t.Parallel()
	config := func(strict bool) string {
		return plain + fmt.Sprintf("stack { strict-limits #%v\n  proxy { limits { nofile 1073741824 } } }\n", strict)
	}
	s := newStack(t, config(true))
	place := regexp.MustCompile(`sentinel\.kdl:7:27: error: proxy proxy: limit nofile 1073741824 is enforced differently: lowered to \d+`)
	if out := s.must(3, "up", "-d"); !place.MatchString(out) {
		t.Errorf("up says %q", out)
	}
	s.write(config(false))
	s.up()
	if v := s.service("proxy"); v.State != "ready" || !strings.Contains(limit(v, "nofile").Why, "lowered to") {
		t.Errorf("%+v", v)
	}
	if out := s.must(0, "logs", "stack"); !strings.Contains(out, "proxy: limit nofile") {
		t.Errorf("no warning in\n%s", out)
	}
	pid := s.service("proxy").PID
	s.write(config(true))
	eventually(t, "the stricter configuration is refused", func() bool { r := s.status().LastReload; return r != nil && !r.OK && place.MatchString(r.Error) })
	if s.service("proxy").PID != pid {
		t.Error("the proxy was replaced")
	}
	s.write(strings.Replace(config(true), "1073741824", "1000", 1)) // its innocent twin
	eventually(t, "an honest limit is applied", func() bool {
		v := s.service("proxy")
		return v.PID != pid && v.State == "ready" && limit(v, "nofile").Text == "1000"
	})
}
