// Package route decides which route answers a request. Compile turns the configured routes into an immutable Table;
// Table.Match finds the winner without allocating, in time that depends on the request and not on how many routes there
// are, as long as they differ in host or path.
//
// # Which route wins
//
// A route matches when each kind of matcher it has is satisfied; values of one kind are alternatives. Among matching
// routes the order is: higher priority; then exact path before longer prefix before shorter prefix before regular
// expression before no path matcher; then exact host before wildcard host before no host; then declaration order. What
// counts is the value that matched: a route with prefixes "/" and "/shop/cart" is as specific as the longer one only for
// requests below it.
//
// # How it is found
//
// Hosts are looked up in hash tables (the exact name, then each parent domain for wildcards), and each leads to a table
// of paths: a hash of exact paths, a hash of prefixes probed at segment boundaries of configured lengths, and regular
// expressions grouped by the literal they must begin, end or contain. Every (path value, host value) pair of a route is
// an entry with its place in the global order, so the best candidate is the one with the smallest number, and lists end
// early. Remaining matchers (method, header, query-param, cookie, client-ip, further path kinds) are verified on the
// candidates only.
//
// Paths are compared in the canonical form of Canonical, on both sides.
package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// Query is what a request offers to matchers. Slices are only read.
type Query struct {
	Method   []byte
	Host     []byte // Host field as sent: any case, with or without port
	Path     []byte // canonical, see Canonical; "*" for OPTIONS *
	RawQuery []byte // without "?"
	Fields   []http1.Field
	ClientIP netip.Addr
}

// Table is a compiled set of routes. It is immutable and safe for concurrent use.
type Table struct {
	exactHosts map[string]*hostTable
	wildHosts  map[string]*hostTable // key: the part after "*."
	anyHost    *hostTable
	routes     []predicates
}

// entry is one way in which a route can match.
type entry struct {
	order int32 // place in the global order; smaller wins
	route int32 // index into the routes given to Compile
}

// Specificity classes of paths and hosts, the best first.
const (
	pathExact = iota
	pathPrefix
	pathRegex
	pathAny
)

const (
	hostExact = iota
	hostWild
	hostAny
)

// draft is an entry before its order is known.
type draft struct {
	route     int
	priority  int
	pathClass int
	path      string // canonical path, prefix without trailing slash, or expression
	hostClass int
	host      string
}

// Compile builds the table. Paths are brought to canonical form, hosts to lower case.
func Compile(routes []config.Route) (*Table, error) {
	t := &Table{routes: make([]predicates, len(routes))}
	var drafts []draft
	for i := range routes {
		r := &routes[i]
		p, err := compilePredicates(&r.Match)
		if err != nil {
			return nil, fmt.Errorf("cannot compile route %q: %v", r.ID, err)
		}
		t.routes[i] = p
		own, err := draftsOf(i, r)
		if err != nil {
			return nil, fmt.Errorf("cannot compile route %q: %v", r.ID, err)
		}
		drafts = append(drafts, own...)
	}
	slices.SortStableFunc(drafts, func(a, b draft) int {
		return cmp.Or(
			cmp.Compare(b.priority, a.priority),
			cmp.Compare(a.pathClass, b.pathClass),
			cmp.Compare(a.prefixRank(), b.prefixRank()),
			cmp.Compare(a.hostClass, b.hostClass),
			cmp.Compare(a.route, b.route),
		)
	})
	for order, d := range drafts {
		if err := t.insert(d, entry{order: int32(order), route: int32(d.route)}); err != nil {
			return nil, fmt.Errorf("cannot compile route %q: %v", routes[d.route].ID, err)
		}
	}
	t.close()
	return t, nil
}

// prefixRank makes longer prefixes come first; it is 0 for the other classes, whose values are all alike.
func (d draft) prefixRank() int {
	if d.pathClass == pathPrefix {
		return -len(d.path)
	}
	return 0
}

// draftsOf lists every pair of a path value and a host value of a route. When a route has several kinds of path matchers,
// the most selective kind becomes the key and the others are verified.
func draftsOf(index int, r *config.Route) ([]draft, error) {
	class, paths := pathAny, []string{""}
	var err error
	switch {
	case len(r.Match.Paths) > 0:
		class = pathExact
		paths, err = canonicalAll(r.Match.Paths)
	case len(r.Match.PathPrefixes) > 0:
		class = pathPrefix
		paths, err = canonicalPrefixes(r.Match.PathPrefixes)
	case len(r.Match.PathRegexes) > 0:
		class, paths = pathRegex, r.Match.PathRegexes
	}
	if err != nil {
		return nil, err
	}
	hosts := r.Match.Hosts
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	var drafts []draft
	for _, h := range hosts {
		hostClass, host, err := parseHost(h)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			drafts = append(drafts, draft{
				route: index, priority: r.Priority, pathClass: class, path: p, hostClass: hostClass, host: host,
			})
		}
	}
	return drafts, nil
}

// parseHost normalises a host matcher: a name, an IP address with or without brackets, "*.name", or "*" for any.
func parseHost(h string) (class int, host string, err error) {
	host = strings.ToLower(h)
	if host == "*" {
		return hostAny, "", nil
	}
	class = hostExact
	if rest, found := strings.CutPrefix(host, "*."); found {
		class, host = hostWild, rest
	}
	host = strings.TrimSuffix(host, ".")
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() && class == hostExact {
		host = "[" + host + "]"
	}
	if name, port, valid := http1.SplitHost([]byte(host)); !valid || len(port) > 0 || len(name) != len(host) || !http1.ValidHost([]byte(host)) {
		return 0, "", fmt.Errorf("cannot use host %q: not a host name without port", h)
	}
	return class, host, nil
}

// insert files an entry under its host and path. Entries come in order, so every list is sorted.
func (t *Table) insert(d draft, e entry) error {
	var table *hostTable
	switch d.hostClass {
	case hostExact:
		table = tableOf(&t.exactHosts, d.host)
	case hostWild:
		table = tableOf(&t.wildHosts, d.host)
	default:
		if t.anyHost == nil {
			t.anyHost = newHostTable()
		}
		table = t.anyHost
	}
	return table.insert(d, e)
}

// close finishes the tables after the last insert.
func (t *Table) close() {
	if t.anyHost != nil {
		t.anyHost.regexes.close()
	}
	for _, hosts := range []map[string]*hostTable{t.exactHosts, t.wildHosts} {
		for _, h := range hosts {
			h.regexes.close()
		}
	}
}

func tableOf(hosts *map[string]*hostTable, host string) *hostTable {
	if *hosts == nil {
		*hosts = map[string]*hostTable{}
	}
	table := (*hosts)[host]
	if table == nil {
		table = newHostTable()
		(*hosts)[host] = table
	}
	return table
}

// maxHostBytes is the longest name http1.ValidHost lets through.
const maxHostBytes = 255

// Match returns the index of the winning route in the list given to Compile.
func (t *Table) Match(q *Query) (index int, ok bool) {
	s := search{table: t, query: q, best: entry{order: noOrder}}
	if len(q.Host) > 0 && (t.exactHosts != nil || t.wildHosts != nil) {
		var lower [maxHostBytes]byte
		if name := hostName(&lower, q.Host); len(name) > 0 {
			s.host(t.exactHosts[string(name)])
			if t.wildHosts != nil {
				for i, c := range name {
					if c == '.' && i > 0 {
						s.host(t.wildHosts[string(name[i+1:])])
					}
				}
			}
		}
	}
	s.host(t.anyHost)
	return int(s.best.route), s.best.order != noOrder
}

// hostName brings the name part of a Host value to lower case without port and final dot.
func hostName(lower *[maxHostBytes]byte, host []byte) []byte {
	name, _, valid := http1.SplitHost(host)
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	if !valid || len(name) > len(lower) {
		return nil
	}
	for i, c := range name {
		if c-'A' < 26 {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return lower[:len(name)]
}
