package view

import (
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/tui/model"
)

// upstreams draws the targets of every upstream with their health.
func (s *screen) upstreams(rows int) []string {
	all := s.m.TargetRows()
	if s.class == tiny {
		return s.list(len(all), s.m.Cursor(), rows, func(i int) (style, string) {
			t := all[i]
			return severityStyle(t.Severity), fmt.Sprintf("%s %s %s/s", s.t.state(model.TargetWord(&t.Target)), t.Address, s.t.rate(t.Rate))
		})
	}
	columns := []column{{title: "UPSTREAM", weight: 2}, {title: "TARGET", weight: 3}, {title: "HEALTH", width: 11}}
	if s.class == wide {
		columns = append(columns, column{title: "BALANCING", width: 18}, column{title: "WT", width: 3, right: true})
	}
	columns = append(columns, column{title: "REQ/S", width: 6, right: true}, column{title: "FAIL", width: 5, right: true},
		column{title: "NOW", width: 5, right: true})
	if s.class > narrow {
		columns = append(columns, column{title: "IDLE", width: 5, right: true}, column{title: "LAST ERROR", weight: 3})
	}
	return s.table(columns, len(all), s.m.Cursor(), rows, func(i int) []cell {
		t := all[i]
		row := []cell{{t.Upstream, plain}, {t.Address, plain}, {s.t.state(strings.TrimPrefix(model.TargetWord(&t.Target), "circuit ")), severityStyle(t.Severity)}}
		if s.class == wide {
			row = append(row, cell{t.LoadBalancing, dim}, cell{fmt.Sprint(t.Weight), dim})
		}
		row = append(row, cell{s.t.rate(t.Rate), accent}, cell{s.t.percent(t.FailureRate), shareStyle(t.FailureRate)},
			cell{s.t.count(float64(t.Active)), plain})
		if s.class > narrow {
			row = append(row, cell{s.t.count(float64(t.Idle)), dim}, cell{t.LastError, bad})
		}
		return row
	})
}
