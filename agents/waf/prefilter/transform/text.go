package transform

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

func removeNulls(s string) string { return strings.ReplaceAll(s, "\x00", "") }

func replaceNulls(s string) string { return strings.ReplaceAll(s, "\x00", " ") }

const trimmed = " \t\n\r\f\v"

func trim(s string) string { return strings.Trim(s, trimmed) }

func trimLeft(s string) string { return strings.TrimLeft(s, trimmed) }

func trimRight(s string) string { return strings.TrimRight(s, trimmed) }

// nbsp is the no-break space of Latin-1, as a byte that is no UTF-8.
const nbsp = 0xa0

func compressWhitespace(s string) string {
	out := make([]byte, 0, len(s))
	within := false
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		blank := r < utf8.RuneSelf && space.Has(byte(r)) || r == 0x85 || r == nbsp || s[i] == nbsp
		if !blank {
			out = append(out, s[i:i+n]...)
		} else if !within {
			out = append(out, ' ')
		}
		within = blank
		i += n
	}
	return string(out)
}

func removeWhitespace(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return removeUnicodeSpace(s)
		}
		if !space.Has(s[i]) {
			out = append(out, s[i])
		}
	}
	return string(out)
}

func removeUnicodeSpace(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

func replaceComments(s string) string {
	if !strings.Contains(s, "/*") {
		return s
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "/*")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteByte(' ')
		if _, s, found = strings.Cut(rest, "*/"); !found {
			return out.String()
		}
	}
}

// commentMarks are the beginnings and ends of comments, in the order in which they are looked for.
var commentMarks = []string{"/*", "*/", "<!--", "-->", "--", "#"}

func removeCommentsChar(s string) string {
	out := make([]byte, 0, len(s))
next:
	for i := 0; i < len(s); {
		for _, mark := range commentMarks {
			if strings.HasPrefix(s[i:], mark) {
				i += len(mark)
				continue next
			}
		}
		out = append(out, s[i])
		i++
	}
	return string(out)
}

// cmdLine undoes what shells ignore.
func cmdLine(s string) string {
	out := make([]byte, 0, len(s))
	blank := false
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\'', '\\', '^':
		case ' ', ',', ';', '\t', '\r', '\n':
			if !blank {
				out = append(out, ' ')
			}
			blank = true
		case '/', '(':
			if blank {
				out = out[:len(out)-1]
			}
			blank = false
			out = append(out, c)
		default:
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			out = append(out, c)
			blank = false
		}
	}
	return string(out)
}
