package logs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// Filter selects lines. A zero Filter selects all.
type Filter struct {
	Services []string
	Since    time.Time
	Grep     *regexp.Regexp
	Request  string
}

// NewFilter checks q and makes a filter of it.
func NewFilter(q api.LogQuery) (*Filter, error) {
	f := &Filter{Services: q.Services, Since: q.Since, Request: q.Request}
	if q.Grep != "" {
		re, err := regexp.Compile(q.Grep)
		if err != nil {
			return nil, fmt.Errorf("cannot use grep expression: %v", err)
		}
		f.Grep = re
	}
	return f, nil
}

func (f *Filter) wants(service string) bool {
	agent, _, _ := strings.Cut(service, "/") // the lines of an agent are those of all its instances
	return len(f.Services) == 0 || slices.Contains(f.Services, service) || slices.Contains(f.Services, agent)
}

// Match says whether the line is selected.
func (f *Filter) Match(l *api.LogLine) bool {
	return f.wants(l.Service) &&
		(f.Since.IsZero() || !l.Time.Before(f.Since)) &&
		(f.Grep == nil || f.Grep.MatchString(l.Text)) &&
		(f.Request == "" || hasToken(l.Text, f.Request))
}

// hasToken finds id as a whole word, so that "ab1" does not select "ab12".
func hasToken(text, id string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], id)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(id)
		if (start == 0 || !isIDByte(text[start-1])) && (end == len(text) || !isIDByte(text[end])) {
			return true
		}
		from = start + 1
	}
}

func isIDByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '-' || b == '_'
}
