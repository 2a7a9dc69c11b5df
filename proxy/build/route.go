package build

import (
	"fmt"
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/server"
)

// retry resolves the retry policy of a route.
func retry(c *config.Retry) server.Retry {
	r := server.Retry{
		StatusCodes: c.StatusCodes, NonIdempotent: !c.IdempotentOnly, Timeout: c.Timeout, BackoffBase: c.BackoffBase, BackoffMax: max(c.BackoffMax, c.BackoffBase),
		Budget: &server.Budget{Percent: c.BudgetPercent, Least: c.BudgetMin}, ReplayBuffer: c.ReplayBuffer,
	}
	for word, cause := range map[string]server.Cause{"connect": server.OnConnect, "reset": server.OnReset, "timeout": server.OnTimeout} {
		if slices.Contains(c.On, word) {
			r.On |= cause
		}
	}
	return r
}

// fallback resolves the upstream that stands in for that of a route.
func (s *Set) fallback(c *config.Fallback) (*server.Fallback, error) {
	if c == nil {
		return nil, nil
	}
	f := &server.Fallback{Pool: s.pools.Pool(c.Upstream), UpstreamID: c.Upstream, OnHealth: c.OnHealth, OnConnection: c.OnConnection, StatusCodes: c.OnStatus}
	if f.Pool == nil {
		return nil, fmt.Errorf("no upstream %q", c.Upstream)
	}
	f.Timeouts = f.Pool.Config().Timeouts
	return f, nil
}
