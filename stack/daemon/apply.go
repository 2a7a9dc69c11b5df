package daemon

import (
	"context"
	"fmt"
	"slices"

	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/sockets"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// transaction remembers how to go back.
type transaction struct{ undo []func() }

func (t *transaction) onUndo(fn func()) { t.undo = append(t.undo, fn) }

func (t *transaction) rollback() {
	for _, fn := range slices.Backward(t.undo) {
		fn()
	}
}

// apply makes the changes in an order in which every step can be taken back: first what is new or replaced, then the proxy, and only when that
// serves, the end of what is gone.
func (d *Daemon) apply(ctx context.Context, next *plan.Plan, diff *plan.Diff, bundle string) (err error) {
	tx := &transaction{}
	defer func() {
		if err != nil {
			tx.rollback()
			d.sockets.Retain(d.held(d.plan))
		}
	}()
	for _, s := range next.Services {
		if s.Kind == plan.KindProxy {
			err = d.applyProxy(ctx, tx, s, diff, bundle, next.Hash)
		} else {
			err = d.applyService(ctx, tx, s, diff.Steps[s.Name], bundle)
		}
		if err != nil {
			return err
		}
	}
	proxyReplaced := diff.Steps[plan.ProxyName] == plan.StepReplace
	for _, s := range slices.Backward(d.plan.Services) {
		if diff.Steps[s.Name] == plan.StepStop {
			d.retire(s, proxyReplaced)
		}
	}
	d.sockets.Retain(d.held(next))
	d.sort(next)
	return nil
}

// held lists the sockets of a plan and of the services that still retire.
func (d *Daemon) held(p *plan.Plan) []sockets.Spec {
	var specs []sockets.Spec
	services := slices.Clone(p.Services)
	for _, r := range d.retiring {
		services = append(services, r.service)
	}
	for _, s := range services {
		for _, sock := range s.Sockets {
			specs = append(specs, socketSpec(sock))
		}
	}
	return specs
}

// sort puts the services into the plan's start order.
func (d *Daemon) sort(p *plan.Plan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	place := map[string]int{}
	for i, s := range p.Services {
		place[s.Name] = i
	}
	slices.SortStableFunc(d.services, func(a, b *supervise.Service) int { return place[a.Name()] - place[b.Name()] })
}

func (d *Daemon) remove(ctx context.Context, name string) {
	s := d.find(name)
	if s == nil {
		return
	}
	s.Stop(ctx)
	s.Close()
	d.mu.Lock()
	d.services = slices.DeleteFunc(d.services, func(x *supervise.Service) bool { return x == s })
	d.mu.Unlock()
}

// wasSpec is how a service runs by the present plan.
func (d *Daemon) wasSpec(name string) (supervise.Spec, error) {
	i := slices.IndexFunc(d.plan.Services, func(s plan.Service) bool { return s.Name == name })
	return d.spec(d.plan.Services[i], d.bundle)
}

func (d *Daemon) applyService(ctx context.Context, tx *transaction, s plan.Service, step plan.Step, bundle string) error {
	if step == "" {
		return nil
	}
	undoCtx := context.WithoutCancel(ctx)
	if step == plan.StepStart {
		d.endRetirement(ctx, s.Name) // it left a moment ago
		svc, err := d.newService(s, bundle)
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.services = append(d.services, svc)
		d.mu.Unlock()
		tx.onUndo(func() { d.remove(undoCtx, s.Name) })
		if err := svc.Start(ctx); err != nil {
			return fmt.Errorf("%s %s is %v", s.Kind, s.Name, err)
		}
		return nil
	}
	svc := d.find(s.Name)
	was, err := d.wasSpec(s.Name)
	if err != nil {
		return err
	}
	spec, err := d.spec(s, bundle)
	if err != nil {
		return err
	}
	if step == plan.StepUpdate || svc.Snapshot().State == string(supervise.Stopped) { // what somebody stopped stays stopped
		tx.onUndo(func() { svc.Update(undoCtx, was) })
		return svc.Update(ctx, spec)
	}
	if err := svc.Replace(ctx, spec); err != nil {
		if svc.Snapshot().PID == 0 { // it did not run before: keep its old way of failing
			svc.Update(undoCtx, was)
		}
		return err
	}
	tx.onUndo(func() { svc.Replace(undoCtx, was) })
	return nil
}

// applyProxy replaces the proxy, or has it load the new configuration itself.
func (d *Daemon) applyProxy(ctx context.Context, tx *transaction, s plan.Service, diff *plan.Diff, bundle, hash string) error {
	if diff.Steps[s.Name] == plan.StepReplace {
		return d.applyService(ctx, tx, s, plan.StepReplace, bundle)
	}
	if !diff.ReloadProxy && diff.Steps[s.Name] == "" {
		return nil
	}
	svc := d.find(s.Name)
	was, err := d.wasSpec(s.Name)
	if err != nil {
		return err
	}
	spec, err := d.spec(s, bundle)
	if err != nil {
		return err
	}
	switch state := svc.Snapshot().State; supervise.State(state) {
	case supervise.Ready, supervise.Degraded:
		if err := d.reloadProxy(ctx, svc, bundle, hash); err != nil {
			return err
		}
		tx.onUndo(func() { d.reloadProxy(context.WithoutCancel(ctx), svc, d.bundle, d.plan.Hash) })
	case supervise.Stopped: // somebody stopped it
	default: // it does not run because of the old configuration, perhaps
		if err := svc.Replace(ctx, spec); err != nil {
			svc.Update(context.WithoutCancel(ctx), was)
			return fmt.Errorf("proxy is %v", err)
		}
		return nil
	}
	tx.onUndo(func() { svc.Update(context.WithoutCancel(ctx), was) })
	return svc.Update(ctx, spec)
}
