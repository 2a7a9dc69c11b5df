package build

import (
	"fmt"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/server"
)

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
