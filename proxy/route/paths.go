package route

import (
	"math"
	"slices"
	"strings"
)

// noOrder is worse than every entry's order.
const noOrder = math.MaxInt32

// hostTable holds the entries of one host value by path.
type hostTable struct {
	first   int32 // smallest order in the table
	exact   map[string][]entry
	prefix  map[string][]entry // key without trailing slash, "" for "/"
	lengths []int              // distinct lengths of prefix keys, descending
	regexes regexIndex
	any     []entry
}

func newHostTable() *hostTable { return &hostTable{first: noOrder} }

func (h *hostTable) insert(d draft, e entry) error {
	h.first = min(h.first, e.order)
	switch d.pathClass {
	case pathExact:
		if h.exact == nil {
			h.exact = map[string][]entry{}
		}
		h.exact[d.path] = append(h.exact[d.path], e)
	case pathPrefix:
		if h.prefix == nil {
			h.prefix = map[string][]entry{}
		}
		h.prefix[d.path] = append(h.prefix[d.path], e)
		at, found := slices.BinarySearchFunc(h.lengths, len(d.path), func(a, b int) int { return b - a })
		if !found {
			h.lengths = slices.Insert(h.lengths, at, len(d.path))
		}
	case pathRegex:
		return h.regexes.insert(d.path, e)
	default:
		h.any = append(h.any, e)
	}
	return nil
}

// search is the state of one Match.
type search struct {
	table *Table
	query *Query
	best  entry
}

// host looks for a better entry in the table of one host value.
func (s *search) host(h *hostTable) {
	if h == nil || h.first >= s.best.order {
		return
	}
	path := s.query.Path
	if h.exact != nil {
		s.list(h.exact[string(path)])
	}
	for _, n := range h.lengths {
		if n < len(path) && path[n] == '/' || n == len(path) || n == 0 {
			s.list(h.prefix[string(path[:n])])
		}
	}
	if !h.regexes.empty() {
		h.regexes.search(s, path)
	}
	s.list(h.any)
}

// list takes the first entry of a sorted list that is better than the best so far and whose route accepts the request.
func (s *search) list(entries []entry) {
	for _, e := range entries {
		if e.order >= s.best.order {
			return
		}
		if s.table.routes[e.route].accept(s.query) {
			s.best = e
			return
		}
	}
}

func canonicalAll(paths []string) ([]string, error) {
	out := make([]string, 0, len(paths))
	for _, p := range paths {
		c, err := Canonical(nil, []byte(p))
		if err != nil {
			return nil, pathError(p, err)
		}
		out = append(out, string(c))
	}
	return out, nil
}

// canonicalPrefixes also drops the trailing slash: "/api/" and "/api" mean the same prefix, and "/" becomes "".
func canonicalPrefixes(paths []string) ([]string, error) {
	out, err := canonicalAll(paths)
	for i := range out {
		out[i] = strings.TrimSuffix(out[i], "/")
	}
	return out, err
}

// hasPrefix reports whether path is at or below a prefix that has no trailing slash.
func hasPrefix(path []byte, prefix string) bool {
	n := len(prefix)
	return n == 0 || len(path) >= n && string(path[:n]) == prefix && (len(path) == n || path[n] == '/')
}
