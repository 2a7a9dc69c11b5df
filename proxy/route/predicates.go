package route

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// predicates are the matchers of a route that are verified on a candidate. Nil members are satisfied.
type predicates struct {
	prefixes []string         // only beside exact paths
	regexes  []*regexp.Regexp // only beside exact paths or prefixes
	methods  *methodSet
	headers  []fieldMatch
	params   []config.NameValue
	cookies  []config.NameValue
	clients  *addressSet
}

// methodSet is a set of methods: a bit for each known one, a list of the others.
type methodSet struct {
	known uint32
	other []string
}

// fieldMatch is a header matcher whose name has been looked up.
type fieldMatch struct {
	id http1.FieldID
	config.NameValue
}

func compilePredicates(m *config.Match) (p predicates, err error) {
	if len(m.Paths) > 0 && len(m.PathPrefixes) > 0 {
		if p.prefixes, err = canonicalPrefixes(m.PathPrefixes); err != nil {
			return p, err
		}
	}
	for _, expression := range m.PathRegexes {
		re, err := regexp.Compile(expression)
		if err != nil {
			return p, fmt.Errorf("cannot use path expression %q: %v", expression, err)
		}
		if len(m.Paths) > 0 || len(m.PathPrefixes) > 0 {
			p.regexes = append(p.regexes, re)
		}
	}
	if len(m.Methods) > 0 {
		p.methods = &methodSet{}
		for _, name := range m.Methods {
			if !http1.ValidToken([]byte(name)) {
				return p, fmt.Errorf("cannot use method %q: not a token", name)
			}
			if id := http1.LookupMethod([]byte(name)); id != http1.MethodOther {
				p.methods.known |= 1 << id
			} else {
				p.methods.other = append(p.methods.other, name)
			}
		}
	}
	for _, h := range m.Headers {
		if !http1.ValidToken([]byte(h.Name)) {
			return p, fmt.Errorf("cannot use header %q: not a field name", h.Name)
		}
		p.headers = append(p.headers, fieldMatch{http1.LookupField([]byte(h.Name)), h})
	}
	p.params = slices.Clone(m.QueryParams)
	p.cookies = slices.Clone(m.Cookies)
	if len(m.ClientIPs) > 0 {
		if p.clients, err = newAddressSet(m.ClientIPs); err != nil {
			return p, err
		}
	}
	return p, nil
}

// accept reports whether all matchers are satisfied, the cheap ones first.
func (p *predicates) accept(q *Query) bool {
	if p.methods != nil && !p.methods.contains(q.Method) {
		return false
	}
	if p.clients != nil && !p.clients.contains(q.ClientIP) {
		return false
	}
	if p.prefixes != nil && !slices.ContainsFunc(p.prefixes, func(prefix string) bool { return hasPrefix(q.Path, prefix) }) {
		return false
	}
	if p.headers != nil && !anyHeader(p.headers, q.Fields) {
		return false
	}
	if p.params != nil && !anyParam(p.params, q.RawQuery) {
		return false
	}
	if p.cookies != nil && !anyCookie(p.cookies, q.Fields) {
		return false
	}
	if p.regexes != nil && !slices.ContainsFunc(p.regexes, func(re *regexp.Regexp) bool { return re.Match(q.Path) }) {
		return false
	}
	return true
}

func (s *methodSet) contains(method []byte) bool {
	if id := http1.LookupMethod(method); id != http1.MethodOther {
		return s.known&(1<<id) != 0
	}
	for _, name := range s.other {
		if string(method) == name {
			return true
		}
	}
	return false
}

// anyHeader reports whether a field line satisfies one of the matchers. Names are compared without case, values exactly.
func anyHeader(matches []fieldMatch, fields []http1.Field) bool {
	for i := range matches {
		m := &matches[i]
		for j := range fields {
			f := &fields[j]
			if f.ID != m.id || m.id == http1.Unknown && !http1.EqualFold(f.Name, m.Name) {
				continue
			}
			if !m.HasValue || string(f.Value) == m.Value {
				return true
			}
		}
	}
	return false
}

// anyParam reports whether a parameter of the query satisfies one of the matchers. Names and values are compared decoded.
func anyParam(matches []config.NameValue, query []byte) bool {
	for len(query) > 0 {
		pair := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		name, value, _ := bytes.Cut(pair, []byte{'='})
		for i := range matches {
			m := &matches[i]
			if equalDecoded(name, m.Name) && (!m.HasValue || equalDecoded(value, m.Value)) {
				return true
			}
		}
	}
	return false
}

// equalDecoded compares a query component with a decoded string: "+" is a space, escapes are decoded, an invalid escape
// stands for itself.
func equalDecoded(raw []byte, want string) bool {
	n := 0
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 < len(raw) {
				high, valid1 := hexDigit(raw[i+1])
				low, valid2 := hexDigit(raw[i+2])
				if valid1 && valid2 {
					c = high<<4 | low
					i += 2
				}
			}
		}
		if n >= len(want) || want[n] != c {
			return false
		}
		n++
	}
	return n == len(want)
}

// anyCookie reports whether a cookie satisfies one of the matchers. Names and values are compared exactly; quotes around
// a value are part of it (RFC 6265 §5.2).
func anyCookie(matches []config.NameValue, fields []http1.Field) bool {
	for i := range fields {
		if fields[i].ID != http1.Cookie {
			continue
		}
		for rest := fields[i].Value; len(rest) > 0; {
			var pair []byte
			if end := bytes.IndexByte(rest, ';'); end >= 0 {
				pair, rest = rest[:end], rest[end+1:]
			} else {
				pair, rest = rest, nil
			}
			name, value, _ := bytes.Cut(pair, []byte{'='})
			name, value = bytes.Trim(name, " \t"), bytes.Trim(value, " \t")
			for j := range matches {
				if string(name) == matches[j].Name && (!matches[j].HasValue || string(value) == matches[j].Value) {
					return true
				}
			}
		}
	}
	return false
}

// addressSet is a set of addresses as sorted, disjoint ranges, searched by bisection.
type addressSet struct {
	ranges []addressRange
}

type addressRange struct{ first, last netip.Addr }

func newAddressSet(prefixes []netip.Prefix) (*addressSet, error) {
	s := &addressSet{}
	for _, p := range prefixes {
		if !p.IsValid() {
			return nil, fmt.Errorf("cannot use client-ip: invalid prefix")
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		p = p.Masked()
		s.ranges = append(s.ranges, addressRange{p.Addr(), lastAddress(p)})
	}
	slices.SortFunc(s.ranges, func(a, b addressRange) int { return cmp.Or(a.first.Compare(b.first), b.last.Compare(a.last)) })
	merged := s.ranges[:1]
	for _, r := range s.ranges[1:] { // prefixes nest or are disjoint
		if top := merged[len(merged)-1]; r.first.BitLen() == top.first.BitLen() && r.last.Compare(top.last) <= 0 {
			continue
		}
		merged = append(merged, r)
	}
	s.ranges = merged
	return s, nil
}

// lastAddress returns the highest address of a masked prefix.
func lastAddress(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for i := range bytes {
		switch keep := p.Bits() - 8*i; {
		case keep <= 0:
			bytes[i] = 0xff
		case keep < 8:
			bytes[i] |= 0xff >> keep
		}
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// contains reports whether an address is in the set. An IPv4 address in IPv6 form counts as IPv4; zones are ignored.
func (s *addressSet) contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	low, high := 0, len(s.ranges)
	for low < high {
		middle := (low + high) / 2
		if s.ranges[middle].first.Compare(a) <= 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low > 0 && a.IsValid() && s.ranges[low-1].first.BitLen() == a.BitLen() && a.Compare(s.ranges[low-1].last) <= 0
}
