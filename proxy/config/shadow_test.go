package config

import (
	"net/netip"
	"testing"
)

// TestShadows: only what is certain is reported.
func TestShadows(t *testing.T) {
	t.Parallel()
	nv := func(name, value string) []NameValue {
		return []NameValue{{Name: name, Value: value, HasValue: value != ""}}
	}
	ip := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	for _, c := range []struct {
		name   string
		a, b   Match
		higher bool // a has the higher priority; else both have the same and a stands first
		want   bool
	}{
		{"everything first, same priority: b is more specific", Match{}, Match{Paths: []string{"/a"}}, false, false},
		{"everything, higher priority", Match{}, Match{Paths: []string{"/a"}}, true, true},
		{"both match everything", Match{}, Match{}, false, true},
		{"prefix over path", Match{PathPrefixes: []string{"/api"}}, Match{Paths: []string{"/api/x"}}, true, true},
		{"prefix over other segment", Match{PathPrefixes: []string{"/api"}}, Match{Paths: []string{"/apix"}}, true, false},
		{"prefix over longer prefix", Match{PathPrefixes: []string{"/api/"}}, Match{PathPrefixes: []string{"/api/v1"}}, true, true},
		{"longer prefix over shorter", Match{PathPrefixes: []string{"/api/v1"}}, Match{PathPrefixes: []string{"/api"}}, true, false},
		{"encoded paths are left alone", Match{PathPrefixes: []string{"/a%2Fb"}}, Match{Paths: []string{"/a%2fb"}}, true, false},
		{"one of two paths", Match{Paths: []string{"/a"}}, Match{Paths: []string{"/a", "/b"}}, true, false},
		{"both of two paths", Match{Paths: []string{"/a", "/b"}}, Match{Paths: []string{"/b"}}, true, true},
		{"same path, further matcher", Match{Paths: []string{"/a"}}, Match{Paths: []string{"/a"}, Methods: []string{"GET"}}, false, true},
		{"same path, further matcher first", Match{Paths: []string{"/a"}, Methods: []string{"GET"}}, Match{Paths: []string{"/a"}}, false, false},
		{"same path, more specific host later", Match{Paths: []string{"/a"}}, Match{Paths: []string{"/a"}, Hosts: []string{"x.example"}}, false, false},
		{"wildcard host", Match{Hosts: []string{"*.example.com"}}, Match{Hosts: []string{"a.b.example.com"}}, true, true},
		{"wildcard host does not match its own name", Match{Hosts: []string{"*.example.com"}}, Match{Hosts: []string{"example.com"}}, true, false},
		{"wildcard host and another ending", Match{Hosts: []string{"*.example.com"}}, Match{Hosts: []string{"badexample.com"}}, true, false},
		{"wildcard over deeper wildcard", Match{Hosts: []string{"*.com"}}, Match{Hosts: []string{"*.example.com"}}, true, true},
		{"deeper wildcard over wildcard", Match{Hosts: []string{"*.example.com"}}, Match{Hosts: []string{"*.com"}}, true, false},
		{"regex, same", Match{PathRegexes: []string{"a"}}, Match{PathRegexes: []string{"a"}}, false, true},
		{"regex over path is not decided", Match{PathRegexes: []string{".*"}}, Match{Paths: []string{"/a"}}, true, false},
		{"header present over header value", Match{Headers: nv("X-A", "")}, Match{Headers: nv("x-a", "1")}, true, true},
		{"header value over header present", Match{Headers: nv("X-A", "1")}, Match{Headers: nv("X-A", "")}, true, false},
		{"query names keep their case", Match{QueryParams: nv("A", "")}, Match{QueryParams: nv("a", "")}, true, false},
		{"cookie", Match{Cookies: nv("c", "")}, Match{Cookies: nv("c", "1")}, true, true},
		{"client network", Match{ClientIPs: ip("10.0.0.0/8")}, Match{ClientIPs: ip("10.1.0.0/16")}, true, true},
		{"client network, other way", Match{ClientIPs: ip("10.1.0.0/16")}, Match{ClientIPs: ip("10.0.0.0/8")}, true, false},
	} {
		a, b := Route{Match: c.a}, Route{Match: c.b}
		if c.higher {
			a.Priority = 1
		}
		if got := shadows(&a, &b, true); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if got := newShadowIndex([]Route{a, b}).shadow(1) != nil; got != c.want {
			t.Errorf("%s: the index says %v", c.name, got)
		}
		if !c.higher && shadows(&a, &b, false) {
			t.Errorf("%s: the later of two equals shadows the earlier", c.name)
		}
	}
}

// TestShadowIndexMissesNothing: the index finds what comparing every pair finds.
func TestShadowIndexMissesNothing(t *testing.T) {
	t.Parallel()
	values := func(n int, all ...string) [][]string {
		out := [][]string{nil}
		for i := range all {
			out = append(out, all[i:min(i+n, len(all))])
		}
		return out
	}
	var routes []Route
	for _, hosts := range values(2, "a.example", "*.example", "b.a.example", "*.a.example") {
		for _, paths := range values(2, "/", "/a", "/a/b", "/a/", "/a%2fb") {
			for _, prefixes := range values(2, "/", "/a", "/a/", "/a/b") {
				for _, priority := range []int{1, 2} {
					routes = append(routes, Route{Priority: priority, Match: Match{Hosts: hosts, Paths: paths, PathPrefixes: prefixes}})
				}
			}
		}
	}
	routes = append(routes, Route{Match: Match{PathRegexes: []string{"a"}}}, Route{Priority: 3, Match: Match{PathRegexes: []string{"a", "b"}}})
	index, found := newShadowIndex(routes), 0
	for i := range routes {
		want := false
		for j := range routes {
			want = want || i != j && shadows(&routes[j], &routes[i], j < i)
		}
		if got := index.shadow(i) != nil; got != want {
			t.Errorf("route %d %+v: index %v, all pairs %v", i, routes[i].Match, got, want)
		} else if want {
			found++
		}
	}
	if found < 50 {
		t.Errorf("only %d shadowed routes", found)
	}
}
