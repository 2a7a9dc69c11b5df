package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/sentinel-stack/sentinel/stack/plan"
)

// retireGrace is how long a service that left the configuration goes on after the proxy has loaded the new one: exchanges that began before still ask it.
const retireGrace = time.Second

// retirement is a service that is no longer in the plan and runs until nothing can ask it any more.
type retirement struct {
	service  plan.Service
	replaced bool // the old proxy drains
	cancel   context.CancelFunc
}

// retire ends a service in the background: after the old proxy has drained when the proxy was replaced, else after a moment. The caller holds ops.
func (d *Daemon) retire(s plan.Service, proxyReplaced bool) {
	ctx, cancel := context.WithCancel(d.life)
	d.mu.Lock()
	d.retiring[s.Name] = &retirement{service: s, replaced: proxyReplaced, cancel: cancel}
	d.mu.Unlock()
	proxy := d.find(plan.ProxyName)
	d.background.Go(func() {
		if proxyReplaced {
			proxy.Drained(ctx)
		} else {
			select {
			case <-ctx.Done():
			case <-time.After(retireGrace):
			}
		}
		d.exclusive(ctx, func(ctx context.Context) error {
			if ctx.Err() == nil {
				d.endRetirement(ctx, s.Name)
			}
			return nil
		})
	})
}

// endRetirement stops a retiring service now and closes its sockets. The caller holds ops.
func (d *Daemon) endRetirement(ctx context.Context, name string) {
	r := d.retiring[name]
	if r == nil {
		return
	}
	defer r.cancel()
	d.remove(ctx, name)
	d.mu.Lock()
	delete(d.retiring, name)
	d.mu.Unlock()
	held := d.held(d.plan)
	for _, sock := range r.service.Sockets { // no others: a change under way may have opened some that no plan holds yet
		if spec := socketSpec(sock); !slices.Contains(held, spec) {
			d.sockets.Release(spec)
		}
	}
}
