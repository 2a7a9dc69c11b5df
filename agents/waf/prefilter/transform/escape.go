package transform

import (
	"strings"
	"unicode/utf8"
)

// controls are the escapes of control characters that all three languages below share.
var controls = map[byte]byte{'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

func isOctal(c byte) bool { return c >= '0' && c <= '7' }

// octal returns the value of up to most octal digits at position i, and how many there are.
func octal(s string, i, most int) (value, n int) {
	for n < most && i+n < len(s) && isOctal(s[i+n]) {
		value = value<<3 | int(s[i+n]-'0')
		n++
	}
	return value, n
}

// hexRun returns the value of up to six hexadecimal digits at position i, and how many there are.
func hexRun(s string, i int) (value rune, n int) {
	for n < 6 && i+n < len(s) && hexValue[s[i+n]] >= 0 {
		value = value<<4 | rune(hexValue[s[i+n]])
		n++
	}
	return value, n
}

func jsDecode(s string) string { return unescape(s, jsEscape) }

// unescape replaces each backslash with what follows it by the byte that escape makes of it. escape is given the position behind the backslash, where something follows, and tells how long the escape is there.
func unescape(s string, escape func(s string, i int) (byte, int)) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 >= len(s) {
			out = append(out, s[i])
			i++
			continue
		}
		b, n := escape(s, i+1)
		out = append(out, b)
		i += 1 + n
	}
	return string(out)
}

// jsEscape returns what the escape at position i, behind its backslash, becomes, and how long it is.
func jsEscape(s string, i int) (byte, int) {
	c := s[i]
	if c == 'u' && i+1 < len(s) && s[i+1] == '{' {
		if code, n := hexRun(s, i+2); n > 0 && i+2+n < len(s) && s[i+2+n] == '}' {
			if code >= 0xff01 && code <= 0xff5e {
				return byte(code) + 0x20, n + 3
			}
			return byte(code), n + 3
		}
	}
	if c == 'u' {
		up, ok := hexByte(s, i+1)
		low, ok2 := hexByte(s, i+3)
		if ok && ok2 {
			if up == 0xff && low > 0 && low < 0x5f {
				low += 0x20
			}
			return low, 5
		}
	}
	if c == 'x' {
		if b, ok := hexByte(s, i+1); ok {
			return b, 3
		}
	}
	if isOctal(c) {
		most := 3
		if c > '3' { // three digits would be more than a byte
			most = 2
		}
		v, n := octal(s, i, most)
		return byte(v), n
	}
	if b, ok := controls[c]; ok {
		return b, 1
	}
	return c, 1
}

func cssDecode(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			out = append(out, s[i])
			i++
			continue
		}
		if i++; i >= len(s) {
			break
		}
		code, n := hexRun(s, i)
		switch {
		case n > 0:
			if code == 0 {
				code = utf8.RuneError
			}
			if code >= 0xff01 && code <= 0xff5e { // full width
				code -= 0xfee0
			}
			out = utf8.AppendRune(out, code)
			if i += n; i < len(s) && space.Has(s[i]) {
				i++
			}
		case s[i] == '\n':
			i++
		default:
			out = append(out, s[i])
			i++
		}
	}
	return string(out)
}

func escapeSeqDecode(s string) string { return unescape(s, seqEscape) }

// seqEscape is what an escape of ANSI C becomes, as jsEscape.
func seqEscape(s string, i int) (byte, int) {
	c := s[i]
	if b, ok := controls[c]; ok {
		return b, 1
	}
	if b, ok := hexByte(s, i+1); ok && c|0x20 == 'x' {
		return b, 3
	}
	if isOctal(c) {
		v, n := octal(s, i, 3)
		return byte(v), n
	}
	return c, 1
}
