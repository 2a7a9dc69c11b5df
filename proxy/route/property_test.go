package route

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// scan is the specification, written as naively as possible: every route, every value, compare ranks.
func scan(routes []config.Route, q *Query) (best int, found bool) {
	var bestRank [4]int
	for i := range routes {
		rank, matches := naive(&routes[i], q)
		if matches && (!found || less(rank, bestRank)) {
			best, bestRank, found = i, rank, true
		}
	}
	return best, found
}

func less(a, b [4]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// naive returns the rank (priority, path class, prefix length, host class), smaller is better.
func naive(r *config.Route, q *Query) (rank [4]int, matches bool) {
	m := &r.Match
	rank = [4]int{-r.Priority, pathAny, 0, hostAny}
	path := string(q.Path)
	if len(m.PathRegexes) > 0 {
		hit := false
		for _, x := range m.PathRegexes {
			hit = hit || expressions[x].MatchString(path)
		}
		if !hit {
			return rank, false
		}
		rank[1] = pathRegex
	}
	if len(m.PathPrefixes) > 0 {
		longest := -1
		for _, p := range m.PathPrefixes {
			p = strings.TrimSuffix(p, "/")
			if p == "" || path == p || strings.HasPrefix(path, p+"/") {
				longest = max(longest, len(p))
			}
		}
		if longest < 0 {
			return rank, false
		}
		rank[1], rank[2] = pathPrefix, -longest
	}
	if len(m.Paths) > 0 {
		hit := false
		for _, p := range m.Paths {
			hit = hit || p == path
		}
		if !hit {
			return rank, false
		}
		rank[1], rank[2] = pathExact, 0
	}
	if len(m.Hosts) > 0 {
		host, _, _ := strings.Cut(strings.ToLower(string(q.Host)), ":")
		host = strings.TrimSuffix(host, ".")
		for _, h := range m.Hosts {
			if h == host && host != "" {
				rank[3] = hostExact
			} else if suffix, wild := strings.CutPrefix(h, "*"); wild && strings.HasSuffix(host, suffix) && len(host) > len(suffix) {
				rank[3] = min(rank[3], hostWild)
			}
		}
		if rank[3] == hostAny {
			return rank, false
		}
	}
	return rank, naiveRest(m, q)
}

func naiveRest(m *config.Match, q *Query) bool {
	any := func(n int, hit func(i int) bool) bool {
		for i := range n {
			if hit(i) {
				return true
			}
		}
		return n == 0
	}
	return any(len(m.Methods), func(i int) bool { return m.Methods[i] == string(q.Method) }) &&
		any(len(m.ClientIPs), func(i int) bool { return m.ClientIPs[i].Contains(q.ClientIP.Unmap()) }) &&
		any(len(m.Headers), func(i int) bool {
			for _, f := range q.Fields {
				if strings.EqualFold(string(f.Name), m.Headers[i].Name) && (!m.Headers[i].HasValue || string(f.Value) == m.Headers[i].Value) {
					return true
				}
			}
			return false
		}) &&
		any(len(m.QueryParams), func(i int) bool {
			for _, pair := range strings.Split(string(q.RawQuery), "&") {
				name, value, _ := strings.Cut(pair, "=")
				if pair != "" && name == m.QueryParams[i].Name && (!m.QueryParams[i].HasValue || value == m.QueryParams[i].Value) {
					return true
				}
			}
			return false
		})
}

// TestSameAsLinearScan compares the compiled table with the specification on random routes and requests from a small
// vocabulary, so that matches, near misses and ties are frequent.
func TestSameAsLinearScan(t *testing.T) {
	t.Parallel()
	matched := 0
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		routes := make([]config.Route, 1+rnd.IntN(40))
		for i := range routes {
			routes[i] = randomRoute(rnd, i)
		}
		table := compile(t, routes...)
		for range 100 {
			head := randomHead(rnd)
			q := query(t, head)
			q.ClientIP = netip.AddrFrom4([4]byte{10, byte(rnd.IntN(3)), byte(rnd.IntN(3)), 1})
			got, gotFound := table.Match(q)
			want, wantFound := scan(routes, q)
			if gotFound != wantFound || gotFound && got != want {
				t.Fatalf("seed %d: %q: got %d %v, want %d %v\ngot  %+v\nwant %+v", seed, head, got, gotFound, want, wantFound, routes[got], routes[want])
			}
			if gotFound {
				matched++
			}
		}
	}
	if matched < 4000 {
		t.Errorf("only %d of 40000 requests matched: the test does not test", matched)
	}
}

var (
	paths    = []string{"/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/a/c", "/b.php", "/c/d/e/f"}
	patterns = []string{"^/a", "b$", "^/a/b$", "c", ".*", "^/[ab]/", `\.php$`, "(?i)^/A", "^/(a|c)", "a/b/c", "/d", "e/f$", "^$", "b/|c/d"}
	hosts    = []string{"x.test", "y.test", "a.x.test", "*.x.test", "*.test", "*.a.x.test"}
	asked    = []string{"x.test", "Y.test:80", "a.x.test", "b.a.x.test.", "z.test", "other"}
	methods  = []string{"GET", "POST", "PURGE"}
)

// expressions holds the patterns compiled, for the specification.
var expressions = func() map[string]*regexp.Regexp {
	m := map[string]*regexp.Regexp{}
	for _, p := range patterns {
		m[p] = regexp.MustCompile(p)
	}
	return m
}()

func some(rnd *rand.Rand, from []string, oneIn int) []string {
	if rnd.IntN(oneIn) != 0 {
		return nil
	}
	out := []string{from[rnd.IntN(len(from))]}
	for rnd.IntN(3) == 0 {
		out = append(out, from[rnd.IntN(len(from))])
	}
	return out
}

func randomRoute(rnd *rand.Rand, i int) config.Route {
	m := config.Match{
		Paths: some(rnd, paths, 4), PathPrefixes: some(rnd, paths, 3), PathRegexes: some(rnd, patterns, 3), Hosts: some(rnd, hosts, 2),
		Methods: some(rnd, methods, 4),
	}
	if rnd.IntN(5) == 0 {
		m.ClientIPs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(rnd.IntN(3)), 0, 0}), 8+8*rnd.IntN(3)).Masked()}
	}
	if rnd.IntN(6) == 0 {
		m.Headers = []config.NameValue{{Name: "X-A", Value: fmt.Sprint(rnd.IntN(2)), HasValue: rnd.IntN(2) == 0}, {Name: "Accept"}}
	}
	if rnd.IntN(6) == 0 {
		m.QueryParams = []config.NameValue{{Name: "q", Value: fmt.Sprint(rnd.IntN(2)), HasValue: rnd.IntN(2) == 0}}
	}
	return config.Route{ID: fmt.Sprint("r", i), Priority: []int{10, 50, 50, 50, 100}[rnd.IntN(5)], Match: m}
}

func randomHead(rnd *rand.Rand) string {
	head := methods[rnd.IntN(3)] + " " + paths[rnd.IntN(len(paths))]
	if rnd.IntN(2) == 0 {
		head += fmt.Sprint("?q=", rnd.IntN(3))
	}
	head += " HTTP/1.1\nHost: " + asked[rnd.IntN(len(asked))]
	if rnd.IntN(3) == 0 {
		head += fmt.Sprint("\nx-a: ", rnd.IntN(3))
	}
	if rnd.IntN(5) == 0 {
		head += "\nAccept: */*"
	}
	return head
}
