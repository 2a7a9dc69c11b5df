package websocket

import (
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// eachProtocol calls visit with the tokens of a list (RFC 9110 §5.6.1) until it says false. It reports whether the list was good and visit never said false.
func eachProtocol(list []byte, visit func(name []byte) bool) bool {
	s := scanner(list)
	return s.each(func() bool {
		name := s.token()
		return len(name) > 0 && visit(name)
	})
}

// eachExtension does the same with the names of a list of extensions, whose parameters must keep to the grammar (RFC 6455 §9.1).
func eachExtension(list []byte, visit func(name []byte) bool) bool {
	s := scanner(list)
	return s.each(func() bool {
		name := s.token()
		return len(name) > 0 && s.parameters() && visit(name)
	})
}

// scanner is what is left of a field value.
type scanner []byte

// each calls element where an element of the list begins. Empty elements are passed over; a list of nothing else is refused.
func (s *scanner) each(element func() bool) bool {
	some := false
	for {
		s.space()
		if len(*s) > 0 && (*s)[0] != ',' {
			if !element() {
				return false
			}
			some = true
			s.space()
		}
		if len(*s) == 0 {
			return some
		}
		if !s.skip(',') {
			return false
		}
	}
}

func (s *scanner) parameters() bool {
	for {
		s.space()
		if !s.skip(';') {
			return true
		}
		s.space()
		if len(s.token()) == 0 {
			return false
		}
		s.space()
		if !s.skip('=') {
			continue
		}
		s.space()
		quoted := s.skip('"') // a quoted value must be a token as well
		if len(s.token()) == 0 || quoted && !s.skip('"') {
			return false
		}
	}
}

func (s *scanner) skip(c byte) bool {
	if len(*s) == 0 || (*s)[0] != c {
		return false
	}
	*s = (*s)[1:]
	return true
}

func (s *scanner) space() {
	for s.skip(' ') || s.skip('\t') {
	}
}

func (s *scanner) token() []byte {
	n := 0
	for n < len(*s) && isToken((*s)[n]) {
		n++
	}
	t := (*s)[:n]
	*s = (*s)[n:]
	return t
}

func isToken(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}

// KeepProtocols returns the subprotocols of a request that are allowed, as the value of one field; asked = it names some.
func KeepProtocols(fields []http1.Field, allowed []string) (kept []byte, asked bool) {
	for i := range fields {
		if fields[i].ID != http1.SecWebSocketProtocol {
			continue
		}
		asked = true
		eachProtocol(fields[i].Value, func(name []byte) bool {
			if slices.Contains(allowed, string(name)) {
				if len(kept) > 0 {
					kept = append(kept, ", "...)
				}
				kept = append(kept, name...)
			}
			return true
		})
	}
	return kept, asked
}
