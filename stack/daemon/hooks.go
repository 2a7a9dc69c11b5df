package daemon

import (
	"bytes"
	"context"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/hooks"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

// drainTime is how long hooks may take to tell of the last events before an end or an upgrade.
const drainTime = 5 * time.Second

// setHooks makes those of p the hooks.
func (d *Daemon) setHooks(p *plan.Plan) {
	d.hooks.Set(hooks.Deps{
		Launcher: d.launcher, Reaper: d.reaper, Forest: d.forest, Logs: d.logs, Environ: d.o.Host.Environ, Runtime: d.o.RuntimeDir, Note: d.Note,
		Event: func(e api.Event) { d.events.emit(e) }, // not to hooks: one that fails would be told of it
	}, p.Hooks)
}

// drainHooks ends the hooks.
func (d *Daemon) drainHooks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	d.hooks.Drain(ctx)
}

// pauseHooks ends the hooks, whose processes nobody would watch while the program is replaced; resume begins anew.
func (d *Daemon) pauseHooks() (resume func()) {
	d.drainHooks(context.Background())
	return func() { d.setHooks(d.plan) }
}

// hookStatus lists the hooks for the status.
func (d *Daemon) hookStatus() (list []api.Hook) {
	d.hooks.Stats(func(key string, s hooks.Stats) {
		list = append(list, api.Hook{
			Name: key, Done: s.Done, Failed: s.Failed, Dropped: s.Dropped, Retries: s.Retries, Waiting: s.Queued, Running: s.Running > 0, LastError: s.LastError,
		})
	})
	return list
}

func (d *Daemon) writeHooks(b *bytes.Buffer) {
	type row struct {
		key string
		hooks.Stats
	}
	var rows []row
	d.hooks.Stats(func(key string, s hooks.Stats) { rows = append(rows, row{key, s}) })
	if len(rows) == 0 {
		return
	}
	family(b, "sentinel_stack_hook_runs_total", "counter", "Events that hooks were told of, by outcome.")
	for _, r := range rows {
		sample(b, "sentinel_stack_hook_runs_total", float64(r.Done), "hook", r.key, "outcome", "done")
		sample(b, "sentinel_stack_hook_runs_total", float64(r.Failed), "hook", r.key, "outcome", "failed")
	}
	each := func(name, kind, help string, value func(row) float64) {
		family(b, name, kind, help)
		for _, r := range rows {
			sample(b, name, value(r), "hook", r.key)
		}
	}
	each("sentinel_stack_hook_dropped_total", "counter", "Events that a hook was too slow for.", func(r row) float64 { return float64(r.Dropped) })
	each("sentinel_stack_hook_retries_total", "counter", "Further attempts of webhooks.", func(r row) float64 { return float64(r.Retries) })
	each("sentinel_stack_hook_queued", "gauge", "Events that wait for a hook.", func(r row) float64 { return float64(r.Queued) })
	each("sentinel_stack_hook_running", "gauge", "Whether a hook is at work.", func(r row) float64 { return float64(r.Running) })
}
