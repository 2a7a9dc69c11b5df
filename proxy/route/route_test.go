package route

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// query parses a request head as the server would, so that tests use real field views.
func query(t testing.TB, head string) *Query {
	t.Helper()
	var r http1.Request
	raw := strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n"
	n, refusal := r.Parse([]byte(raw), nil)
	if refusal != nil || n != len(raw) {
		t.Fatalf("Parse(%q) = %d, %v", raw, n, refusal)
	}
	path, err := Canonical(nil, r.Path)
	if err != nil {
		t.Fatalf("Canonical(%q): %v", r.Path, err)
	}
	return &Query{
		Method: r.Method, Host: r.Host, Path: path, RawQuery: r.Query, Fields: r.Fields,
		ClientIP: netip.MustParseAddr("192.0.2.7"),
	}
}

func compile(t testing.TB, routes ...config.Route) *Table {
	t.Helper()
	table, err := Compile(routes)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func named(id string, m config.Match) config.Route {
	return config.Route{ID: id, Priority: 50, Match: m}
}

func TestMatchers(t *testing.T) {
	t.Parallel()
	get := func(rest string) string { return "GET " + rest + "\nHost: h.example" }
	tests := []struct {
		name  string
		match config.Match
		yes   []string
		no    []string
	}{
		{"empty matches everything", config.Match{},
			[]string{get("/ HTTP/1.1"), "GET / HTTP/1.0", "OPTIONS * HTTP/1.1\nHost: a"}, nil},
		{"path", config.Match{Paths: []string{"/a", "/b c", "/é"}},
			[]string{get("/a HTTP/1.1"), get("/%61?x HTTP/1.1"), get("/x/../a HTTP/1.1"), get("//a HTTP/1.1"), get("/b%20c HTTP/1.1"), get("/%C3%A9 HTTP/1.1")},
			[]string{get("/a/ HTTP/1.1"), get("/A HTTP/1.1"), get("/ab HTTP/1.1"), get("/ HTTP/1.1")}},
		{"path-prefix", config.Match{PathPrefixes: []string{"/api"}},
			[]string{get("/api HTTP/1.1"), get("/api/ HTTP/1.1"), get("/api/x HTTP/1.1"), get("/v/../api/x HTTP/1.1"), get("/%61pi HTTP/1.1")},
			[]string{get("/apix HTTP/1.1"), get("/ap HTTP/1.1"), get("/x/api HTTP/1.1"), get("/api%2Fx HTTP/1.1"), get("/api/../x HTTP/1.1")}},
		{"path-prefix with slash", config.Match{PathPrefixes: []string{"/api/"}},
			[]string{get("/api HTTP/1.1"), get("/api/x HTTP/1.1")}, []string{get("/apix HTTP/1.1")}},
		{"path-prefix root", config.Match{PathPrefixes: []string{"/"}},
			[]string{get("/ HTTP/1.1"), get("/x HTTP/1.1"), "OPTIONS * HTTP/1.1\nHost: a"}, nil},
		{"path-regex", config.Match{PathRegexes: []string{`^/v[0-9]+/`, `\.php$`, `cgi`, `^/[a-c]$`, `(?i)^/Mixed`}},
			[]string{get("/v12/x HTTP/1.1"), get("/a/b.php HTTP/1.1"), get("/x/cgi-bin HTTP/1.1"), get("/b HTTP/1.1"), get("/mIXED HTTP/1.1")},
			[]string{get("/v/x HTTP/1.1"), get("/a.phpx HTTP/1.1"), get("/d HTTP/1.1"), get("/abcg HTTP/1.1")}},
		{"path kinds are joined by and", config.Match{PathPrefixes: []string{"/api"}, PathRegexes: []string{`\.json$`}},
			[]string{get("/api/x.json HTTP/1.1")}, []string{get("/api/x HTTP/1.1"), get("/x.json HTTP/1.1")}},
		{"path and prefix are joined by and", config.Match{Paths: []string{"/a/b", "/c"}, PathPrefixes: []string{"/a"}},
			[]string{get("/a/b HTTP/1.1")}, []string{get("/c HTTP/1.1"), get("/a HTTP/1.1")}},
		{"host", config.Match{Hosts: []string{"Example.com", "2001:db8::1", "[2001:db8::2]"}},
			[]string{"GET / HTTP/1.1\nHost: example.com", "GET / HTTP/1.1\nHost: EXAMPLE.com:8080", "GET / HTTP/1.1\nHost: example.com.",
				"GET / HTTP/1.1\nHost: [2001:db8::1]:80", "GET / HTTP/1.1\nHost: [2001:DB8::2]"},
			[]string{"GET / HTTP/1.1\nHost: www.example.com", "GET / HTTP/1.1\nHost: example.org", "GET / HTTP/1.0"}},
		{"host wildcard", config.Match{Hosts: []string{"*.example.com"}},
			[]string{"GET / HTTP/1.1\nHost: a.example.com", "GET / HTTP/1.1\nHost: b.a.Example.com:1"},
			[]string{"GET / HTTP/1.1\nHost: example.com", "GET / HTTP/1.1\nHost: aexample.com", "GET / HTTP/1.1\nHost: a.example.com.evil"}},
		{"method", config.Match{Methods: []string{"GET", "PURGE"}},
			[]string{get("/ HTTP/1.1"), "PURGE / HTTP/1.1\nHost: a"}, []string{"POST / HTTP/1.1\nHost: a", "HEAD / HTTP/1.1\nHost: a", "LINK / HTTP/1.1\nHost: a"}},
		{"header", config.Match{Headers: []config.NameValue{{Name: "X-Debug"}, {Name: "Accept", Value: "a/b", HasValue: true}}},
			[]string{get("/ HTTP/1.1") + "\nx-debug:", get("/ HTTP/1.1") + "\nACCEPT: c/d\nAccept:  a/b "},
			[]string{get("/ HTTP/1.1"), get("/ HTTP/1.1") + "\nAccept: A/b", get("/ HTTP/1.1") + "\nX-Debugger: 1"}},
		{"query-param", config.Match{QueryParams: []config.NameValue{{Name: "v", Value: "a b", HasValue: true}, {Name: "debug"}}},
			[]string{get("/?v=a+b HTTP/1.1"), get("/?x=1&v=a%20b HTTP/1.1"), get("/?debug HTTP/1.1"), get("/?%64ebug=0 HTTP/1.1")},
			[]string{get("/ HTTP/1.1"), get("/?v=a HTTP/1.1"), get("/?v=a+bc HTTP/1.1"), get("/?debugx HTTP/1.1"), get("/?x=debug HTTP/1.1")}},
		{"cookie", config.Match{Cookies: []config.NameValue{{Name: "beta", Value: "1", HasValue: true}, {Name: "sid"}}},
			[]string{get("/ HTTP/1.1") + "\nCookie: a=b; beta=1", get("/ HTTP/1.1") + "\nCookie: sid=x"},
			[]string{get("/ HTTP/1.1") + "\nCookie: beta=2", get("/ HTTP/1.1") + "\nCookie: Beta=1; x=sid", get("/ HTTP/1.1")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			table := compile(t, named("r", tt.match))
			for _, head := range tt.yes {
				if _, found := table.Match(query(t, head)); !found {
					t.Errorf("no match for %q", head)
				}
			}
			for _, head := range tt.no {
				if _, found := table.Match(query(t, head)); found {
					t.Errorf("match for %q", head)
				}
			}
		})
	}
}

func TestClientIP(t *testing.T) {
	t.Parallel()
	prefixes := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/33"),
		netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("::ffff:198.51.100.0/120"),
	}
	table := compile(t, named("r", config.Match{ClientIPs: prefixes}))
	for address, want := range map[string]bool{
		"10.0.0.0": true, "10.1.2.3": true, "10.255.255.255": true, "::ffff:10.2.3.4": true, "9.255.255.255": false, "11.0.0.0": false,
		"192.0.2.1": true, "192.0.2.0": false, "192.0.2.2": false, "2001:db8::": true, "2001:db8:7fff:ffff::1": true, "2001:db8:8000::": false,
		"2001:db7:ffff::": false, "198.51.100.9": true, "198.51.101.0": false, "::": false, "2001:db8::1%eth0": true,
	} {
		if _, got := table.Match(&Query{Path: []byte("/"), ClientIP: netip.MustParseAddr(address)}); got != want {
			t.Errorf("Match from %s = %v, want %v", address, got, want)
		}
	}
	if _, got := table.Match(&Query{Path: []byte("/")}); got {
		t.Error("an unknown client address matched")
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	table := compile(t,
		named("any", config.Match{}),
		named("regex", config.Match{PathRegexes: []string{"^/shop/"}}),
		named("short", config.Match{PathPrefixes: []string{"/shop"}}),
		named("mixed", config.Match{PathPrefixes: []string{"/", "/shop/cart/items"}}),
		named("long", config.Match{PathPrefixes: []string{"/shop/cart"}}),
		named("exact", config.Match{Paths: []string{"/shop/cart/now"}}),
		named("exact-wild", config.Match{Paths: []string{"/shop/cart/now"}, Hosts: []string{"*.b.c"}}),
		named("exact-host", config.Match{Paths: []string{"/shop/cart/now"}, Hosts: []string{"a.b.c"}}),
		named("twin", config.Match{Paths: []string{"/shop/cart/now"}, Hosts: []string{"a.b.c"}}),
		config.Route{ID: "urgent", Priority: 100, Match: config.Match{PathPrefixes: []string{"/"}, Methods: []string{"DELETE"}}},
		config.Route{ID: "low", Priority: 10, Match: config.Match{Paths: []string{"/shop/only"}}},
	)
	ids := []string{"any", "regex", "short", "mixed", "long", "exact", "exact-wild", "exact-host", "twin", "urgent", "low"}
	for head, want := range map[string]string{
		"GET /shop/cart/now HTTP/1.1\nHost: a.b.c":    "exact-host",
		"GET /shop/cart/now HTTP/1.1\nHost: x.b.c":    "exact-wild",
		"GET /shop/cart/now HTTP/1.1\nHost: b.c":      "exact",
		"GET /shop/cart/later HTTP/1.1\nHost: a.b.c":  "long",
		"GET /shop/cart/items/7 HTTP/1.1\nHost: h":    "mixed",
		"GET /shop/x HTTP/1.1\nHost: h":               "short",
		"GET /other HTTP/1.1\nHost: h":                "mixed",
		"DELETE /shop/cart/now HTTP/1.1\nHost: a.b.c": "urgent",
		"GET /shop/only HTTP/1.1\nHost: h":            "short",
		"OPTIONS * HTTP/1.1\nHost: h":                 "mixed",
	} {
		index, found := table.Match(query(t, head))
		if !found || ids[index] != want {
			t.Errorf("%q: got %v %v, want %s", head, ids[index], found, want)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]config.Match{
		"relative path": {Paths: []string{"x"}}, "escaping path": {PathPrefixes: []string{"/../x"}}, "expression": {PathRegexes: []string{"("}},
		"host with port": {Hosts: []string{"a:80"}}, "host with star inside": {Hosts: []string{"a.*.b"}}, "empty host": {Hosts: []string{""}},
		"method": {Methods: []string{"GET "}}, "header": {Headers: []config.NameValue{{Name: "a b"}}}, "client": {ClientIPs: []netip.Prefix{{}}},
	} {
		_, err := Compile([]config.Route{named("first", m)})
		if err == nil || !strings.HasPrefix(err.Error(), `cannot compile route "first": cannot `) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestEmptyTable(t *testing.T) {
	t.Parallel()
	if index, found := compile(t).Match(query(t, "GET / HTTP/1.1\nHost: a")); found {
		t.Errorf("matched %d in an empty table", index)
	}
}
