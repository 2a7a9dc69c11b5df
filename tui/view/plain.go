package view

import (
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/tui/model"
)

// Plain draws every table without colours, cursor or bound on its width, for pipes and files.
func Plain(m *model.Model, t *Theme) string {
	var b strings.Builder
	v, c := m.Summary(), m.Connection()
	if c.Err != "" {
		fmt.Fprintf(&b, "%s: %s\n", t.state(v.State), t.clean(c.Err))
		return b.String()
	}
	fmt.Fprintf(&b, "%s  gen %d  %s req/s  5xx %s  p99 %s  open circuits %d", t.state(v.State), v.Generation,
		t.rate(v.Rate), t.percent(v.ErrShare), t.latency(v.P99), v.Circuits)
	if !v.StackMissing {
		fmt.Fprintf(&b, "  services %d/%d", v.Ready, v.Services)
	}
	fmt.Fprintf(&b, "  up %s  %s\n", age(v.Uptime), t.clean(v.Version))
	for _, f := range m.Faults() {
		fmt.Fprintf(&b, "%s %s\n", t.pick("✕", "x"), t.clean(f.Text))
	}
	t.plainTable(&b, "ROUTE STATE MATCH TARGET REQ/S ERR P50 P99 TOTAL BLOCKED", len(m.RouteRows()), func(i int) []string {
		r := m.RouteRows()[i]
		return []string{r.ID, t.state(routeWord(r)), r.Match, r.Target, t.rate(r.Rate), t.percent(r.ErrShare),
			t.latency(r.P50), t.latency(r.P99), fmt.Sprint(r.Requests), fmt.Sprint(r.Blocked)}
	})
	t.plainTable(&b, "UPSTREAM TARGET HEALTH REQ/S ACTIVE IDLE REQUESTS FAILURES LAST-ERROR", len(m.TargetRows()), func(i int) []string {
		r := m.TargetRows()[i]
		return []string{r.Upstream, r.Address, t.state(model.TargetWord(&r.Target)), t.rate(r.Rate), fmt.Sprint(r.Active), fmt.Sprint(r.Idle),
			fmt.Sprint(r.Requests), fmt.Sprint(r.Failures), r.LastError}
	})
	t.plainTable(&b, "AGENT CIRCUIT HEALTH CALL/S P50 P99 CALLS ERRORS TIMEOUTS BLOCKED LAST-ERROR", len(m.AgentRows()), func(i int) []string {
		r := m.AgentRows()[i]
		return []string{r.Name, t.state(r.Circuit), t.state(r.Health), t.rate(r.Rate), t.micros(r.P50Micros), t.micros(r.P99Micros),
			fmt.Sprint(r.Calls), fmt.Sprint(r.Errors), fmt.Sprint(r.Timeouts), fmt.Sprint(r.Blocks), r.LastError}
	})
	t.plainTable(&b, "SERVICE KIND STATE PID UP RESTARTS CPU% MEM LAST-EXIT REASON", len(m.ServiceRows()), func(i int) []string {
		r := m.ServiceRows()[i]
		return []string{r.Name, r.Kind, t.state(r.State), fmt.Sprint(r.PID), t.since(m.Now(), r.Since), fmt.Sprint(r.Restarts),
			fmt.Sprintf("%.1f", r.CPUPercent), t.bytes(r.RSSBytes), r.LastExit, r.Reason}
	})
	return b.String()
}

// plainTable writes a table whose columns are as wide as their content; an empty table is left out.
func (t *Theme) plainTable(b *strings.Builder, titles string, count int, row func(int) []string) {
	if count == 0 {
		return
	}
	rows := [][]string{strings.Fields(titles)}
	widths := make([]int, len(rows[0]))
	for i := range count {
		rows = append(rows, row(i))
	}
	for _, r := range rows {
		for i := range widths {
			r[i] = t.clean(r[i])
			if r[i] == "" {
				r[i] = t.none()
			}
			widths[i] = max(widths[i], cells(r[i]))
		}
	}
	b.WriteByte('\n')
	for _, r := range rows {
		var line strings.Builder
		for i := range widths {
			line.WriteString(t.fit(r[i], widths[i]+2, false))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
