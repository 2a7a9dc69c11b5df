package view

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/sentinel-stack/sentinel/tui/model"
)

// clean makes a text from outside safe to draw: log lines and error texts may hold escape sequences, line breaks, direction marks
// and other things that would move the cursor or lie about what is on the screen. Each becomes a question mark, a tab a space.
func (t *Theme) clean(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case r >= ' ' && r <= '~':
			b.WriteRune(r)
		case r == utf8.RuneError, t.ascii, r >= 0xfe00 && r <= 0xfe0f, !unicode.IsPrint(r):
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// cells returns the width of a text without escape sequences.
func cells(s string) int {
	if isPlain(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// fit cuts or pads a text without escape sequences to exactly width cells.
func (t *Theme) fit(s string, width int, right bool) string {
	if width <= 0 {
		return ""
	}
	n := cells(s)
	if n > width {
		s = ansi.Truncate(s, width, t.pick("…", "~"))
		n = cells(s)
	}
	if n >= width {
		return s
	}
	if right {
		return strings.Repeat(" ", width-n) + s
	}
	return s + strings.Repeat(" ", width-n)
}

// clip cuts a line, which may hold escape sequences, to width cells. It is the last guard of the width bound.
func clip(s string, width int) string {
	if len(s) <= width && isPlain(s) || ansi.StringWidth(s) <= width {
		return s
	}
	return ansi.Truncate(s, width, "")
}

// wrap breaks a text without escape sequences into lines of at most width cells.
func wrap(s string, width int) []string {
	if width <= 0 {
		return nil
	}
	return strings.Split(ansi.Hardwrap(s, width, true), "\n")
}

func (t *Theme) none() string { return t.pick("–", "-") }

// rate prints a number of events a second in at most five cells.
func (t *Theme) rate(v float64) string {
	switch {
	case math.IsNaN(v):
		return t.none()
	case v == 0:
		return "0"
	case v < 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return t.count(v)
	}
}

// count prints a large number with a decimal suffix.
func (t *Theme) count(v float64) string {
	for _, unit := range []struct {
		from   float64
		suffix string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if v < unit.from {
			continue
		}
		scale := unit.from
		if unit.suffix == "k" {
			scale = 1e3
		}
		if v/scale < 10 {
			return strconv.FormatFloat(v/scale, 'f', 1, 64) + unit.suffix
		}
		return strconv.FormatFloat(v/scale, 'f', 0, 64) + unit.suffix
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

func (t *Theme) total(v uint64) string { return t.count(float64(v)) }

// percent prints a share of 0..1.
func (t *Theme) percent(v float64) string {
	switch {
	case math.IsNaN(v):
		return t.none()
	case v == 0:
		return "0%"
	case v < 0.001:
		return "<.1%"
	case v < 0.1:
		return strconv.FormatFloat(100*v, 'f', 1, 64) + "%"
	default:
		return strconv.FormatFloat(100*v, 'f', 0, 64) + "%"
	}
}

// latency prints a quantile, with ">" where it lies beyond what was measured.
func (t *Theme) latency(q model.Quantile) string {
	if math.IsNaN(q.Secs) {
		return t.none()
	}
	mark := ""
	if q.Over {
		mark = ">"
	}
	return mark + seconds(q.Secs)
}

func (t *Theme) micros(us int64) string {
	if us <= 0 {
		return t.none()
	}
	return seconds(float64(us) / 1e6)
}

func seconds(s float64) string {
	switch {
	case s < 1e-3:
		return strconv.FormatFloat(s*1e6, 'f', 0, 64) + "us"
	case s < 1e-2:
		return strconv.FormatFloat(s*1e3, 'f', 1, 64) + "ms"
	case s < 1:
		return strconv.FormatFloat(s*1e3, 'f', 0, 64) + "ms"
	case s < 10:
		return strconv.FormatFloat(s, 'f', 1, 64) + "s"
	default:
		return strconv.FormatFloat(s, 'f', 0, 64) + "s"
	}
}

func (t *Theme) bytes(n int64) string {
	if n <= 0 {
		return t.none()
	}
	v, unit := float64(n)/(1<<20), "M"
	if v >= 1024 {
		v, unit = v/1024, "G"
	}
	if v < 10 {
		return strconv.FormatFloat(v, 'f', 1, 64) + unit
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + unit
}

// age prints a duration in two units.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

func (t *Theme) since(now, then time.Time) string {
	if then.IsZero() {
		return t.none()
	}
	return age(now.Sub(then))
}

var (
	sparkUnicode = []rune("▁▂▃▄▅▆▇█")
	sparkASCII   = []rune("_.:-=+*#")
)

// spark draws the newest width values as one line, scaled to the largest of them.
func (t *Theme) spark(values []float64, width int) string {
	runes := sparkUnicode
	if t.ascii {
		runes = sparkASCII
	}
	if len(values) > width {
		values = values[len(values)-width:]
	}
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	out := make([]rune, 0, width)
	for range width - len(values) {
		out = append(out, ' ')
	}
	for _, v := range values {
		i := 0
		if top > 0 && v > 0 {
			i = min(int(v/top*float64(len(runes)-1)+0.5), len(runes)-1)
		}
		out = append(out, runes[i])
	}
	return string(out)
}
