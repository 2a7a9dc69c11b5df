package policy

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/agents/denylist/lists"
)

// matcher is what the types of package match have in common.
type matcher interface {
	Add(entry []byte) error
	Finish()
	Len() int
}

// list is the entries of one key: those in the configuration and those in its files. A nil list matches nothing.
type list[M matcher] struct {
	key     string // as errors and metrics name it: "block-ips", "rule-sets.bots.block-ips"
	inline  []string
	files   []*lists.File
	fresh   func() M // an empty matcher
	current atomic.Pointer[M]
}

// source is a list whatever it matches.
type source interface {
	name() string
	size() int
	load() error
	changed(now time.Time) (bool, error)
}

// get returns the matcher in force.
func (l *list[M]) get() (m M, ok bool) {
	if l == nil {
		return m, false
	}
	return *l.current.Load(), true
}

func (l *list[M]) name() string { return l.key }

func (l *list[M]) size() int { return (*l.current.Load()).Len() }

// load builds a new matcher from everything and puts it in force, or returns every error and changes nothing.
func (l *list[M]) load() error {
	m := l.fresh()
	var problems []error
	for i, entry := range l.inline {
		if err := m.Add([]byte(entry)); err != nil {
			at := l.key
			if len(l.inline) > 1 {
				at = fmt.Sprintf("%s[%d]", l.key, i)
			}
			problems = append(problems, fmt.Errorf("%s: %v", at, err))
		}
	}
	for _, file := range l.files {
		if err := file.Read(m.Add); err != nil {
			problems = append(problems, fmt.Errorf("%s-file: %w", l.key, err))
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	m.Finish()
	l.current.Store(&m)
	return nil
}

// changed looks at every file.
func (l *list[M]) changed(now time.Time) (bool, error) {
	var any bool
	var problems []error
	for _, file := range l.files {
		is, err := file.Changed(now)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s-file: %w", l.key, err))
		}
		any = any || is
	}
	return any, errors.Join(problems...)
}
