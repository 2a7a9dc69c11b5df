package daemon

import (
	"context"
	"fmt"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

// Scale gives an agent n instances, 0 = as many as the file says. It starts from the configuration that runs, not from what the file says by now, and goes the way of a reload: whatever
// fails, everything is as before. The number holds, over reloads and upgrades, until the file's own is edited or the stack ends.
func (d *Daemon) Scale(ctx context.Context, agent string, n int) (api.ReloadResult, error) {
	var wrong error
	r := d.change(ctx, func(ctx context.Context, r *api.ReloadResult) error {
		scale, err := d.plan.WithScaling(agent, n)
		if err != nil {
			wrong = err
			return err
		}
		next, err := plan.LoadScaled("bundle:"+d.bundle, d.o.Host, scale)
		if err != nil {
			return fmt.Errorf("cannot load the running configuration: %v", err)
		}
		next.File, next.Watched, next.Globs = d.plan.File, d.plan.Watched, d.plan.Globs
		return d.applyPlan(ctx, next, r)
	})
	if wrong != nil {
		return r, wrong
	}
	e := api.Event{Service: agent, Kind: "scale", To: fmt.Sprint(n)}
	switch {
	case !r.OK:
		e.To, e.Reason = "refused", r.Error
		d.Note("error", fmt.Sprintf("agent %s was not scaled, nothing changed: %s", agent, r.Error))
	case r.Changed:
		d.Note("info", fmt.Sprintf("agent %s scaled: generation %d, in %d ms", agent, r.Generation, r.TookMillis))
	}
	e.Time = r.At
	d.emit(e)
	return r, nil
}

// scaled lists for the status which agents do not have as many instances as the file says.
func scaled(p *plan.Plan) []api.Scaled {
	var list []api.Scaled
	for agent, s := range p.Scaled() {
		list = append(list, api.Scaled{Agent: agent, Instances: s.Instances, Written: s.Written})
	}
	return list
}
