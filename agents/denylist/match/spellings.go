package match

import (
	"slices"
	"strings"
)

// Spellings are the ways in which one path may be read. A client can write one path in many ways ("/admin", "/%61dmin", "/x/../admin", "//admin",
// "/admin;v=1") and upstreams differ in which of them they take for the same. A rule that blocks therefore fires when any reading matches, and a rule
// that exempts only when all of them do: no encoding evades a block, and none reaches an exemption.
//
// Up to three readings are kept, without repetition: the path as sent; escapes resolved once, dot segments and empty segments removed; and the laxest
// one, where escapes are resolved until none is left, backslashes are slashes, parameters (";…" in a segment) are cut, and the path ends before a '?', '#' or NUL that
// an escape hid.
type Spellings struct {
	list [3]string
	n    int
}

// maxRounds bounds repeated unescaping: "%25252561" is "a" after four rounds.
const maxRounds = 4

// NewSpellings returns the spellings of the path in a request target: origin-form, absolute-form or "*". With fold they are in lower case (ASCII).
// It allocates only when there is more than one spelling, or upper case to fold.
func NewSpellings(target string, fold bool) (s Spellings) {
	path := pathOf(target)
	s.add(path, fold)
	if isPlain(path) {
		return s
	}
	once := unescape([]byte(path))
	lax := slices.Clone(once)
	s.add(string(resolve(once)), fold)
	for range maxRounds - 1 {
		before := len(lax)
		if lax = unescape(lax); len(lax) == before {
			break
		}
	}
	for i, c := range lax {
		if c == '\\' {
			lax[i] = '/'
		}
	}
	s.add(string(resolve(cutParameters(lax))), fold)
	return s
}

func (s *Spellings) add(path string, fold bool) {
	if fold {
		path = lowerASCII(path)
	}
	if !slices.Contains(s.list[:s.n], path) {
		s.list[s.n] = path
		s.n++
	}
}

// Any returns the first entry that match finds for one of the spellings.
func (s *Spellings) Any(match func(path string) (string, bool)) (string, bool) {
	for _, path := range s.list[:s.n] {
		if entry, ok := match(path); ok {
			return entry, true
		}
	}
	return "", false
}

// All reports whether match finds an entry for every spelling.
func (s *Spellings) All(match func(path string) (string, bool)) bool {
	for _, path := range s.list[:s.n] {
		if _, ok := match(path); !ok {
			return false
		}
	}
	return true
}

// pathOf cuts scheme and authority, query and fragment.
func pathOf(target string) string {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	if !strings.HasPrefix(target, "/") {
		if _, rest, ok := strings.Cut(target, "://"); ok {
			i := strings.IndexByte(rest, '/')
			if i < 0 {
				return "/"
			}
			return rest[i:]
		}
	}
	return target
}

// isPlain reports whether every reading of path is the same.
func isPlain(path string) bool {
	for i := range len(path) {
		switch path[i] {
		case '%', '\\', ';':
			return false
		case '/':
			if i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.') {
				return false
			}
		}
	}
	return true
}

// unescape resolves %XX in place; a '%' that begins no escape stays as it is.
func unescape(b []byte) []byte {
	out := b[:0]
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' && i+2 < len(b) {
			hi, lo := hexValue(b[i+1]), hexValue(b[i+2])
			if hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		out = append(out, c)
	}
	return out
}

// hexValue returns the value of a hexadecimal digit, 16 for any other byte.
func hexValue(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 16
}

// cutParameters removes, in place, what follows a ';' in each segment and everything from a '?', '#' or NUL on.
func cutParameters(b []byte) []byte {
	out, cut := b[:0], false
	for _, c := range b {
		switch c {
		case ';':
			cut = true
		case '/':
			cut = false
		case '?', '#', 0:
			return out
		}
		if !cut {
			out = append(out, c)
		}
	}
	return out
}

// resolve removes, in place, empty segments and dot segments (RFC 3986 section 5.2.4). The result begins with '/'; a trailing slash stays.
func resolve(b []byte) []byte {
	if len(b) == 0 || b[0] != '/' {
		return b // "*"
	}
	out := b[:1]
	for i := 1; i < len(b); {
		end := i
		for end < len(b) && b[end] != '/' {
			end++
		}
		segment, last := b[i:end], end == len(b)
		switch {
		case len(segment) == 0 || string(segment) == ".":
		case string(segment) == "..":
			out = parent(out)
		default:
			out = append(out, segment...)
			if !last {
				out = append(out, '/')
			}
		}
		i = end + 1
	}
	return out
}

// parent cuts the last segment of a path that ends with '/'.
func parent(path []byte) []byte {
	i := len(path) - 1
	for i > 0 && path[i-1] != '/' {
		i--
	}
	return path[:max(i, 1)]
}

// lowerASCII is strings.ToLower without knowledge of other alphabets.
func lowerASCII(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				b[i] = lowerByte(b[i])
			}
			return string(b)
		}
	}
	return s
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
