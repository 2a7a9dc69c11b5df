package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// Severity of a Diagnostic.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

// ExitInvalid is the exit status of every command that was given an invalid configuration.
const ExitInvalid = 3

// maxDiagnostics bounds one report: past this many findings the reader fixes the first ones and runs again.
const maxDiagnostics = 100

// Diagnostic is one finding at one place. Its fields are those of api.Diagnostic, so one converts to the other.
type Diagnostic struct {
	File     string `json:"file"`
	Line     int    `json:"line"`     // 1-based; 0 = the file as a whole
	Col      int    `json:"col"`      // 1-based, in characters
	Severity string `json:"severity"` // error or warning
	Code     string `json:"code"`     // stable word for programs, see docs/reference/config.md
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
	Source   string `json:"source,omitempty"` // the offending line
}

// String is the finding as one line: file:line:col: severity: message.
func (d Diagnostic) String() string {
	if d.Line == 0 {
		return fmt.Sprintf("%s: %s: %s", d.File, d.Severity, d.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", d.File, d.Line, d.Col, d.Severity, d.Message)
}

// Render is the finding for people: the line of String, the source line with a caret under the column, and the hint.
func (d Diagnostic) Render() string {
	var b strings.Builder
	b.WriteString(d.String())
	if d.Source != "" && d.Line > 0 {
		number := fmt.Sprintf("%5d", d.Line)
		source, col := window(visible(d.Source), d.Col)
		fmt.Fprintf(&b, "\n%s | %s\n%s | %s^", number, source, strings.Repeat(" ", len(number)), caretIndent(source, col))
	}
	if d.Hint != "" {
		fmt.Fprintf(&b, "\n      = %s", d.Hint)
	}
	return b.String()
}

// visible replaces what a file may not hold, and what could therefore do something to a terminal, by a sign of the same width.
func visible(line string) string {
	return strings.Map(func(r rune) rune {
		if kdl.Forbidden(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(line, string(utf8.RuneError)))
}

// maxShown bounds the characters shown of a line.
const maxShown = 160

// window cuts a long line around a column.
func window(line string, col int) (string, int) {
	runes := []rune(line)
	if len(runes) <= maxShown {
		return line, col
	}
	from := max(0, min(col-maxShown/2, len(runes)-maxShown))
	cut := string(runes[from : from+maxShown])
	if from > 0 {
		return "…" + cut, col - from + 1
	}
	return cut, col
}

// caretIndent is blank space as wide as the first col-1 characters of line; tabs stay tabs so that the caret lines up.
func caretIndent(line string, col int) string {
	var b strings.Builder
	for i := 1; i < col && len(line) > 0; i++ {
		r, size := utf8.DecodeRuneInString(line)
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
		line = line[size:]
	}
	return b.String()
}

// Diagnostics are all findings of one run, in file order.
type Diagnostics []Diagnostic

// Error renders every finding.
func (ds Diagnostics) Error() string {
	parts := make([]string, len(ds))
	for i, d := range ds {
		parts[i] = d.Render()
	}
	return strings.Join(parts, "\n")
}

// sort orders findings by file (in order of first reading), line and column and drops repeated ones.
func (ds Diagnostics) sort(files []string) Diagnostics {
	rank := make(map[string]int, len(files))
	for i, f := range files {
		rank[f] = i
	}
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(rank[a.File], rank[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return slices.Compact(ds)
}
