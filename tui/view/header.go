package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/tui/model"
)

// part is one piece of a line that is left out when the line is full.
type part struct {
	style style
	text  string
}

// join puts the parts in a row with gap cells between them, as long as they fit; the first is always there.
func (s *screen) join(gap int, parts ...part) string {
	var b strings.Builder
	used := 0
	for i, p := range parts {
		if p.text == "" {
			continue
		}
		w := cells(p.text)
		if i > 0 && used+gap+w > s.width {
			break
		}
		if used > 0 {
			b.WriteString(strings.Repeat(" ", gap))
			used += gap
		}
		b.WriteString(s.t.paint(p.style, p.text))
		used += w
	}
	return b.String()
}

// header is the first line: the answer to "is it healthy, and how busy is it".
func (s *screen) header() string {
	v := s.m.Summary()
	parts := []part{{severityStyle(v.Severity), s.t.state(v.State)}}
	if s.class > tiny {
		parts = append([]part{{title, " sentinel-stack"}}, parts...)
	}
	if v.State == "connecting" || v.State == "unreachable" && !s.m.Connection().Ever {
		return s.join(2, parts...)
	}
	if v.Generation > 0 {
		parts = append(parts, part{plain, fmt.Sprintf("gen %d", v.Generation)})
	}
	parts = append(parts,
		part{accent, s.t.rate(v.Rate) + " req/s"},
		part{shareStyle(v.ErrShare), "5xx " + s.t.percent(v.ErrShare)},
		part{plain, "p99 " + s.t.latency(v.P99)},
		s.circuits(v),
	)
	if v.Services > 0 {
		parts = append(parts, part{countStyle(v.Ready, v.Services), fmt.Sprintf("services %d/%d", v.Ready, v.Services)})
	}
	if v.Targets > 0 {
		parts = append(parts, part{countStyle(v.TargetsUp, v.Targets), fmt.Sprintf("targets %d/%d", v.TargetsUp, v.Targets)})
	}
	parts = append(parts, part{dim, fmt.Sprintf("conns %s", s.t.count(float64(v.Connections)))})
	if !v.StackMissing {
		parts = append(parts, part{dim, fmt.Sprintf("cpu %.0f%%", v.CPUPercent)}, part{dim, "mem " + s.t.bytes(v.RSSBytes)})
	}
	parts = append(parts, part{dim, "up " + age(v.Uptime)}, part{dim, s.t.clean(v.Version)})
	return s.join(2, parts...)
}

func (s *screen) circuits(v model.Summary) part {
	switch {
	case v.Circuits == 0 && len(s.m.AgentRows()) == 0 && s.m.Total(model.Agents) == 0:
		return part{}
	case v.Circuits == 0:
		return part{good, "circuits closed"}
	case v.Circuits == 1:
		return part{bad, "1 circuit open"}
	default:
		return part{bad, fmt.Sprintf("%d circuits open", v.Circuits)}
	}
}

func shareStyle(v float64) style {
	switch {
	case v > 0.05:
		return bad
	case v > 0:
		return warn
	default:
		return plain
	}
}

func countStyle(have, want int) style {
	if have < want {
		return warn
	}
	return good
}

// health is the second line: why the screen is old, or what is wrong and where, or that nothing is.
func (s *screen) health() string {
	c := s.m.Connection()
	switch {
	case c.Err != "":
		text := " " + s.t.pick("⚠", "!") + " no connection: " + s.t.clean(c.Err)
		if c.Ever {
			text = fmt.Sprintf(" %s STALE %s old, retry in %s: %s", s.t.pick("⚠", "!"), age(c.Age), age(c.Retry), s.t.clean(c.Err))
		}
		return s.t.paint(bad, s.t.fit(text, s.width, false))
	case c.Stale:
		return s.t.paint(warn, s.t.fit(fmt.Sprintf(" %s STALE: the figures are %s old", s.t.pick("⚠", "!"), age(c.Age)), s.width, false))
	case !c.Ever:
		return s.t.paint(dim, " waiting for the first reading")
	}
	faults := s.m.Faults()
	if len(faults) == 0 {
		return s.t.paint(good, " "+s.t.glyph("ok")+" nothing is wrong")
	}
	parts := make([]part, 0, len(faults))
	for i := range faults {
		sign := s.t.pick("✕", "x")
		if faults[i].Severity < model.Bad {
			sign = s.t.pick("◐", "!")
		}
		text := sign + " " + s.t.clean(faults[i].Text)
		if i == 0 {
			text = " " + text
			// The worst fault is cut rather than left out.
			if cells(text) > s.width {
				text = s.t.fit(text, s.width, false)
			}
		}
		parts = append(parts, part{severityStyle(faults[i].Severity), text})
	}
	return s.join(2, parts...)
}

// tabs is the third line: the panes with their sizes, and what narrows the rows.
func (s *screen) tabs() string {
	var parts []part
	if flags := s.flags(); flags != "" {
		parts = append(parts, part{accent, flags})
	}
	for _, p := range model.Panes() {
		label := fmt.Sprintf("%d", p+1)
		if p == s.m.Pane() || s.class > narrow {
			label = fmt.Sprintf("%d %s", p+1, p)
		}
		if s.class > medium || p == s.m.Pane() {
			label += fmt.Sprintf(" (%d)", s.m.Total(p))
		}
		if p == s.m.Pane() {
			parts = append(parts, part{title, "[" + label + "]"})
		} else {
			parts = append(parts, part{dim, label})
		}
	}
	return " " + s.join(2, parts...)
}

func (s *screen) flags() string {
	var flags []string
	if s.m.Paused() {
		flags = append(flags, "PAUSED")
	}
	if s.m.FaultsOnly() {
		flags = append(flags, "faults only")
	}
	if text, editing := s.m.Filter(); text != "" && !editing {
		flags = append(flags, "filter /"+s.t.fit(s.t.clean(text), min(cells(s.t.clean(text)), 20), false))
	}
	return strings.Join(flags, ", ")
}

// footer is the last line: an open question, the filter being typed, the outcome of an action, or the keys.
func (s *screen) footer() string {
	if c := s.m.Confirm(); c != nil {
		return s.t.paint(warn, s.t.fit(" "+s.t.clean(c.Text), s.width, false))
	}
	if text, editing := s.m.Filter(); editing {
		// The end of a long filter is what is being typed.
		return s.t.paint(accent, " /"+tail(s.t.clean(text), max(s.width-3, 0))+"_")
	}
	if n := s.m.Notice(); n.Text != "" {
		return s.t.paint(severityStyle(n.Severity), s.t.fit(" "+s.t.clean(n.Text), s.width, false))
	}
	return s.t.paint(dim, s.hint())
}

// tail returns the last width cells of a text, cutting whole characters from its start.
func tail(text string, width int) string {
	runes := []rune(text)
	for len(runes) > 0 && cells(string(runes)) > width {
		runes = runes[1:]
	}
	return string(runes)
}

func (s *screen) hint() string {
	if s.class == tiny {
		return s.t.fit(fmt.Sprintf(" %d/6 %s  ? help  q quit", s.m.Pane()+1, s.m.Pane()), s.width, false)
	}
	keys := []string{"? help", "q quit", "j/k move", "tab pane", "enter open", "/ filter", "z faults", "p pause", "l logs"}
	if !s.m.ReadOnly() {
		keys = append(keys, "r restart", "s stop")
	}
	var b strings.Builder
	for _, k := range keys {
		if cells(b.String())+cells(k)+2 > s.width {
			break
		}
		if b.Len() > 0 {
			b.WriteString("  ")
		} else {
			b.WriteByte(' ')
		}
		b.WriteString(k)
	}
	return b.String()
}

// clockTime is the local time of day of a line, with milliseconds where there is room.
func (s *screen) clockTime(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	if s.class == wide {
		return at.Format("15:04:05.000")
	}
	return at.Format("15:04:05")
}
