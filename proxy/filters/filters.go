// Package filters is the list of filter kinds that a configuration block alone can build. The agent filter is not in it: it is built from live agent
// clients, which are the builder's.
package filters

import (
	"fmt"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/filters/headers"
)

// Kinds lists every kind. A new filter is one folder and one line here.
func Kinds() []filter.Kind {
	return []filter.Kind{
		headers.Kind,
	}
}

// Build makes the filter of a configuration block.
func Build(c config.Filter) (filter.Filter, error) {
	for _, k := range Kinds() {
		if k.Type == c.Type {
			return k.Build(c)
		}
	}
	return nil, fmt.Errorf("cannot build filter %q: unknown type %q", c.ID, c.Type)
}
