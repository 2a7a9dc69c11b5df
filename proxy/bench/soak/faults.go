package main

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

const (
	pause = 4 * time.Second         // between two faults
	spell = 1500 * time.Millisecond // how long a target fails
	grace = time.Second             // what came in during a fault has this long to be over
)

// injectFaults makes one fault after the other for the time given, each kind once in every turn. The proxy is killed only if proxyToo, and
// in the last third of the time never, so that it has grown to its size when it is looked at.
func injectFaults(o options, s *system, l *ledger, targets []*target, d time.Duration, proxyToo bool) error {
	random := rand.New(rand.NewPCG(o.seed, 0))
	begin := time.Now()
	faults := []func() error{
		func() error { return kill(s, l, "denylist") },
		func() error { return kill(s, l, "echo") },
		func() error { fail(l, targets[random.IntN(len(targets))], "target resets", resets); return nil },
		func() error { fail(l, targets[random.IntN(len(targets))], "target hangs", hangs); return nil },
		func() error { l.happened("reload (no excuse)"); return s.reload() },
		func() error {
			if !proxyToo || time.Since(begin) > d*2/3 {
				return nil
			}
			return kill(s, l, "proxy")
		},
	}
	for {
		for _, i := range random.Perm(len(faults)) {
			left := d - time.Since(begin)
			if left < pause+5*time.Second { // a fault that begins now may not be over in time
				time.Sleep(max(0, left))
				return nil
			}
			time.Sleep(pause)
			if err := faults[i](); err != nil {
				return err
			}
		}
	}
}

// kill kills a process of the stack and waits for its successor.
func kill(s *system, l *ledger, name string) error {
	_, all, err := s.services()
	if err != nil {
		return err
	}
	for _, v := range all {
		if v.Name == name && v.PID > 0 {
			end := l.fault("kill -9 "+name, grace)
			defer end()
			if err := syscall.Kill(v.PID, syscall.SIGKILL); err != nil {
				return err
			}
			return s.replaced(name, v.PID)
		}
	}
	return fmt.Errorf("no process to kill: %s", name)
}

// fail lets a target fail for a while.
func fail(l *ledger, t *target, name string, mode int32) {
	defer l.fault(name, grace)()
	t.mode.Store(mode)
	time.Sleep(spell)
	t.mode.Store(answers)
}
