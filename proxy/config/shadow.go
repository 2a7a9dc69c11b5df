package config

import (
	"net/netip"
	"slices"
	"strings"
)

// shadowIndex finds the few routes that could shadow another, so that checking does not take quadratic time.
type shadowIndex struct {
	routes []Route
	by     map[string][]int // routes by one of their matchers; "" = neither host nor path
}

func newShadowIndex(routes []Route) *shadowIndex {
	x := &shadowIndex{routes: routes, by: map[string][]int{}}
	for i := range routes {
		kind, values := "", []string{""}
		switch m := &routes[i].Match; {
		case len(m.Hosts) > 0:
			kind, values = "host ", m.Hosts
		case len(m.Paths) > 0:
			kind, values = "path ", m.Paths
		case len(m.PathPrefixes) > 0:
			kind, values = "prefix ", m.PathPrefixes
		case len(m.PathRegexes) > 0:
			kind, values = "regex ", m.PathRegexes
		}
		for _, v := range values {
			key := kind + v
			if kind == "prefix " {
				key = kind + strings.TrimSuffix(v, "/")
			}
			x.by[key] = append(x.by[key], i)
		}
	}
	return x
}

// shadow returns a route that shadows the one with index i, or nil.
func (x *shadowIndex) shadow(i int) *Route {
	b := &x.routes[i]
	for _, key := range shadowKeys(&b.Match) {
		for _, j := range x.by[key] {
			if a := &x.routes[j]; i != j && shadows(a, b, j < i) {
				return a
			}
		}
	}
	return nil
}

// shadowKeys are the keys under which every route that covers m is found: a route that covers m covers its first host and its
// first path.
func shadowKeys(m *Match) []string {
	keys := []string{""}
	if len(m.Hosts) > 0 {
		host := m.Hosts[0]
		keys = append(keys, "host "+host)
		for rest := strings.TrimPrefix(host, "*."); rest != ""; {
			keys = append(keys, "host *."+rest)
			_, rest, _ = strings.Cut(rest, ".")
		}
	}
	for _, paths := range [][]string{m.Paths, m.PathPrefixes} {
		if len(paths) > 0 {
			keys = append(keys, "path "+paths[0])
			for p := strings.TrimSuffix(paths[0], "/"); ; p = p[:strings.LastIndexByte(p, '/')] {
				if keys = append(keys, "prefix "+p); p == "" {
					break
				}
			}
		}
	}
	if len(m.PathRegexes) > 0 {
		keys = append(keys, "regex "+m.PathRegexes[0])
	}
	return keys
}

// shadows reports whether a certainly wins every request that b matches: it matches them all, and is tried first because of its
// priority, or because it is as specific and stands earlier in the file.
func shadows(a, b *Route, earlier bool) bool {
	if !covers(&a.Match, &b.Match) {
		return false
	}
	if a.Priority != b.Priority {
		return a.Priority > b.Priority
	}
	return earlier && sameSet(a.Match.Paths, b.Match.Paths) && sameSet(a.Match.PathPrefixes, b.Match.PathPrefixes) &&
		sameSet(a.Match.PathRegexes, b.Match.PathRegexes) && sameSet(a.Match.Hosts, b.Match.Hosts)
}

func sameSet(a, b []string) bool {
	return within(a, b) && within(b, a)
}

func within(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// covers reports whether a certainly matches whatever b matches.
func covers(a, b *Match) bool {
	return implied(a.Hosts, b.Hosts, coversHost) && implied(a.Methods, b.Methods, func(x, y string) bool { return x == y }) &&
		implied(a.Headers, b.Headers, coversPair(true)) && implied(a.QueryParams, b.QueryParams, coversPair(false)) &&
		implied(a.Cookies, b.Cookies, coversPair(false)) && implied(a.ClientIPs, b.ClientIPs, coversPrefix) && coversPaths(a, b)
}

// implied reports whether one kind of a's matchers lets everything through that b's let through.
func implied[T any](a, b []T, covers func(x, y T) bool) bool {
	if len(a) == 0 {
		return true
	}
	if len(b) == 0 {
		return false
	}
	return !slices.ContainsFunc(b, func(y T) bool { return !slices.ContainsFunc(a, func(x T) bool { return covers(x, y) }) })
}

// coversPaths compares the three kinds of path matchers, each of which must hold.
func coversPaths(a, b *Match) bool {
	equal := func(x, y string) bool { return x == y }
	if !implied(a.Paths, b.Paths, equal) || !implied(a.PathRegexes, b.PathRegexes, equal) {
		return false
	}
	return implied(a.PathPrefixes, b.PathPrefixes, underPrefix) || len(b.Paths) > 0 && implied(a.PathPrefixes, b.Paths, underPrefix)
}

// underPrefix reports whether path lies below prefix in whole segments. Paths that have another canonical form are left alone.
func underPrefix(prefix, path string) bool {
	if prefix == "/" {
		return true
	}
	if !plainPath(prefix) || !plainPath(path) {
		return prefix == path
	}
	prefix = strings.TrimSuffix(prefix, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// plainPath reports whether a path is certainly in canonical form.
func plainPath(s string) bool {
	return !strings.Contains(s, "%") && !strings.Contains(s, "//") && !strings.Contains(s, "/.")
}

func coversHost(a, b string) bool {
	if suffix, ok := strings.CutPrefix(a, "*"); ok {
		return a == b || strings.HasSuffix(strings.TrimPrefix(b, "*"), suffix) && b != "*"+suffix && len(b) > len(suffix)
	}
	return a == b
}

func coversPair(foldName bool) func(a, b NameValue) bool {
	return func(a, b NameValue) bool {
		if a.Name != b.Name && !(foldName && strings.EqualFold(a.Name, b.Name)) {
			return false
		}
		return !a.HasValue || b.HasValue && a.Value == b.Value
	}
}

func coversPrefix(a, b netip.Prefix) bool {
	return a.Bits() <= b.Bits() && a.Contains(b.Addr())
}
