package view

import (
	"fmt"

	"github.com/sentinel-stack/sentinel/tui/model"
)

const sparkWidth = 20

// routes draws the table of routes: how busy, how faulty, how slow.
func (s *screen) routes(rows int) []string {
	all := s.m.RouteRows()
	if s.class == tiny {
		return s.list(len(all), s.m.Cursor(), rows, func(i int) (style, string) {
			r := all[i]
			return severityStyle(r.Severity), fmt.Sprintf("%s %s %s/s %s %s",
				s.t.glyph(routeWord(r)), r.ID, s.t.rate(r.Rate), s.t.percent(r.ErrShare), s.t.latency(r.P99))
		})
	}
	columns := []column{{title: "ROUTE", weight: 2}, {title: "STATE", width: 9}}
	if s.class > narrow {
		columns = append(columns, column{title: "MATCH", weight: 3}, column{title: "TARGET", weight: 2})
	}
	columns = append(columns,
		column{title: "REQ/S", width: 6, right: true}, column{title: "ERR", width: 5, right: true},
		column{title: "P50", width: 6, right: true}, column{title: "P99", width: 6, right: true})
	if s.class == wide {
		columns = append(columns, column{title: "TREND", width: sparkWidth},
			column{title: "TOTAL", width: 6, right: true}, column{title: "BLOCKED", width: 7, right: true},
			column{title: "RETRY", width: 5, right: true}, column{title: "NOW", width: 4, right: true})
	}
	return s.table(columns, len(all), s.m.Cursor(), rows, func(i int) []cell {
		r := all[i]
		st := severityStyle(r.Severity)
		row := []cell{{r.ID, plain}, {s.t.state(routeWord(r)), st}}
		if s.class > narrow {
			row = append(row, cell{r.Match, dim}, cell{r.Target, plain})
		}
		row = append(row, cell{s.t.rate(r.Rate), accent}, cell{s.t.percent(r.ErrShare), st},
			cell{s.t.latency(r.P50), plain}, cell{s.t.latency(r.P99), plain})
		if s.class == wide {
			row = append(row, cell{s.t.spark(r.Spark, sparkWidth), accent}, cell{s.t.total(r.Requests), dim},
				cell{s.t.total(r.Blocked), dim}, cell{s.t.total(r.Retries), dim}, cell{s.t.count(float64(r.InFlight)), dim})
		}
		return row
	})
}

func routeWord(r *model.RouteRow) string {
	switch r.Severity {
	case model.Bad:
		return "failing"
	case model.Warn:
		return "errors"
	default:
		return "ok"
	}
}
