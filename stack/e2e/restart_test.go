package e2e

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRollingRestartAndCanary: every process is another one afterwards and no request is lost.
func TestRollingRestartAndCanary(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	var sent, failed atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			sent.Add(1)
			if code, body, err := s.get("/"); err != nil || code != 200 {
				failed.Add(1)
				t.Logf("%d %s %v", code, body, err)
			}
		}
	}()
	pids := func() [3]int { return [3]int{s.service("proxy").PID, s.service("echo").PID, s.service("denylist").PID} }
	before := pids()
	s.must(0, "restart", "--rolling")
	after := pids()
	for i := range before {
		if before[i] == after[i] {
			t.Errorf("pids before %v, after %v", before, after)
		}
	}
	began := time.Now()
	s.must(0, "restart", "--canary", "1s", "echo", "proxy")
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("two trials of a second took %v", took)
	}
	if now := pids(); now[0] == after[0] || now[1] == after[1] || now[2] != after[2] {
		t.Errorf("pids before %v, after %v", after, now)
	}
	close(stop)
	<-done
	if failed.Load() > 0 || sent.Load() == 0 {
		t.Errorf("requests %d, failed %d", sent.Load(), failed.Load())
	}
	s.must(2, "restart")
	s.must(2, "restart", "--rolling", "echo")
	if code, out := s.run("restart", "--canary", "1h", "echo"); code != 1 || !strings.Contains(out, "at most") {
		t.Errorf("%d %s", code, out)
	}
}

// TestCanaryAndUpgrade: a trial whose command was broken off goes on, and ends with the supervisor's program; the old process stays and can be replaced.
func TestCanaryAndUpgrade(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	old := s.service("echo").PID
	cmd := s.command("restart", "--canary", "5m", "echo")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "on trial", func() bool { return strings.Contains(s.service("echo").Reason, "on trial") })
	cmd.Process.Kill()
	cmd.Wait()
	s.must(0, "upgrade")
	eventually(t, "the trial is over", func() bool { return !strings.Contains(s.service("echo").Reason, "on trial") })
	if v := s.service("echo"); v.PID != old || v.State != "ready" {
		t.Errorf("%+v, before pid %d", v, old)
	}
	s.must(0, "restart", "echo")
	if v := s.service("echo"); v.PID == old || v.State != "ready" {
		t.Errorf("%+v, before pid %d", v, old)
	}
}
