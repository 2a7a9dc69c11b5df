package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

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
	e := api.Event{Time: r.At, Service: agent, Kind: "scale", To: "applied", Reason: d.instancesOf(agent)}
	switch {
	case !r.OK:
		e.To, e.Reason = "refused", r.Error
		d.Note("error", fmt.Sprintf("agent %s was not scaled, nothing changed: %s", agent, r.Error))
	case r.Changed:
		d.Note("info", fmt.Sprintf("agent %s scaled to %s: generation %d, in %d ms", agent, e.Reason, r.Generation, r.TookMillis))
	default:
		e.To = "unchanged"
	}
	d.emit(e)
	return r, nil
}

// instancesOf says how many instances an agent has.
func (d *Daemon) instancesOf(agent string) string {
	n := 0
	for _, s := range d.Plan().Services {
		if s.Agent == agent {
			n++
		}
	}
	return fmt.Sprintf("instances: %d", n)
}

// scaled lists for the status which agents do not have as many instances as the file says.
func scaled(p *plan.Plan) []api.Scaled {
	var list []api.Scaled
	for agent, s := range p.Scaled() {
		list = append(list, api.Scaled{Agent: agent, Instances: s.Instances, Written: s.Written})
	}
	slices.SortFunc(list, func(a, b api.Scaled) int { return strings.Compare(a.Agent, b.Agent) })
	return list
}
