package route

import (
	"errors"
	"fmt"
)

// Errors of Canonical. A request with such a path is answered with 400.
var (
	ErrPathForm      = errors.New("path does not begin with a slash")
	ErrPathEscape    = errors.New("path has an incomplete or invalid percent-encoding")
	ErrPathControl   = errors.New("path has a control character")
	ErrPathAboveRoot = errors.New("path leads above the root")
	ErrPathAmbiguous = errors.New("path has a dot segment that servers read differently")
	ErrPathOverlong  = errors.New("path has an overlong UTF-8 sequence")
)

func pathError(path string, err error) error { return fmt.Errorf("cannot use path %q: %v", path, err) }

// Classes of path bytes.
const (
	byteRaw     = iota + 1 // stands for itself in canonical form
	byteEncoded            // always percent-encoded in canonical form
	byteControl            // refused
)

var pathBytes = buildPathBytes()

func buildPathBytes() (t [256]uint8) {
	for c := range t {
		switch {
		case c < 0x20 || c == 0x7f:
			t[c] = byteControl
		case c > 0x7f || c == ' ' || c == '"' || c == '#' || c == '%' || c == '<' || c == '>' || c == '?' || c == '\\':
			t[c] = byteEncoded
		default:
			t[c] = byteRaw
		}
	}
	return t
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c-'0' < 10:
		return c - '0', true
	case c|0x20-'a' < 6:
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// Canonical brings a path to the one form in which paths are compared:
//
//   - Each byte has one spelling. Printable ASCII is written raw, except space and `"#%<>?\`, which are always
//     percent-encoded with upper-case digits, as are bytes above ASCII. So "%41" is "A" and "%7e" is "~", while an
//     encoded slash stays "%2F" and never separates segments. Decoding is done once.
//   - "." and ".." segments are resolved after that, encoded ones ("%2e") too; going above the root is refused.
//   - Empty segments are dropped: "//" is "/". A trailing slash is kept.
//   - Refused: a path that does not begin with "/", control characters raw or encoded, incomplete or invalid escapes,
//     overlong UTF-8, and dot segments that only some servers see: beside an encoded slash or backslash ("..%2Fadmin")
//     and with path parameters ("..;/admin").
//
// The asterisk of OPTIONS stays as it is. A path that is canonical already is returned as it is, without a copy; otherwise
// the result is written over dst, which is grown when it is too small.
func Canonical(dst, rawPath []byte) (path []byte, err error) {
	if len(rawPath) == 0 || rawPath[0] != '/' {
		if len(rawPath) == 1 && rawPath[0] == '*' {
			return rawPath, nil
		}
		return nil, ErrPathForm
	}
	last := byte(0)
	for _, c := range rawPath {
		if pathBytes[c] != byteRaw || last == '/' && (c == '/' || c == '.') {
			return canonical(dst[:0], rawPath)
		}
		last = c
	}
	return rawPath, nil
}

func canonical(dst, raw []byte) ([]byte, error) {
	for i := 0; i < len(raw); {
		i++ // the slash that begins the segment
		start := len(dst)
		dst = append(dst, '/')
		var err error
		if dst, i, err = appendSegment(dst, raw, i); err != nil {
			return nil, err
		}
		segment := dst[start+1:]
		atEnd := i == len(raw)
		switch {
		case len(segment) == 0 || string(segment) == ".":
			dst = dst[:start]
		case string(segment) == "..":
			if start == 0 {
				return nil, ErrPathAboveRoot
			}
			for start--; dst[start] != '/'; start-- {
			}
			dst = dst[:start]
		case hasHiddenDots(segment):
			return nil, ErrPathAmbiguous
		default:
			continue
		}
		if atEnd {
			dst = append(dst, '/')
		}
	}
	return dst, nil
}

// appendSegment appends the canonical spelling of the segment at raw[i:] and returns the index of the next slash or the end.
func appendSegment(dst, raw []byte, i int) ([]byte, int, error) {
	const upperHex = "0123456789ABCDEF"
	last := byte(0)
	for ; i < len(raw) && raw[i] != '/'; i++ {
		c := raw[i]
		if c == '%' {
			if i+2 >= len(raw) {
				return nil, 0, ErrPathEscape
			}
			high, valid1 := hexDigit(raw[i+1])
			low, valid2 := hexDigit(raw[i+2])
			if !valid1 || !valid2 {
				return nil, 0, ErrPathEscape
			}
			c = high<<4 | low
			i += 2
		}
		switch {
		case pathBytes[c] == byteControl:
			return nil, 0, ErrPathControl
		case isOverlong(last, c):
			return nil, 0, ErrPathOverlong
		case pathBytes[c] == byteRaw && c != '/':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
		last = c
	}
	return dst, i, nil
}

// isOverlong reports whether two bytes begin a UTF-8 sequence that is longer than its character needs, the classic way to
// hide "/" and ".".
func isOverlong(lead, next byte) bool {
	if next < 0x80 || next > 0xbf {
		return false
	}
	return lead == 0xc0 || lead == 0xc1 || lead == 0xe0 && next < 0xa0 || lead == 0xf0 && next < 0x90
}

// hasHiddenDots reports whether a segment contains "." or ".." for a server that takes an encoded slash or backslash for
// a separator, or that cuts path parameters off at ";".
func hasHiddenDots(segment []byte) bool {
	for start := 0; start <= len(segment); {
		end, next := start, len(segment)+1
		for ; end < len(segment); end++ {
			if segment[end] == ';' {
				next = skipParameters(segment, end)
				break
			}
			if isEncodedSlash(segment, end) {
				next = end + 3
				break
			}
		}
		if part := segment[start:end]; string(part) == "." || string(part) == ".." {
			return true
		}
		start = next
	}
	return false
}

func isEncodedSlash(segment []byte, i int) bool {
	return i+2 < len(segment) && segment[i] == '%' &&
		(segment[i+1] == '2' && segment[i+2] == 'F' || segment[i+1] == '5' && segment[i+2] == 'C')
}

// skipParameters returns the start of the part after the next encoded slash, past the end when there is none.
func skipParameters(segment []byte, i int) int {
	for ; i < len(segment); i++ {
		if isEncodedSlash(segment, i) {
			return i + 3
		}
	}
	return len(segment) + 1
}
