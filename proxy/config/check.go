package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// checker finds what no single key can tell: names that lead nowhere, things that exclude each other.
type checker struct {
	*Config
	report  *report
	origins map[string]kdl.Span
	lists   map[string][]kdl.Span
	unsure  map[string]bool // see decoder
	top     kdl.Span
	partial bool // something could not be decoded: what is missing proves nothing
}

func (c *checker) run() {
	c.listeners()
	c.routes()
	c.upstreams()
	c.filters()
	c.agents()
	c.services()
	c.processLimits()
	c.sandboxes()
	c.hooks()
	c.unused()
	c.unreachable()
}

// at is where the value at a path was written, or where the thing it belongs to begins.
func (c *checker) at(path string) kdl.Span {
	for path != "" {
		if at, ok := c.origins[path]; ok {
			return at
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
	return c.top
}

func (c *checker) element(path string, i int) kdl.Span {
	if spans := c.lists[path]; i < len(spans) {
		return spans[i]
	}
	return c.at(path)
}

func (c *checker) fail(at kdl.Span, code, hint, format string, args ...any) {
	c.report.fail(at, code, hint, format, args...)
}

func (c *checker) listeners() {
	if len(c.Listeners) == 0 && !c.partial {
		c.fail(c.top, "no-listener", `write listeners { listener "http" { address "0.0.0.0:8080" } }`, "the configuration has no listener")
	}
	c.sockets()
	type bound struct {
		path    string
		address netip.AddrPort
	}
	var all []bound
	for _, l := range c.Listeners {
		path := "listeners." + l.ID
		all = append(all, bound{path + ".address", l.Address.AddrPort})
		c.listenerTLS(&l)
		c.http2(&l)
		c.http3(&l)
		if l.DefaultRoute != "" && !slices.ContainsFunc(c.Routes, func(r Route) bool { return r.ID == l.DefaultRoute }) {
			c.dangling(c.at(path+".default-route"), "route", l.DefaultRoute, c.routeIDs())
		}
	}
	if c.Observability.Metrics.Enabled {
		all = append(all, bound{"observability.metrics.address", c.Observability.Metrics.Address})
	}
	for i, b := range all {
		for _, a := range all[:i] {
			if overlap(a.address, b.address) {
				c.fail(c.at(b.path), "address-in-use", "first at "+c.at(a.path).String(), "the address %s is already taken by %s", b.address, a.address)
				break
			}
		}
	}
}

// overlap reports whether the kernel would refuse to bind both addresses.
func overlap(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() || a.Port() == 0 || !a.IsValid() || !b.IsValid() {
		return false
	}
	anyV6 := a.Addr() == netip.IPv6Unspecified() || b.Addr() == netip.IPv6Unspecified()
	anyV4 := a.Addr() == netip.IPv4Unspecified() || b.Addr() == netip.IPv4Unspecified()
	return a.Addr() == b.Addr() || anyV6 || anyV4 && a.Addr().Is4() == b.Addr().Is4()
}

// set makes a set of names.
func set(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

func (c *checker) dangling(at kdl.Span, what, name string, valid []string) {
	hint := "none is defined"
	if len(valid) > 0 {
		hint = strings.Replace(suggest(name, valid), "valid here", "defined", 1)
	}
	c.fail(at, "dangling-reference", hint, "%s %s is not defined", what, kdl.Quote(name))
}

func (c *checker) routeIDs() []string {
	ids := make([]string, len(c.Routes))
	for i, r := range c.Routes {
		ids[i] = r.ID
	}
	return ids
}

func (c *checker) upstreamIDs() []string {
	ids := make([]string, len(c.Upstreams))
	for i, u := range c.Upstreams {
		ids[i] = u.ID
	}
	return ids
}

func (c *checker) agentNames() []string {
	names := make([]string, len(c.Agents))
	for i, a := range c.Agents {
		names[i] = a.Name
	}
	return names
}

// stepNames are what a route's filters may name: filters and agents.
func (c *checker) stepNames() []string {
	var names []string
	for _, f := range c.Filters {
		names = append(names, f.ID)
	}
	return append(names, c.agentNames()...)
}

func (c *checker) routes() {
	if len(c.Routes) == 0 && !c.partial {
		c.fail(c.top, "no-route", `write routes { route "app" { upstream "…" } }`, "the configuration has no route: nothing would be answered")
	}
	upstreams, steps := set(c.upstreamIDs()), set(c.stepNames())
	for _, r := range c.Routes {
		path := "routes." + r.ID
		_, hasUpstream := c.origins[path+".upstream"]
		_, hasBuiltin := c.origins[path+".builtin-handler"]
		switch {
		case hasUpstream && hasBuiltin:
			c.fail(c.at(path+".builtin-handler"), "two-answers", "", "route %s has both an upstream and a builtin-handler", kdl.Quote(r.ID))
		case !hasUpstream && !hasBuiltin && (c.unsure[path] || c.unsure[path+".upstream"] || c.unsure[path+".builtin-handler"]):
			// Its answer is what was refused.
		case !hasUpstream && !hasBuiltin:
			c.fail(c.at(path), "no-answer", "give it an upstream or a builtin-handler", "route %s has nothing that answers", kdl.Quote(r.ID))
		case r.Upstream != "" && !upstreams[r.Upstream]:
			c.dangling(c.at(path+".upstream"), "upstream", r.Upstream, c.upstreamIDs())
		case hasBuiltin:
			c.needUpstream(path, r.ID)
		}
		c.retries(&r, path)
		c.webSocket(&r, path)
		for i, f := range r.Filters {
			at := c.element(path+".filters", i)
			if !steps[f] {
				c.dangling(at, "filter or agent", f, c.stepNames())
			} else if slices.Index(r.Filters, f) < i {
				c.fail(at, "duplicate-filter", "", "route %s has the filter %s twice", kdl.Quote(r.ID), kdl.Quote(f))
			}
		}
	}
}

// needUpstream refuses what has no effect on a route that the proxy answers itself.
func (c *checker) needUpstream(path, id string) {
	for _, key := range []string{"websocket", "retry-policy", "hedging", "fallback", "policies.timeout"} {
		if at, written := c.origins[path+"."+key]; written {
			c.fail(at, "no-upstream", "", "route %s has %s but no upstream", kdl.Quote(id), key)
		}
	}
}

func (c *checker) filters() {
	agents := c.agentNames()
	for _, f := range c.Filters {
		path := "filters." + f.ID
		if slices.Contains(agents, f.ID) {
			c.fail(c.at(path), "duplicate-id", "first at "+c.at("agents."+f.ID).String(), "a filter and an agent are both called %s: a route could not tell them apart", kdl.Quote(f.ID))
		}
		if f.Agent != nil {
			for i, a := range f.Agent.Agents {
				at := c.element(path+".agent", i)
				if !slices.Contains(agents, a) {
					c.dangling(at, "agent", a, agents)
				} else if !c.speaks(a, f.Phase) {
					c.fail(c.at(path+".phase"), "no-effect", "add such an event to the agent, or remove the phase", "the events of agent %s have none of the phase %s", kdl.Quote(a), kdl.Quote(f.Phase))
				} else if slices.Index(f.Agent.Agents, a) < i {
					c.fail(at, "duplicate-filter", "", "filter %s asks the agent %s twice", kdl.Quote(f.ID), kdl.Quote(a))
				}
			}
		}
		c.filterDecompress(path, &f)
		if h := f.Headers; f.Type == "headers" && !c.partial && (h == nil || len(h.Rules.Rename)+len(h.Rules.Set)+len(h.Rules.Add)+len(h.Rules.Remove) == 0) {
			c.fail(c.at(path), "no-rule", "give it rename, set, add or remove", "filter %s edits nothing", kdl.Quote(f.ID))
		}
	}
}

// speaks reports whether an agent is told of anything in the phase; the end alone is of none, so it is enough only where no phase is named.
func (c *checker) speaks(agent, phase string) bool {
	if phase == "" || phase == "both" {
		return true
	}
	i := slices.IndexFunc(c.Agents, func(a Agent) bool { return a.Name == agent })
	return slices.ContainsFunc(c.Agents[i].Events, func(e string) bool { return e != "request_complete" && EventInPhase(e, phase) })
}

func (c *checker) agents() {
	sockets := map[string]string{}
	for _, a := range c.Agents {
		path := "agents." + a.Name
		if a.Name == "proxy" {
			c.fail(c.at(path), "duplicate-id", "", "an agent cannot be called \"proxy\": the stack runs the proxy under this name")
		}
		c.agentSockets(a, path, sockets)
		if at, written := c.origins[path+".decompress"]; written && !a.seesBodies("") {
			c.noBodies(at, "agent", a.Name)
		}
		if !a.External {
			continue
		}
		if len(a.UnixSockets) == 0 {
			c.fail(c.at(path), "missing-key", "write unix-socket \"/path\"", "agent %s is external, so its unix-socket must be given", kdl.Quote(a.Name))
		}
		for _, key := range []string{"instances", "command", "env", "env-file", "restart", "ready", "stop", "limits"} {
			if at, ok := c.origins[path+"."+key]; ok {
				c.fail(at, "no-effect", "", "agent %s is external, so %s has no effect", kdl.Quote(a.Name), key)
			}
		}
	}
}

// MaxInstances bounds the instances of an agent; each has connections of its own.
const MaxInstances = 64

// agentSockets checks that no two agents, and no two instances of one, are reached over the same socket. taken holds the agents by socket.
func (c *checker) agentSockets(a Agent, path string, taken map[string]string) {
	at := c.at(path + ".unix-socket")
	for i, s := range a.UnixSockets {
		at := c.element(path+".unix-socket", i)
		switch first, ok := taken[s]; {
		case ok && first == a.Name:
			c.fail(at, "address-in-use", "name each socket once", "the socket %s is named twice", kdl.Quote(s))
		case ok:
			c.fail(at, "address-in-use", "first at "+c.at("agents."+first+".unix-socket").String(), "the socket is already taken by agent %s", kdl.Quote(first))
		}
		taken[s] = a.Name
	}
	switch n := len(a.UnixSockets); {
	case n > MaxInstances:
		c.fail(at, "invalid-value", fmt.Sprintf("name at most %d", MaxInstances), "agent %s has %d sockets", kdl.Quote(a.Name), n)
	case n > 0 && n != a.Instances && !a.External:
		c.fail(at, "no-effect", "write as many sockets as instances, none, or external #true if somebody else runs it", "agent %s has %d sockets for %d of its processes", kdl.Quote(a.Name), n, a.Instances)
	}
}

func (c *checker) services() {
	agents := c.agentNames()
	for _, s := range c.Stack.Services {
		path := "stack.service." + s.Name
		if s.Name == "proxy" || slices.Contains(agents, s.Name) {
			c.fail(c.at(path), "duplicate-id", "", "the name %s is already taken by the proxy or an agent", kdl.Quote(s.Name))
		}
		var probes []string
		for _, key := range []string{"http", "tcp", "exec", "notify"} {
			if _, ok := c.origins[path+".ready."+key]; ok {
				probes = append(probes, key)
			}
		}
		if len(probes) > 1 {
			c.fail(c.at(path+".ready."+probes[1]), "two-probes", "", "a service is ready by one probe, not by %s", strings.Join(probes, " and "))
		}
	}
}

// unused warns about what is defined and never reached.
func (c *checker) unused() {
	steps, upstreams, agents := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, r := range c.Routes {
		upstreams[r.Upstream] = true
		if r.Fallback != nil {
			upstreams[r.Fallback.Upstream] = true
		}
		for _, f := range r.Filters {
			steps[f], agents[f] = true, true
		}
	}
	for _, f := range c.Filters {
		if !steps[f.ID] {
			c.report.warn(c.at("filters."+f.ID), "unused", "", "filter %s is used by no route", kdl.Quote(f.ID))
		}
		if f.Agent != nil {
			for _, a := range f.Agent.Agents {
				agents[a] = true
			}
		}
	}
	for _, u := range c.Upstreams {
		if !upstreams[u.ID] {
			c.report.warn(c.at("upstreams."+u.ID), "unused", "", "upstream %s is used by no route", kdl.Quote(u.ID))
		}
	}
	for _, a := range c.Agents {
		if !agents[a.Name] {
			c.report.warn(c.at("agents."+a.Name), "unused", "", "agent %s is used by no route and no filter", kdl.Quote(a.Name))
		}
	}
}

// unreachable reports each route that another one certainly answers for.
func (c *checker) unreachable() {
	if c.partial {
		return
	}
	index := newShadowIndex(c.Routes)
	for i := range c.Routes {
		b := &c.Routes[i]
		if a := index.shadow(i); a != nil {
			c.fail(c.at("routes."+b.ID), "unreachable-route",
				fmt.Sprintf("route %s at %s matches all of it and is tried first", kdl.Quote(a.ID), c.at("routes."+a.ID)),
				"route %s is never reached", kdl.Quote(b.ID))
		}
	}
}
