package build

import (
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/config"
)

// Routes shows every route with its totals, in file order.
func (s *Set) Routes() []api.Route {
	out := make([]api.Route, 0, len(s.Loaded.Config.Routes))
	for i := range s.Loaded.Config.Routes {
		rc := &s.Loaded.Config.Routes[i]
		r := api.Route{ID: rc.ID, Priority: rc.Priority, Match: describe(rc.Match), Target: rc.Upstream, Filters: rc.Filters}
		if rc.BuiltinHandler != "" {
			r.Target = "builtin:" + rc.BuiltinHandler
		}
		if rc.Fallback != nil {
			r.Fallback = rc.Fallback.Upstream
		}
		s.Generation.Routes[i].Metrics.Fill(&r)
		out = append(out, r)
	}
	return out
}

// describe is a Match on one line, for people.
func describe(m config.Match) string {
	var parts []string
	add := func(kind string, values []string) {
		if len(values) > 0 {
			parts = append(parts, kind+" "+strings.Join(values, "|"))
		}
	}
	add("host", m.Hosts)
	add("path", m.Paths)
	add("prefix", m.PathPrefixes)
	add("regex", m.PathRegexes)
	add("method", m.Methods)
	add("header", named(m.Headers))
	add("query", named(m.QueryParams))
	add("cookie", named(m.Cookies))
	var nets []string
	for _, p := range m.ClientIPs {
		nets = append(nets, p.String())
	}
	add("client", nets)
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, " & ")
}

func named(list []config.NameValue) []string {
	var out []string
	for _, nv := range list {
		if nv.HasValue {
			out = append(out, fmt.Sprintf("%s=%s", nv.Name, nv.Value))
		} else {
			out = append(out, nv.Name)
		}
	}
	return out
}
