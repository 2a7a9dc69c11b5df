// Package headers is the filter that edits header fields of requests, responses or both.
package headers

import (
	"fmt"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
)

// Kind is the entry of this filter in the list of filters.
var Kind = filter.Kind{Type: "headers", Build: build}

type headers struct {
	name   string
	phases filter.Phase
	rules  *filter.Rules
}

func build(c config.Filter) (filter.Filter, error) {
	if c.Headers == nil {
		return nil, fmt.Errorf("cannot build filter %q: no header rules", c.ID)
	}
	f := &headers{name: c.ID}
	switch c.Phase {
	case "", "request":
		f.phases = filter.OnRequest
	case "response":
		f.phases = filter.OnResponse
	case "both":
		f.phases = filter.OnRequest | filter.OnResponse
	default:
		return nil, fmt.Errorf("cannot build filter %q: unknown phase %q", c.ID, c.Phase)
	}
	var err error
	if f.rules, err = filter.CompileRules(c.Headers.Rules); err != nil {
		return nil, fmt.Errorf("cannot build filter %q: %w", c.ID, err)
	}
	return f, nil
}

func (f *headers) Name() string         { return f.name }
func (f *headers) Phases() filter.Phase { return f.phases }

func (f *headers) Request(x *filter.Exchange) filter.Decision {
	f.rules.Apply(x.RequestHeader())
	return filter.Continue()
}

func (f *headers) Response(x *filter.Exchange) filter.Decision {
	f.rules.Apply(x.ResponseHeader())
	return filter.Continue()
}
