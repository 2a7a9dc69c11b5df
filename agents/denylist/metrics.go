package main

import (
	"time"

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
	d.feedMetrics(&report)
	d.banMetrics(&report)
	return report
}

func (d *denylist) feedMetrics(report *protocol.MetricsReport) {
	for _, f := range d.current.Load().Feeds {
		labels := func(more ...protocol.Header) []protocol.Header {
			return append([]protocol.Header{{Name: "feed", Value: f.Name}}, more...)
		}
		for result, n := range map[string]uint64{"taken": f.Taken.Load(), "unchanged": f.Same.Load(), "failed": f.Failed.Load()} {
			report.Counters = append(report.Counters, protocol.Sample{
				Name: "denylist_feed_fetches_total", Help: "Looks at a feed, by what came of them, since the configuration was applied.", Labels: labels(protocol.Header{Name: "result", Value: result}), Value: float64(n),
			})
		}
		if age, ok := f.Age(time.Now()); ok {
			report.Gauges = append(report.Gauges, protocol.Sample{Name: "denylist_feed_age_seconds", Help: "Age of the copy of a feed.", Labels: labels(), Value: age.Seconds()})
		}
	}
}

func (d *denylist) banMetrics(report *protocol.MetricsReport) {
	s := d.bans.Load()
	if s == nil {
		return
	}
	c := &d.banned
	by := func(source string, n uint64) protocol.Sample {
		return protocol.Sample{Name: "denylist_bans_total", Help: "Bans, by who asked for them.", Labels: []protocol.Header{{Name: "source", Value: source}}, Value: float64(n)}
	}
	report.Counters = append(report.Counters, by("api", c.ByAPI.Load()), by("trigger", c.ByTrigger.Load()),
		protocol.Sample{Name: "denylist_bans_lifted_total", Help: "Bans that were ended before their time.", Value: float64(c.Lifted.Load())},
		protocol.Sample{Name: "denylist_bans_refused_total", Help: "Bans for which the table had no place.", Value: float64(c.Refused.Load())},
		protocol.Sample{Name: "denylist_bans_file_errors_total", Help: "Times that the file of bans could not be read or written.", Value: float64(c.FileErrors.Load())},
		protocol.Sample{Name: "denylist_audit_lines_total", Help: "Lines of audit logs held against triggers.", Value: float64(c.Lines.Load())},
		protocol.Sample{Name: "denylist_audit_bad_lines_total", Help: "Those that could not be understood.", Value: float64(c.BadLines.Load())})
	report.Gauges = append(report.Gauges, protocol.Sample{Name: "denylist_bans", Help: "Networks that are banned now.", Value: float64(s.Size())})
}
