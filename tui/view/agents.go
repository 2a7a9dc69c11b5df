package view

import (
	"fmt"

	"github.com/sentinel-stack/sentinel/tui/model"
)

// agents draws what the proxy knows of its agents: circuit, health and latency.
func (s *screen) agents(rows int) []string {
	all := s.m.AgentRows()
	if s.class == tiny {
		return s.list(len(all), s.m.Cursor(), rows, func(i int) (style, string) {
			a := all[i]
			return severityStyle(a.Severity), fmt.Sprintf("%s %s p99 %s",
				s.t.state(model.AgentWord(&a.Agent)), a.Name, s.t.micros(a.P99Micros))
		})
	}
	columns := []column{{title: "AGENT", weight: 2}, {title: "CIRCUIT", width: 11}, {title: "HEALTH", width: 11}}
	if s.class > narrow {
		columns = append(columns, column{title: "TYPE", weight: 1})
	}
	columns = append(columns, column{title: "CALL/S", width: 6, right: true},
		column{title: "P50", width: 6, right: true}, column{title: "P99", width: 6, right: true},
		column{title: "ERR", width: 5, right: true})
	if s.class > narrow {
		columns = append(columns, column{title: "TMO", width: 5, right: true})
	}
	if s.class == wide {
		columns = append(columns, column{title: "BLOCKED", width: 7, right: true}, column{title: "NOW", width: 4, right: true},
			column{title: "QUEUE", width: 5, right: true}, column{title: "OPENED", width: 6, right: true},
			column{title: "LAST ERROR", weight: 2})
	}
	return s.table(columns, len(all), s.m.Cursor(), rows, func(i int) []cell {
		a := all[i]
		row := []cell{{a.Name, plain}, {s.t.state(a.Circuit), circuitStyle(a.Circuit)}, {s.t.state(a.Health), severityStyle(a.Severity)}}
		if s.class > narrow {
			row = append(row, cell{a.Type, dim})
		}
		row = append(row, cell{s.t.rate(a.Rate), accent}, cell{s.t.micros(a.P50Micros), plain},
			cell{s.t.micros(a.P99Micros), plain}, cell{s.t.total(a.Errors), counterStyle(a.Errors)})
		if s.class > narrow {
			row = append(row, cell{s.t.total(a.Timeouts), counterStyle(a.Timeouts)})
		}
		if s.class == wide {
			row = append(row, cell{s.t.total(a.Blocks), dim}, cell{s.t.count(float64(a.InFlight)), dim},
				cell{s.t.count(float64(a.Queued)), dim}, cell{s.t.total(a.Opens), counterStyle(a.Opens)}, cell{a.LastError, bad})
		}
		return row
	})
}

func circuitStyle(circuit string) style {
	switch circuit {
	case "closed":
		return good
	case "half-open":
		return warn
	default:
		return bad
	}
}

func counterStyle(n uint64) style {
	if n > 0 {
		return warn
	}
	return dim
}
