package view

import (
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/tui/model"
)

// events draws state changes and reloads, newest first.
func (s *screen) events(rows int) []string {
	all := s.m.EventRows()
	if s.class == tiny {
		return s.list(len(all), s.m.Cursor(), rows, func(i int) (style, string) {
			return severityStyle(model.EventSeverity(all[i])), s.clockTime(all[i].Time) + " " + all[i].Service + " " + s.eventText(all[i])
		})
	}
	columns := []column{{title: "TIME", width: len(s.clockTime(s.m.Now()))}, {title: "KIND", width: 8}, {title: "SERVICE", width: 14}, {title: "WHAT", weight: 1}}
	return s.table(columns, len(all), s.m.Cursor(), rows, func(i int) []cell {
		e := all[i]
		return []cell{{s.clockTime(e.Time), dim}, {e.Kind, plain}, {e.Service, plain}, {s.eventText(e), severityStyle(model.EventSeverity(e))}}
	})
}

func (s *screen) eventText(e *stackapi.Event) string {
	text := e.To
	if e.Kind == "state" {
		text = s.t.state(e.To)
	}
	if e.From != "" {
		text = e.From + " " + s.t.pick("→", "->") + " " + text
	}
	if e.Reason != "" {
		if text != "" {
			text += ": "
		}
		text += e.Reason
	}
	return text
}
