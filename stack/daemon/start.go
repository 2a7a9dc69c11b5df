package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// prepare opens the sockets and makes the services of the first plan. Nothing runs yet.
func (d *Daemon) prepare(ctx context.Context, p *plan.Plan) error {
	if p.Warnings != "" {
		d.Note("warn", p.Warnings)
	}
	if err := d.checkLimits(p, func(plan.Service) bool { return true }); err != nil {
		return err
	}
	bundle, err := d.writeBundle(p)
	if err != nil {
		return err
	}
	for _, s := range p.Services {
		svc, err := d.newService(s, bundle)
		if err != nil {
			return err
		}
		d.services = append(d.services, svc)
	}
	d.noteInherited()
	d.mu.Lock()
	d.plan, d.bundle, d.generation = p, bundle, 1
	d.mu.Unlock()
	d.setHooks(p)
	return nil
}

// noteInherited tells of sockets of the service manager that fit no listener, or one only by name.
func (d *Daemon) noteInherited() {
	for _, text := range d.sockets.Odd() {
		d.Note("warn", text)
	}
	var have []string
	for _, s := range d.sockets.Held() {
		if s.Kind == plan.KindProxy {
			have = append(have, fmt.Sprintf("%q on %s", s.Name, s.Address))
		}
	}
	for _, u := range d.sockets.Unclaimed() {
		d.Note("warn", "no listener uses the inherited socket "+u+": it fits neither by address nor by name; the listeners are "+strings.Join(have, ", "))
	}
}

func (d *Daemon) newService(s plan.Service, bundle string) (*supervise.Service, error) {
	spec, err := d.spec(s, bundle)
	if err != nil {
		return nil, err
	}
	return supervise.New(s.Name, s.Kind, spec, d.deps())
}

// deps is what all services share.
func (d *Daemon) deps() supervise.Deps {
	return supervise.Deps{
		Launcher: d.launcher, Reaper: d.reaper, Forest: d.forest, Limits: d.limits, Logs: d.logs, Null: int(d.null.Fd()),
		NotifyDir: filepath.Join(d.o.RuntimeDir, "notify"), OnEvent: d.emit, Note: d.Note,
		OutputDir: filepath.Join(d.o.RuntimeDir, "output"), OnChange: d.changed,
	}
}

// writeBundle stores the configuration where the proxy reads it, and forgets those of generations long gone.
func (d *Daemon) writeBundle(p *plan.Plan) (string, error) {
	dir := filepath.Join(d.o.RuntimeDir, "generations")
	path := filepath.Join(dir, p.Hash+".json")
	if err := p.WriteBundle(path); err != nil {
		return "", fmt.Errorf("cannot write configuration bundle: %v", err)
	}
	old, _ := os.ReadDir(dir)
	for _, f := range old {
		full := filepath.Join(dir, f.Name())
		if full != path && full != d.bundle {
			os.Remove(full)
		}
	}
	return path, nil
}

// stages groups the services: those of one stage start together, the next stage when all of them are ready or have failed once.
func stages(p *plan.Plan, services []*supervise.Service) [][]*supervise.Service {
	var out [4][]*supervise.Service
	for _, want := range p.Services {
		i := slices.IndexFunc(services, func(s *supervise.Service) bool { return s.Name() == want.Name })
		if i < 0 {
			continue
		}
		n := 3 // agents that no route uses
		switch {
		case want.Kind == plan.KindService:
			n = 0
		case want.Kind == plan.KindProxy:
			n = 2
		case want.Used:
			n = 1
		}
		out[n] = append(out[n], services[i])
	}
	return out[:]
}

// startAll starts everything in order. What does not become ready is retried in the background; the error names it.
func (d *Daemon) startAll(ctx context.Context) error {
	var mu sync.Mutex
	var failed []string
	for _, stage := range stages(d.plan, d.services) {
		var wg sync.WaitGroup
		for _, s := range stage {
			wg.Go(func() {
				if err := s.Start(ctx); err != nil && ctx.Err() == nil {
					mu.Lock()
					failed = append(failed, s.Name()+" is "+err.Error())
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if ctx.Err() != nil {
			return nil
		}
	}
	if len(failed) > 0 {
		slices.Sort(failed)
		return errors.New(strings.Join(failed, "; "))
	}
	return nil
}

// stopAll stops everything in reverse order, each stage within its own deadlines and all within the shutdown timeout and the patience, then closes the services, which kills
// what is left.
func (d *Daemon) stopAll() {
	if d.plan != nil {
		deadline := time.Now().Add(d.plan.ShutdownTimeout)
		order := stages(d.plan, d.services)
		slices.Reverse(order)
		for _, stage := range order {
			// A stage that used up the time leaves the next ones a moment to end by themselves.
			ctx, cancel := context.WithDeadline(d.patience(), later(deadline, time.Now().Add(time.Second)))
			var wg sync.WaitGroup
			for _, s := range stage {
				wg.Go(func() { s.Stop(ctx) })
			}
			wg.Wait()
			cancel()
		}
	}
	var wg sync.WaitGroup
	for _, s := range d.services {
		wg.Go(s.Close)
	}
	wg.Wait()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
