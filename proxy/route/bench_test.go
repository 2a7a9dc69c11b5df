package route

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// manyRoutes is a mix as large installations have it: hosts with prefixes, shared hosts with many paths, expressions.
func manyRoutes(n int) []config.Route {
	routes := make([]config.Route, n)
	for i := range routes {
		m := config.Match{}
		switch i % 5 {
		case 0:
			m.Hosts = []string{fmt.Sprintf("h%d.example.com", i)}
			m.PathPrefixes = []string{"/"}
		case 1:
			m.PathPrefixes = []string{fmt.Sprintf("/api/service%d", i)}
			m.Methods = []string{"GET", "POST"}
		case 2:
			m.Paths = []string{fmt.Sprintf("/page/%d", i)}
		case 3:
			m.PathRegexes = []string{fmt.Sprintf(`^/v[0-9]+/thing%d/[a-z]+$`, i)}
		case 4:
			m.PathRegexes = []string{fmt.Sprintf(`^/re%d/[a-z]+$`, i)}
			m.Hosts = []string{fmt.Sprintf("*.zone%d.example", i)}
		}
		routes[i] = named(fmt.Sprint("r", i), m)
	}
	return routes
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		routes := manyRoutes(n)
		table := compile(b, routes...)
		for _, bench := range []struct {
			name, head string
			want       int
		}{
			{"host", fmt.Sprintf("GET /index.html HTTP/1.1\nHost: h%d.example.com", n-5), n - 5},
			{"prefix", fmt.Sprintf("GET /api/service%d/items/7 HTTP/1.1\nHost: api.example.com", n-4), n - 4},
			{"exact", fmt.Sprintf("GET /page/%d HTTP/1.1\nHost: www.example.com", n-3), n - 3},
			{"regex", fmt.Sprintf("GET /v12/thing%d/abc HTTP/1.1\nHost: www.example.com", n-2), n - 2},
			{"wildcard-regex", fmt.Sprintf("GET /re%d/abc HTTP/1.1\nHost: a.b.zone%d.example", n-1, n-1), n - 1},
			{"none", "GET /nothing/here HTTP/1.1\nHost: www.example.com", -1},
		} {
			b.Run(fmt.Sprintf("routes=%d/%s", n, bench.name), func(b *testing.B) {
				q := query(b, bench.head)
				q.ClientIP = netip.MustParseAddr("192.0.2.1")
				b.ReportAllocs()
				for b.Loop() {
					if got, found := table.Match(q); found != (bench.want >= 0) || found && got != bench.want {
						b.Fatal(got, found)
					}
				}
			})
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	routes := append(manyRoutes(100),
		named("all", config.Match{
			PathPrefixes: []string{"/all"}, PathRegexes: []string{"x.*y$"}, Methods: []string{"PURGE"}, Hosts: []string{"*.example.com"},
			Headers: []config.NameValue{{Name: "X-A", Value: "1", HasValue: true}}, QueryParams: []config.NameValue{{Name: "a b"}},
			Cookies: []config.NameValue{{Name: "c", Value: "d", HasValue: true}}, ClientIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		}))
	table := compile(t, routes...)
	for _, head := range []string{
		"PURGE /all/xy?a+b=1 HTTP/1.1\nHost: WWW.Example.com:80\nx-a: 1\nCookie: a=b; c=d",
		"GET /v1/thing98/abc HTTP/1.1\nHost: h",
		"GET /nothing HTTP/1.1\nHost: h",
	} {
		q := query(t, head)
		_, found := table.Match(q)
		if want := head[:12] != "GET /nothing"; found != want {
			t.Errorf("%q: found %v, want %v", head, found, want)
		}
		if n := testing.AllocsPerRun(200, func() { table.Match(q) }); n != 0 {
			t.Errorf("%q: Match allocates %v times", head, n)
		}
	}
}
