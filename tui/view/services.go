package view

import (
	"fmt"

	"github.com/sentinel-stack/sentinel/tui/model"
)

// services draws the supervised processes.
func (s *screen) services(rows int) []string {
	all := s.m.ServiceRows()
	if s.class == tiny {
		return s.list(len(all), s.m.Cursor(), rows, func(i int) (style, string) {
			v := all[i]
			return severityStyle(v.Severity), s.t.state(v.State) + " " + v.Name + " " + s.t.since(s.m.Now(), v.Since) + " " + v.Reason
		})
	}
	columns := []column{{title: "SERVICE", weight: 2}, {title: "STATE", width: 13}}
	if s.class > narrow {
		columns = append(columns, column{title: "PID", width: 7, right: true})
	}
	columns = append(columns, column{title: "UP", width: 6, right: true}, column{title: "RST", width: 4, right: true})
	if s.class > narrow {
		columns = append(columns, column{title: "CPU%", width: 5, right: true})
	}
	columns = append(columns, column{title: "MEM", width: 5, right: true})
	if s.class == wide {
		columns = append(columns, column{title: "PIDS", width: 4, right: true}, column{title: "KIND", width: 7},
			column{title: "LAST EXIT", width: 12}, column{title: "EXEC", width: 6, right: true}, column{title: "READY", width: 6, right: true})
	}
	if s.class > narrow {
		columns = append(columns, column{title: "REASON", weight: 3})
	}
	return s.table(columns, len(all), s.m.Cursor(), rows, func(i int) []cell { return s.serviceCells(all[i]) })
}

func (s *screen) serviceCells(v *model.ServiceRow) []cell {
	pid := s.t.none()
	if v.PID > 0 {
		pid = fmt.Sprint(v.PID)
	}
	row := []cell{{v.Name, plain}, {s.t.state(v.State), severityStyle(v.Severity)}}
	if s.class > narrow {
		row = append(row, cell{pid, dim})
	}
	row = append(row, cell{s.t.since(s.m.Now(), v.Since), plain}, cell{s.t.total(v.Restarts), counterStyle(v.Restarts)})
	if s.class > narrow {
		row = append(row, cell{fmt.Sprintf("%.1f", v.CPUPercent), accent})
	}
	row = append(row, cell{s.t.bytes(v.RSSBytes), accent})
	if s.class == wide {
		row = append(row, cell{fmt.Sprint(v.PIDs), dim}, cell{v.Kind, dim}, cell{v.LastExit, dim},
			cell{s.t.micros(v.RestartP50Micros), dim}, cell{s.t.micros(v.ReadyP50Micros), dim})
	}
	if s.class > narrow {
		row = append(row, cell{s.reason(v), severityStyle(v.Severity)})
	}
	return row
}

// reason says why a service is in its state and when it will be tried again.
func (s *screen) reason(v *model.ServiceRow) string {
	text := v.Reason
	if !v.NextStart.IsZero() && v.NextStart.After(s.m.Now()) {
		next := "next start in " + age(v.NextStart.Sub(s.m.Now()))
		if text == "" {
			return next
		}
		return next + ": " + text
	}
	return text
}
