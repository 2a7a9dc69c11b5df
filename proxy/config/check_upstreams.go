package config

import (
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

func (c *checker) upstreams() {
	if c.partial {
		return
	}
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		c.upstreamTLS(u)
		path := "upstreams." + u.ID
		if u.Discovery != nil {
			c.discovery(u, path)
		} else if len(u.Targets) == 0 {
			c.fail(c.at(path), "no-target", `write target "host:port"`, "upstream %s has no target", kdl.Quote(u.ID))
		} else if !slices.ContainsFunc(u.Targets, func(t Target) bool { return t.Weight > 0 }) {
			c.fail(c.at(path), "no-target", "give one of them a weight above 0", "every target of upstream %s has weight 0", kdl.Quote(u.ID))
		}
		c.idle(u, path)
		c.balancing(u, path)
		c.noEffect(u, path)
		c.unpooled(u, path)
		c.httpVersion(u, path)
		c.checkType(u, path)
		if o := u.Outliers; o != nil && o.MaxEjectionTime < o.EjectionTime {
			c.fail(c.at(path+".outlier-detection.max-ejection-time"), "invalid-value", "", "max-ejection-time %s is below ejection-time %s", shortDuration(o.MaxEjectionTime), shortDuration(o.EjectionTime))
		}
	}
}

// idle refuses a max-idle that the operator set above max-connections, and lowers a default one.
func (c *checker) idle(u *Upstream, path string) {
	p := &u.Pool
	if p.MaxIdle <= p.MaxConnections {
		return
	}
	if at, written := c.origins[path+".connection-pool.max-idle"]; written {
		c.fail(at, "invalid-value", "", "max-idle %d is above max-connections %d", p.MaxIdle, p.MaxConnections)
		return
	}
	p.MaxIdle = p.MaxConnections
}

// balancing finds parameters that do not go together.
func (c *checker) balancing(u *Upstream, path string) {
	path += ".load-balancing"
	b := &u.Balancing
	switch u.LoadBalancing {
	case "consistent-hash":
		if b.LoadFactor > 0 && b.LoadFactor <= 100 {
			c.fail(c.at(path+".load-factor"), "invalid-value", "", "load-factor %d leaves no target room for its share: write 0 or more than 100", b.LoadFactor)
		}
	case "maglev":
		if b.TableSize < len(u.Targets) {
			c.fail(c.at(path+".table-size"), "invalid-value", "", "table-size %d is less than the number of targets, %d", b.TableSize, len(u.Targets))
		}
	case "locality-aware":
		if u.Discovery == nil && !slices.ContainsFunc(u.Targets, func(t Target) bool { return t.Zone == b.Zone }) {
			c.fail(c.at(path+".zone"), "dangling-reference", `write target "…" zone="…"`, "no target of upstream %s is in zone %s", kdl.Quote(u.ID), kdl.Quote(b.Zone))
		}
	case "sticky":
		if b.Cookie.SameSite == "none" && !b.Cookie.Secure {
			c.fail(c.at(path+".cookie-same-site"), "invalid-value", "", "browsers refuse cookie-same-site \"none\" without cookie-secure #true")
		}
	}
}

// weightless algorithms look at a weight only to see whether it is 0.
var weightless = []string{"round-robin", "random", "least-connections", "locality-aware", "deterministic-subset"}

// noEffect warns about what the algorithm does not look at.
func (c *checker) noEffect(u *Upstream, path string) {
	algorithm := u.LoadBalancing
	if algorithm == "sticky" {
		algorithm = u.Balancing.Fallback
	}
	for _, t := range u.Targets {
		at := path + ".target." + t.Address
		if t.Weight > 1 && slices.Contains(weightless, algorithm) {
			c.report.warn(c.at(at+".weight"), "no-effect", `write load-balancing "weighted"`, "weight has no effect with %s", kdl.Quote(algorithm))
		}
		if t.Zone != "" && algorithm != "locality-aware" {
			c.report.warn(c.at(at+".zone"), "no-effect", `write load-balancing "locality-aware"`, "zone has no effect with %s", kdl.Quote(algorithm))
		}
	}
}

// hedging warns of what can never ask a second target.
func (c *checker) hedging(r *Route, at string) {
	if r.Hedging == nil {
		return
	}
	if limit := r.Retry.Timeout; limit > 0 && r.Hedging.Delay >= limit {
		c.report.warn(c.at(at), "no-effect", "make delay shorter", "an attempt of route %s ends after %s, before a second target is asked", kdl.Quote(r.ID), shortDuration(limit))
	}
	for i := range c.Upstreams {
		if u := &c.Upstreams[i]; u.ID == r.Upstream && u.Discovery == nil && len(u.Targets) < 2 {
			c.report.warn(c.at(at), "no-effect", "add a target", "upstream %s has one target only: there is no other to ask", kdl.Quote(u.ID))
		}
	}
}

// retries checks what a route does when its upstream fails.
func (c *checker) retries(r *Route, path string) {
	if c.partial {
		return
	}
	if _, written := c.origins[path+".retry-policy.backoff-max"]; r.Retry.BackoffMax < r.Retry.BackoffBase && written {
		c.fail(c.at(path+".retry-policy.backoff-max"), "invalid-value", "", "backoff-max %s is below backoff-base %s", shortDuration(r.Retry.BackoffMax), shortDuration(r.Retry.BackoffBase))
	}
	c.hedging(r, path+".hedging.delay")
	f := r.Fallback
	if f == nil {
		return
	}
	at := path + ".fallback"
	switch {
	case !slices.Contains(c.upstreamIDs(), f.Upstream):
		c.dangling(c.at(at+".fallback-upstream"), "upstream", f.Upstream, c.upstreamIDs())
	case f.Upstream == r.Upstream:
		c.fail(c.at(at+".fallback-upstream"), "same-upstream", "", "route %s falls back to its own upstream", kdl.Quote(r.ID))
	case !f.OnHealth && !f.OnConnection && len(f.OnStatus) == 0:
		c.fail(c.at(at+".triggers"), "no-trigger", "", "route %s never falls back: every trigger is off", kdl.Quote(r.ID))
	}
}
