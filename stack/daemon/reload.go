package daemon

import (
	"context"
	"errors"
	"fmt"
	osexec "os/exec"
	"slices"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// reloadTimeout bounds a reload with everything it may have to start.
const reloadTimeout = 2 * time.Minute

// exclusive runs fn while no other change runs. The context it is given also ends when the supervisor is to stop.
func (d *Daemon) exclusive(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)()
	select {
	case d.ops <- struct{}{}:
		defer func() { <-d.ops }()
		return fn(ctx)
	case <-ctx.Done():
		return fmt.Errorf("another change is still under way: %w", ctx.Err())
	}
}

// reloadFromWatch is called when files have changed.
func (d *Daemon) reloadFromWatch(ctx context.Context) {
	d.Note("info", "the configuration changed, reloading")
	d.Reload(ctx)
}

// Diff says what a reload would do now.
func (d *Daemon) Diff() (*plan.Diff, error) {
	now := d.Plan()
	if now == nil {
		return nil, errors.New("the stack is still being started")
	}
	next, err := plan.LoadScaled(d.o.Config, d.o.Host, now.Scaled())
	if err != nil {
		return nil, err
	}
	return plan.Compare(now, next), nil
}

// Reload loads the configuration and applies what changed. Whatever fails, everything is as before, and the result says why.
func (d *Daemon) Reload(ctx context.Context) api.ReloadResult {
	r := d.change(ctx, d.reload)
	d.mu.Lock()
	d.lastReload = &r
	d.mu.Unlock()
	e := api.Event{Time: time.Now(), Kind: "reload", To: "applied"}
	switch {
	case !r.OK:
		e.To, e.Reason = "refused", r.Error
		d.Note("error", "reload refused, nothing changed: "+r.Error)
	case !r.Changed:
		e.To = "unchanged"
	default:
		d.Note("info", fmt.Sprintf("reloaded: generation %d, changes: %d, in %d ms", r.Generation, len(r.Plan.Changes), r.TookMillis))
	}
	d.emit(e)
	return r
}

// change runs one change of what is supervised, when no other does, and tells how it ended.
func (d *Daemon) change(ctx context.Context, fn func(context.Context, *api.ReloadResult) error) api.ReloadResult {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	r := api.ReloadResult{At: time.Now()}
	err := d.exclusive(ctx, func(ctx context.Context) error {
		d.upward.Reloading()
		defer func() { d.upward.Ready(d.summary()) }()
		return fn(ctx, &r)
	})
	r.TookMillis = time.Since(r.At).Milliseconds()
	if r.Plan.Changes == nil {
		r.Plan.Changes = []api.Change{}
	}
	if r.OK = err == nil; !r.OK {
		r.Error = err.Error()
	}
	d.mu.Lock()
	r.Generation = d.generation
	d.mu.Unlock()
	return r
}

func (d *Daemon) reload(ctx context.Context, r *api.ReloadResult) error {
	next, digest, err := load(d.o, d.plan.Scaled())
	if err != nil {
		return err
	}
	if err := d.applyPlan(ctx, next, r); err != nil || !r.Changed {
		return err
	}
	d.setHooks(next)
	d.setWatch(next, digest)
	return nil
}

// applyPlan makes the next plan the running one. On error everything is as before.
func (d *Daemon) applyPlan(ctx context.Context, next *plan.Plan, r *api.ReloadResult) error {
	diff := plan.Compare(d.plan, next)
	r.Plan.Changes = diff.Changes
	if diff.Empty() {
		d.retryFailed(ctx)
		return nil
	}
	if next.Warnings != "" {
		d.Note("warn", next.Warnings)
	}
	if err := d.checkLimits(next, func(s plan.Service) bool { return diff.Steps[s.Name] != "" }); err != nil {
		return err
	}
	bundle, err := d.writeBundle(next)
	if err != nil {
		return err
	}
	if len(diff.Steps) > 0 { // the proxy itself checks what it alone has to load
		if err := d.check(ctx, next, bundle); err != nil {
			return err
		}
	}
	for _, c := range diff.Changes {
		d.emit(api.Event{Time: time.Now(), Service: c.Name, Kind: "plan", To: c.Op + " " + c.Kind + " " + c.Action, Reason: c.Detail})
	}
	if err := d.apply(ctx, next, diff, bundle); err != nil {
		return err
	}
	r.Changed = true
	d.mu.Lock()
	d.plan, d.bundle = next, bundle
	d.generation++
	d.mu.Unlock()
	d.storeSockets()
	d.changed()
	d.retryFailed(ctx)
	return nil
}

// retryFailed starts again what could not be started with an unchanged configuration: the missing program may be there now.
func (d *Daemon) retryFailed(ctx context.Context) {
	for _, s := range d.list() {
		if s.Snapshot().State == string(supervise.Failed) {
			if err := s.Start(ctx); err != nil {
				d.Note("warn", s.Name()+" is still "+err.Error())
			}
		}
	}
}

// checkTimeout bounds the proxy program's own check of a configuration.
const checkTimeout = 20 * time.Second

// check has the proxy program build the configuration without serving it.
func (d *Daemon) check(ctx context.Context, p *plan.Plan, bundle string) error {
	i := slices.IndexFunc(p.Services, func(s plan.Service) bool { return s.Kind == plan.KindProxy })
	proxy := p.Services[i]
	if proxy.Problem != "" {
		return errors.New(proxy.Problem)
	}
	return Check(ctx, proxy.Path, "bundle:"+bundle, proxy.Env, d.reaper.Run)
}

// Check runs "sentinel test" of the program at path on a configuration.
func Check(ctx context.Context, path, configuration string, env []string, run func(*osexec.Cmd) error) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var out strings.Builder
	cmd := osexec.CommandContext(ctx, path, "test", "--config", configuration)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = env, &out, &out, time.Second
	err := run(cmd)
	if err == nil {
		return nil
	}
	if text := strings.TrimSpace(out.String()); text != "" {
		return errors.New(text)
	}
	return fmt.Errorf("cannot check the configuration with %s: %v", path, err)
}
