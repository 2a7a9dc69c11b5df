package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/limits"
)

// prepared is a spec made ready to be started. Its program is closed when it is retired and no start uses it.
type prepared struct {
	Spec
	program *exec.Program
	layers  []limits.Limit
	users   int
	retired bool
}

func (p *prepared) acquire() *prepared { p.users++; return p }

func (p *prepared) release() {
	if p.users--; p.users == 0 && p.retired {
		p.program.Close()
	}
}

func (p *prepared) retire() {
	if p.retired = true; p.users == 0 {
		p.program.Close()
	}
}

// prepare encodes the command with what only the service knows.
func (s *Service) prepare(spec Spec) (*prepared, error) {
	c := spec.Command
	c.Env = append(c.Env[:len(c.Env):len(c.Env)], "NOTIFY_SOCKET="+s.notify.Path())
	if spec.Watchdog > 0 {
		c.Env = append(c.Env, fmt.Sprintf("WATCHDOG_USEC=%d", spec.Watchdog.Microseconds()))
	}
	if b := &c.Box; b.Switch { // it reports there
		if err := os.Chown(s.notify.Path(), int(b.User), int(b.Group)); err != nil {
			return nil, fmt.Errorf("cannot prepare %s: %v", s.name, err)
		}
	}
	c.Limits = limits.Rlimits(spec.Limits)
	p, err := exec.Prepare(c)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare %s: %v", s.name, err)
	}
	return &prepared{Spec: spec, program: p, layers: s.deps.Limits.Layers(spec.Limits)}, nil
}

// Restart replaces the current instance: the new one is ready before the old one is asked to drain. A new one that does not become ready is killed, the
// old one stays and the error says why.
func (s *Service) Restart(ctx context.Context) error {
	switch overlap, err := s.overlaps(ctx); {
	case err != nil:
		return err
	case !overlap:
		return s.stopAndStart(ctx, nil)
	}
	return s.replaceWith(ctx, nil, 0)
}

// Canary is Restart with a trial: once the new instance is ready, both serve for the given time. When the new one ends meanwhile, hangs, fails a probe or exceeds a limit, it is gone
// and the old one stays. When the old one ends, the new one takes over at once.
func (s *Service) Canary(ctx context.Context, trial time.Duration) error {
	switch overlap, err := s.overlaps(ctx); {
	case err != nil:
		return err
	case !overlap:
		return fmt.Errorf("%s cannot be tried: only one process of it may run at a time", s.name)
	}
	return s.replaceWith(ctx, nil, trial)
}

// Replace is Restart with a new spec, which is kept only when the new instance became ready.
func (s *Service) Replace(ctx context.Context, spec Spec) error {
	st, err := s.prepare(spec)
	if err != nil {
		return err
	}
	switch overlap, err := s.overlaps(ctx); {
	case err != nil:
		return err
	case !overlap || !spec.Overlap:
		return s.stopAndStart(ctx, st)
	}
	return s.replaceWith(ctx, st, 0)
}

func (s *Service) overlaps(ctx context.Context) (overlap bool, err error) {
	err = s.wait(ctx, func() chan error { overlap = s.plan.Overlap; return answer(nil) })
	return overlap, err
}

// stopAndStart replaces a service of which only one instance may run. When the new one does not become ready the old spec is started again.
func (s *Service) stopAndStart(ctx context.Context, st *prepared) error {
	if err := s.Stop(ctx); err != nil {
		return err
	}
	var was Spec
	if st != nil {
		if err := s.wait(ctx, func() chan error { was = s.plan.Spec; s.commit(st); return answer(nil) }); err != nil {
			return err
		}
	}
	err := s.Start(ctx)
	if err == nil || st == nil {
		return err
	}
	back := context.WithoutCancel(ctx)
	s.Stop(back)
	return errors.Join(err, s.Update(back, was), s.Start(back))
}

// Drained waits until no instance but the current one is left.
func (s *Service) Drained(ctx context.Context) error {
	return s.wait(ctx, func() chan error {
		return s.await(func(m *machine) (bool, error) { return len(m.old) == 0 && s.leaving == 0, nil })
	})
}

// Update sets the spec for instances started from now on; the current one is left alone.
func (s *Service) Update(ctx context.Context, spec Spec) error {
	st, err := s.prepare(spec)
	if err != nil {
		return err
	}
	return s.wait(ctx, func() chan error {
		s.commit(st)
		return answer(nil)
	})
}

func (s *Service) replaceWith(ctx context.Context, st *prepared, trial time.Duration) error {
	return s.wait(ctx, func() chan error {
		switch {
		case s.m.state == Stopping, s.m.next != 0:
			if st != nil {
				st.retire()
			}
			return answer(fmt.Errorf("cannot replace %s: %s is under way", s.name, map[bool]string{true: "a stop", false: "another replacement"}[s.m.state == Stopping]))
		case s.m.current == 0: // nothing runs: start with the new spec
			if st != nil {
				s.commit(st)
			}
			s.start()
			return s.await(untilReady)
		}
		done := make(chan error, 1)
		s.staged, s.trial = st, trial
		s.replacers = append(s.replacers, done)
		s.apply(event{kind: evReplace})
		return done
	})
}

// commit makes st the spec of the service.
func (s *Service) commit(st *prepared) {
	s.plan.retire()
	s.plan = st
	s.m.policy = st.Policy
}
