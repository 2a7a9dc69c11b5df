package view

import (
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/tui/model"
)

// serviceWidth is the column of the service name in log lines.
const serviceWidth = 12

// logs draws the log pane: the newest lines, or those around the selected one.
func (s *screen) logs(rows int) []string {
	if rows <= 0 {
		return nil
	}
	var out []string
	if s.class > tiny {
		follow := "following; k stops"
		if !s.m.LogFollow() {
			follow = "not following; f follows"
		}
		out = append(out, s.t.paint(dim, s.t.fit(fmt.Sprintf("  %s  %d lines kept", follow, s.m.LogCount()), s.width, false)))
		rows--
	}
	lines, cursor := s.m.LogWindow(rows)
	if len(lines) == 0 {
		return append(out, s.t.paint(dim, s.t.fit("  "+s.emptyText(), s.width, false)))
	}
	for i := range lines {
		out = append(out, s.logLine(&lines[i], i == cursor))
	}
	return out
}

// logPanel is the strip below a table: the newest lines of the selected service, or of all.
func (s *screen) logPanel(rows int) []string {
	service := ""
	switch i := s.m.Cursor(); s.m.Pane() {
	case model.Services:
		if all := s.m.ServiceRows(); i < len(all) {
			service = all[i].Name
		}
	case model.Agents:
		if all := s.m.AgentRows(); i < len(all) {
			service = all[i].Service
		}
	}
	label := " logs "
	if service != "" {
		label = " logs: " + s.t.clean(service) + " "
	}
	rule := s.t.pick("─", "-")
	left := strings.Repeat(rule, 3)
	line := left + label + strings.Repeat(rule, max(s.width-3-cells(label), 0))
	out := []string{s.t.paint(dim, line)}
	lines := s.m.LogTail(rows-1, service)
	for i := range lines {
		out = append(out, s.logLine(&lines[i], false))
	}
	if len(lines) == 0 {
		out = append(out, s.t.paint(dim, "  none"))
	}
	return out
}

func (s *screen) logLine(e *model.LogEntry, isSelected bool) string {
	level := levelMark(e)
	text := s.t.clean(condense(e.Text))
	if e.Dropped > 0 {
		text = fmt.Sprintf("[%d lines lost] %s", e.Dropped, text)
	}
	at := s.clockTime(e.Time)
	if s.class == tiny {
		at = ""
	}
	service := s.t.fit(s.t.clean(e.Service), min(serviceWidth, s.width/4), false)
	head := strings.TrimLeft(at+" "+level+" "+service, " ") + " "
	room := s.width - 1 - cells(head)
	if isSelected {
		return s.t.paint(selected, s.t.fit(">"+head+text, s.width, false))
	}
	st := plain
	if e.Severity != model.OK {
		st = severityStyle(e.Severity)
	}
	return " " + s.t.paint(dim, head) + s.t.paint(st, strings.TrimRight(s.t.fit(text, max(room, 0), false), " "))
}

// levelMark is the level in one letter; what is not known is a blank.
func levelMark(e *model.LogEntry) string {
	if e.Level == "" {
		return " "
	}
	c := e.Level[0]
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	if c < 'A' || c > 'Z' {
		return "?"
	}
	return string(rune(c))
}
