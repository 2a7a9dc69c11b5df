// Package view draws the dashboard's model as text for a terminal of a given size. It is a pure function of the model and a theme:
// one file a pane, no state, no clock. Whatever it draws never exceeds the terminal's width and height, and no state is told by
// colour alone: each has a glyph and a word.
package view

import (
	"strings"

	"github.com/sentinel-stack/sentinel/tui/model"
)

// class is how much room there is; each pane decides what to leave out.
type class int

const (
	tiny   class = iota // below 60 columns or 12 rows: one line a row
	narrow              // 60 to 79: name, state and the figures that matter most
	medium              // 80 to 119: no sparklines and secondary counters
	wide                // from 120: everything
)

func classOf(width, height int) class {
	switch {
	case width < 60 || height < 12:
		return tiny
	case width < 80:
		return narrow
	case width < 120:
		return medium
	default:
		return wide
	}
}

// panelFrom is the height from which the newest log lines are shown below the table.
const panelFrom = 20

// Render draws the model. The result has at most as many lines as the terminal, each at most as wide.
func Render(m *model.Model, t *Theme) string {
	width, height := m.Size()
	if width <= 0 || height <= 0 {
		return ""
	}
	s := screen{m: m, t: t, width: width, height: height, class: classOf(width, height)}
	var lines []string
	if s.class == tiny {
		lines = s.tinyFrame()
	} else {
		lines = s.frame()
	}
	if len(lines) > height {
		lines = lines[:height]
	}
	for i := range lines {
		lines[i] = clip(lines[i], width)
	}
	return strings.Join(lines, "\n")
}

// screen is one drawing: the model, the theme and the room.
type screen struct {
	m             *model.Model
	t             *Theme
	width, height int
	class         class
}

func (s *screen) frame() []string {
	lines := make([]string, 0, s.height)
	lines = append(lines, s.header(), s.health(), s.tabs())
	body := s.height - len(lines) - 1
	lines = append(lines, s.body(body)...)
	for len(lines) < s.height-1 {
		lines = append(lines, "")
	}
	return append(lines, s.footer())
}

// body fills the rows between the tabs and the footer.
func (s *screen) body(rows int) []string {
	if s.m.Help() {
		return s.help(rows)
	}
	if open, top := s.m.Detail(); open {
		return scroll(s.detail(rows), top, rows)
	}
	if s.m.Pane() == model.Logs {
		return s.logs(rows)
	}
	panel := 0
	if s.height >= panelFrom {
		panel = min(max(s.height/4, 5), 15)
	}
	out := s.pane(rows - panel)
	for len(out) < rows-panel {
		out = append(out, "")
	}
	if panel > 0 {
		out = append(out, s.logPanel(panel)...)
	}
	return out
}

func (s *screen) pane(rows int) []string {
	switch s.m.Pane() {
	case model.Routes:
		return s.routes(rows)
	case model.Upstreams:
		return s.upstreams(rows)
	case model.Agents:
		return s.agents(rows)
	case model.Services:
		return s.services(rows)
	case model.Events:
		return s.events(rows)
	default:
		return s.logs(rows)
	}
}

// tinyFrame is what fits where there is no room for columns: the state, one line a row and a hint.
func (s *screen) tinyFrame() []string {
	lines := []string{s.header()}
	if s.height > 3 {
		lines = append(lines, s.health())
	}
	rows := s.height - len(lines) - 1
	if rows < 0 {
		return lines
	}
	var body []string
	switch open, top := s.m.Detail(); {
	case s.m.Help():
		body = s.help(rows)
	case open:
		body = scroll(s.detail(rows), top, rows)
	default:
		body = s.pane(rows)
	}
	lines = append(lines, body...)
	for len(lines) < s.height-1 {
		lines = append(lines, "")
	}
	return append(lines, s.footer())
}

// scroll returns at most rows lines from top on, never less than one full page when there is one.
func scroll(lines []string, top, rows int) []string {
	top = max(min(top, len(lines)-rows), 0)
	lines = lines[top:]
	return lines[:min(len(lines), max(rows, 0))]
}
