package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is an independent client: requests at a fixed pace, half of them on connections of their own, half on kept ones.
type load struct {
	s      *stack
	url    string
	stopc  chan struct{}
	pacer  sync.WaitGroup
	calls  sync.WaitGroup
	mu     sync.Mutex
	all    int
	failed []failure
	slow   time.Duration
}

type failure struct {
	began, ended time.Time
	what         string
}

func (s *stack) load(perSecond int) *load {
	l := &load{s: s, url: fmt.Sprintf("http://127.0.0.1:%d/load", s.port), stopc: make(chan struct{})}
	kept := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	l.pacer.Add(1)
	go func() {
		defer l.pacer.Done()
		defer kept.CloseIdleConnections()
		defer l.calls.Wait()
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-l.stopc:
				return
			case <-tick.C:
			}
			c := kept
			if i%2 == 0 {
				c = fresh
			}
			l.calls.Go(func() { l.call(c) })
		}
	}()
	s.t.Cleanup(func() { l.end() })
	return l
}

func (l *load) call(c *http.Client) {
	began := time.Now()
	resp, err := c.Get(l.url)
	what := ""
	if err != nil {
		what = err.Error()
	} else {
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			what = err.Error()
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			what = resp.Status
		}
	}
	ended := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all++
	l.slow = max(l.slow, ended.Sub(began))
	if what != "" {
		l.failed = append(l.failed, failure{began, ended, what})
	}
}

func (l *load) end() {
	l.mu.Lock()
	select {
	case <-l.stopc:
	default:
		close(l.stopc)
	}
	l.mu.Unlock()
	l.pacer.Wait()
}

// moment is how long a kill took: what the victim had accepted by the end of it may be lost.
type moment struct{ asked, gone time.Time }

// killing kills a process and waits until it is no more than a zombie.
func killing(t *testing.T, pid int) (m moment) {
	t.Helper()
	m.asked = time.Now()
	kill(pid)
	eventually(t, "it is dead", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, after, found := strings.Cut(string(stat), ") ")
		return err != nil || !found || after[0] == 'Z' || after[0] == 'X'
	})
	m.gone = time.Now()
	return m
}

// stop ends the load. Only requests that were under way at one of the moments of killing may have failed.
func (l *load) stop(kills []moment) {
	l.s.t.Helper()
	l.end()
	inFlight, bad, shown := 0, 0, 0
	for _, f := range l.failed {
		excused := false
		for _, k := range kills {
			excused = excused || f.began.Before(k.gone) && f.ended.After(k.asked)
		}
		if !excused {
			if shown++; shown <= 5 {
				l.s.t.Errorf("failed: %s, began %v, took %v", f.what, f.began.Format("05.000"), f.ended.Sub(f.began))
			}
			bad++
		} else {
			inFlight++
		}
	}
	l.s.t.Logf("%d requests, %d failed in flight, %d failed otherwise, slowest %v", l.all, inFlight, bad, l.slow)
	if l.all == 0 {
		l.s.t.Error("no request was made")
	}
}

// kills is how often each service is killed; the reliability suite sets 50.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("E2E_KILLS")); err == nil && n > 0 {
		return n
	}
	if testing.Short() {
		return 3
	}
	return 10
}

// timed says that the machine is quiet enough for timings to be judged; otherwise they are only printed.
func timed() bool { return os.Getenv("E2E_TIMING") != "" }

// TestKillsUnderLoad kills the proxy and an agent again and again under 500 requests a second.
func TestKillsUnderLoad(t *testing.T) {
	for _, victim := range []string{"proxy", "denylist", "echo"} {
		t.Run(victim, func(t *testing.T) {
			s := newStack(t, guarded)
			s.up()
			l := s.load(500)
			var at []moment
			for range kills() {
				// A life of a second counts as healthy in this configuration, so that each restart is a first restart.
				time.Sleep(1100 * time.Millisecond)
				v := s.service(victim)
				at = append(at, killing(t, v.PID))
				eventually(t, "it is ready again", func() bool { n := s.service(victim); return n.State == "ready" && n.PID != v.PID })
			}
			time.Sleep(500 * time.Millisecond)
			if victim != "proxy" {
				at = nil // an agent's death must not cost a request
			}
			l.stop(at)
			v := s.service(victim)
			t.Logf("%s killed %d times: exit to exec p50 %d us, p99 %d us, exec to ready p50 %d us", victim, kills(), v.RestartP50Micros, v.RestartP99Micros, v.ReadyP50Micros)
			if v.Restarts != uint64(kills()) {
				t.Errorf("%d restarts", v.Restarts)
			}
			if timed() && (v.RestartP50Micros > 5000 || v.RestartP99Micros > 20_000 || victim == "proxy" && v.RestartP50Micros+v.ReadyP50Micros > 30_000) {
				t.Errorf("too slow")
			}
		})
	}
}
