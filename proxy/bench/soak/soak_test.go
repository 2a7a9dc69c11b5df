package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestLedger(t *testing.T) {
	t.Parallel()
	l := newLedger()
	o := options{minSuccess: 99.99}
	before := time.Now()
	l.request("small", before, nil)
	if broken := l.judge(o); len(broken) > 0 {
		t.Errorf("nothing failed: %v", broken)
	}
	end := l.fault("kill", 0)
	l.request("small", before, errors.New("was under way"))
	end()
	l.request("small", before, errors.New("began before the fault and ended after it"))
	if broken := l.judge(o); len(broken) > 0 {
		t.Errorf("what failed in a fault counts: %v", broken)
	}
	after := time.Now()
	for !time.Now().After(after) {
	}
	l.request("small", time.Now(), errors.New("has no excuse"))
	if broken := l.judge(o); len(broken) != 1 || !strings.Contains(broken[0], "success") {
		t.Errorf("a failure outside faults: %v", broken)
	}
	o.minSuccess, o.minRequests = 0, 100
	if broken := l.judge(o); len(broken) != 1 || !strings.Contains(broken[0], "requests") {
		t.Errorf("too few requests: %v", broken)
	}
}

func TestJudgeUsage(t *testing.T) {
	t.Parallel()
	good := usage{rss: 40 << 20, fds: 20, goroutines: 30, pid: 7}
	for what, u := range map[string]usage{
		"memory":      {rss: 80 << 20, fds: 20, goroutines: 30, pid: 7},
		"goroutines":  {rss: 40 << 20, fds: 20, goroutines: 51, pid: 7},
		"descriptors": {rss: 40 << 20, fds: 41, goroutines: 30, pid: 7},
		"died":        {rss: 40 << 20, fds: 20, goroutines: 30, pid: 8},
	} {
		broken := judgeUsage(map[string]usage{"proxy": good}, map[string]usage{"proxy": u})
		if len(broken) != 1 || !strings.Contains(broken[0], what) {
			t.Errorf("%s: %v", what, broken)
		}
	}
	u := usage{rss: 60 << 20, fds: 40, goroutines: 50, pid: 7}
	if broken := judgeUsage(map[string]usage{"proxy": good}, map[string]usage{"proxy": u}); len(broken) > 0 {
		t.Errorf("within the bounds: %v", broken)
	}
}
