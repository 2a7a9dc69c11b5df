package main

import (
	"github.com/sentinel-stack/sentinel/agents/denylist/policy"
	"github.com/sentinel-stack/sentinel/protocol"
)

// Metrics returns the counters and the sizes of the lists in force.
func (d *denylist) Metrics() protocol.MetricsReport {
	c := &d.counters
	report := protocol.MetricsReport{Counters: []protocol.Sample{
		{Name: "denylist_lookups_total", Help: "Requests judged.", Value: float64(c.Lookups.Load())},
		{Name: "denylist_exempted_total", Help: "Requests that an allow rule took out of a rule set.", Value: float64(c.Exempted.Load())},
		{Name: "denylist_undecided_total", Help: "Requests whose client address could not be read.", Value: float64(c.Undecided.Load())},
		{Name: "denylist_reloads_total", Help: "Lists taken from a changed file.", Value: float64(c.Reloads.Load())},
		{Name: "denylist_reload_errors_total", Help: "List files that could not be taken; the last good list stayed.", Value: float64(c.ReloadErrors.Load())},
	}}
	policy.Kinds(func(k policy.Kind) {
		label := []protocol.Header{{Name: "kind", Value: k.String()}}
		report.Counters = append(report.Counters,
			protocol.Sample{Name: "denylist_blocked_total", Help: "Requests refused, by kind of the rule.", Labels: label, Value: float64(c.Blocked[k].Load())},
			protocol.Sample{Name: "denylist_logged_total", Help: "Requests noted by a rule set that only logs, by kind of the rule.", Labels: label, Value: float64(c.Logged[k].Load())})
	})
	d.current.Load().Sizes(func(list string, entries int) {
		report.Gauges = append(report.Gauges, protocol.Sample{
			Name: "denylist_entries", Help: "Entries of a list.", Labels: []protocol.Header{{Name: "list", Value: list}}, Value: float64(entries),
		})
	})
	return report
}
