package supervise

import (
	"context"
	"fmt"
	"time"
)

// waiter is told once check says so.
type waiter struct {
	check func(*machine) (bool, error)
	done  chan error
}

// start begins a life that somebody asked for: what came before does not count as restart latency.
func (s *Service) start() {
	s.exitedAt = time.Time{}
	s.apply(event{kind: evStart})
}

func answer(err error) chan error {
	done := make(chan error, 1)
	done <- err
	return done
}

// NotReadyError is the answer to who asked for an instance that did not become ready: it ended before, or its time was over.
type NotReadyError struct{ text string }

func (e *NotReadyError) Error() string { return e.text }

func untilReady(m *machine) (bool, error) {
	switch m.state {
	case Ready, Degraded:
		return true, nil
	case Backoff, Quarantined:
		return true, &NotReadyError{fmt.Sprintf("%s: %s", m.state, m.reason)}
	case Failed, Stopped:
		return true, fmt.Errorf("%s: %s", m.state, m.reason)
	}
	return false, nil
}

// wait runs fn on the service's goroutine and waits for the channel it returns.
func (s *Service) wait(ctx context.Context, fn func() chan error) error {
	got := make(chan chan error, 1)
	if !s.post(func() { got <- fn() }) {
		return ErrClosed
	}
	var done chan error
	select {
	case done = <-got:
	case <-s.done:
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s is still %s: %w", s.name, s.Snapshot().State, ctx.Err())
	case <-s.done:
		return ErrClosed
	}
}

// post hands work to the service's goroutine; false when that has ended.
func (s *Service) post(fn func()) bool {
	select {
	case s.work <- fn:
		return true
	case <-s.done:
		return false
	}
}

func (s *Service) loop() {
	defer close(s.done)
	for {
		select {
		case fn := <-s.work:
			fn()
		case <-s.stop:
			s.shutdown()
			return
		}
	}
}

// shutdown kills what still runs and works until the last goroutine of an instance has reported.
func (s *Service) shutdown() {
	s.disarm()
	s.apply(event{kind: evStop})
	for _, in := range s.instances {
		s.kill(in)
	}
	idle := make(chan struct{})
	go func() { s.running.Wait(); close(idle) }()
	for {
		select {
		case fn := <-s.work:
			fn()
		case <-idle:
			s.settle()
			return
		}
	}
}

// settle does the work that was posted before the last goroutine ended, and waits for what that started.
func (s *Service) settle() {
	for {
		select {
		case fn := <-s.work:
			fn()
			continue
		default:
		}
		s.running.Wait()
		s.plan.retire()
		return
	}
}

// apply sends an event through the machine and does what it says.
func (s *Service) apply(e event) {
	for _, a := range s.m.transition(time.Since(s.began), e) {
		s.act(a)
	}
	s.publish()
	for _, tell := range s.answers { // only now does the snapshot show what the caller is told
		tell()
	}
	s.answers = nil
	s.tell()
}

// tell answers those whose wait is over.
func (s *Service) tell() {
	kept := s.waiters[:0]
	for _, w := range s.waiters {
		if ok, err := w.check(s.m); ok {
			w.done <- err
		} else {
			kept = append(kept, w)
		}
	}
	s.waiters = kept
}

func (s *Service) await(check func(*machine) (bool, error)) chan error {
	done := make(chan error, 1)
	if ok, err := check(s.m); ok {
		done <- err
	} else {
		s.waiters = append(s.waiters, waiter{check, done})
	}
	return done
}

func (s *Service) act(a action) {
	switch a.kind {
	case actSpawn:
		in := &instance{id: a.id, plan: s.plan}
		if a.id == s.m.next && s.staged != nil {
			in.plan = s.staged
		}
		in.plan.acquire()
		s.instances[a.id] = in
		s.lastProbe = ""
		s.running.Add(1)
		go s.run(in)
	case actTerminate:
		s.terminate(s.instances[a.id])
	case actKill:
		s.kill(s.instances[a.id])
	case actDump:
		s.dump(s.instances[a.id])
	case actArm:
		s.exitedAt = s.exitedAt.Add(a.delay) // the wait is not latency
		s.timer = time.AfterFunc(a.delay, func() { s.post(func() { s.apply(event{kind: evTimer}) }) })
	case actDisarm:
		s.disarm()
	case actReplaced:
		s.replaced(a.reason)
	}
}

func (s *Service) disarm() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

// replaced keeps or drops the staged spec and tells who asked.
func (s *Service) replaced(reason string) {
	var err error
	if reason != "" {
		err = &NotReadyError{fmt.Sprintf("the new instance of %s did not become ready: %s", s.name, reason)}
	}
	if st := s.staged; st != nil && s.m.next == 0 {
		s.staged = nil
		if err == nil {
			s.commit(st)
		} else {
			st.retire()
		}
	}
	for _, done := range s.replacers {
		s.answers = append(s.answers, func() { done <- err })
	}
	s.replacers = nil
}

// ended forgets an instance and tells the machine.
func (s *Service) ended(in *instance, e event, at time.Time) {
	for _, t := range in.timers {
		t.Stop()
	}
	if in.feed != nil {
		in.feed.Stop()
	}
	if in.cancel != nil {
		in.cancel()
	}
	if in.proc == nil {
		in.plan.release()
	}
	delete(s.instances, in.id)
	if in.id == s.m.current {
		s.exitedAt, s.status = at, ""
	}
	s.reportExit(in, e, at)
	s.apply(e)
	if next := s.instances[s.m.next]; next != nil && next.ready && s.m.current == 0 { // on trial, and the only one now
		s.apply(event{kind: evReady, id: next.id})
	}
	if st := s.m.state; st != Starting && st != Backoff && st != Quarantined {
		s.exitedAt = time.Time{}
	}
}
