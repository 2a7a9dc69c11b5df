package config

import (
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// report collects the findings of one run.
type report struct {
	errors   Diagnostics
	warnings Diagnostics
	names    []string // files in the order of reading
	more     int      // errors beyond maxDiagnostics
}

func (r *report) fail(at kdl.Span, code, hint, format string, args ...any) {
	if len(r.errors) >= maxDiagnostics {
		r.more++
		return
	}
	r.errors = append(r.errors, diagnostic(at, SeverityError, code, hint, fmt.Sprintf(format, args...)))
}

func (r *report) warn(at kdl.Span, code, hint, format string, args ...any) {
	if len(r.warnings) < maxDiagnostics {
		r.warnings = append(r.warnings, diagnostic(at, SeverityWarning, code, hint, fmt.Sprintf(format, args...)))
	}
}

func diagnostic(at kdl.Span, severity, code, hint, message string) Diagnostic {
	d := Diagnostic{Severity: severity, Code: code, Message: message, Hint: hint}
	if at.Source != nil {
		d.File, d.Line, d.Col = at.Source.Name, at.Start.Line, at.Start.Col
		d.Source = at.Source.Line(at.Start.Line)
	}
	return d
}

// err gives the sorted errors, or nil.
func (r *report) err() error {
	if len(r.errors) == 0 {
		return nil
	}
	out := r.errors.sort(r.names)
	if r.more > 0 {
		out = append(out, Diagnostic{
			File: out[0].File, Severity: SeverityError, Code: "too-many",
			Message: fmt.Sprintf("%d more errors: correct these first", r.more),
		})
	}
	return out
}

// suggest is the hint for an unknown word: the nearest valid one when it is near, and all valid ones.
func suggest(got string, valid []string) string {
	if len(valid) == 0 {
		return ""
	}
	hint := "valid here: " + strings.Join(valid, ", ")
	if best := closest(got, valid); best != "" {
		return fmt.Sprintf("did you mean %q? %s", best, hint)
	}
	return hint
}

// closest is the valid name that was probably meant, "" = none is near.
func closest(got string, valid []string) string {
	best, distance := "", max(1, len(got)/3)+1
	for _, v := range valid {
		if d := editDistance(plain(got), plain(v)); d < distance {
			best, distance = v, d
		}
	}
	for _, v := range valid {
		// "ai-gateway-filter" for "ai-gateway", "timeout" for "timeout-secs".
		if best == "" && len(v) > 3 && len(got) > 3 && (strings.HasPrefix(plain(got), plain(v)) || strings.HasPrefix(plain(v), plain(got))) {
			best = v
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	before, last, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(last[j+1]+1, next[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}
