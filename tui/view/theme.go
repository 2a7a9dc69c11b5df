package view

import (
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/sentinel-stack/sentinel/tui/model"
)

// style is a meaning, not a look.
type style int

const (
	plain style = iota
	good
	dim
	warn
	bad
	accent
	title
	selected
	styleCount
)

// Theme is how meanings look on this terminal.
type Theme struct {
	ascii bool
	color bool
	open  [styleCount]string // escape sequence before a text
	close [styleCount]string // and after it
}

// NewTheme returns a theme. Without color no escape sequence is written at all; with ascii no character above 0x7e.
func NewTheme(color, ascii bool) *Theme {
	t := &Theme{ascii: ascii, color: color}
	if !color {
		return t
	}
	// The 16 basic colours follow the palette the person chose for the terminal.
	base := lipgloss.NewStyle()
	for st, look := range map[style]lipgloss.Style{
		good:     base.Foreground(ansi.Green),
		dim:      base.Foreground(ansi.BrightBlack),
		warn:     base.Foreground(ansi.Yellow),
		bad:      base.Foreground(ansi.Red).Bold(true),
		accent:   base.Foreground(ansi.Cyan),
		title:    base.Bold(true),
		selected: base.Reverse(true),
	} {
		// Rendering once and cutting at the mark gives both sequences; painting is then two copies, however many cells there are.
		t.open[st], t.close[st], _ = strings.Cut(look.Render("|"), "|")
	}
	return t
}

func (t *Theme) paint(s style, text string) string {
	if text == "" || t.open[s] == "" {
		return text
	}
	return t.open[s] + text + t.close[s]
}

func severityStyle(s model.Severity) style {
	switch s {
	case model.OK:
		return good
	case model.Warn:
		return warn
	case model.Bad:
		return bad
	default:
		return dim
	}
}

// glyph returns the sign of a state word. It is always shown beside the word, so that neither colour nor font is needed to read it.
func (t *Theme) glyph(word string) string {
	sign, plainSign := "✕", "x"
	switch word {
	case "ready", "healthy", "ok", "closed":
		sign, plainSign = "●", "*"
	case "starting", "stopping", "connecting", "draining":
		sign, plainSign = "◐", "~"
	case "degraded", "half-open", "circuit half-open", "errors":
		sign, plainSign = "◐", "!"
	case "stopped", "unknown", "idle", "":
		sign, plainSign = "○", "o"
	case "backoff":
		sign, plainSign = "↻", "@"
	case "quarantined":
		sign, plainSign = "‖", "#"
	}
	if t.ascii {
		return plainSign
	}
	return sign
}

// state returns glyph and word.
func (t *Theme) state(word string) string {
	if word == "" {
		word = "unknown"
	}
	return t.glyph(word) + " " + word
}

// pick returns the first text, or the second where only ASCII can be shown.
func (t *Theme) pick(unicode, ascii string) string {
	if t.ascii {
		return ascii
	}
	return unicode
}
