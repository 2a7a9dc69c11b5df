package observe

import (
	"strconv"
	"unicode/utf8"
)

// maxField bounds the bytes of one field taken into a log line; what is longer ends in "...".
const maxField = 4096

const hexDigits = "0123456789abcdef"

// appendQuoted appends b as a JSON string (RFC 8259 §7). Control characters of all kinds (C0, DEL, C1), quotes, backslashes
// and the line separators U+2028 and U+2029 are escaped, invalid UTF-8 becomes U+FFFD, so that no bytes from a client can end the string, the line or a terminal's
// patience.
func appendQuoted[S []byte | string](dst []byte, b S) []byte {
	dst = append(dst, '"')
	cut := len(b) > maxField
	if cut {
		b = b[:maxField]
	}
	for {
		n := plainPrefix(b)
		dst = append(dst, b[:n]...)
		if n == len(b) {
			break
		}
		b = b[n:]
		var size int
		dst, size = appendEscape(dst, b)
		b = b[size:]
	}
	if cut {
		dst = append(dst, "..."...)
	}
	return append(dst, '"')
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plainPrefix counts the leading bytes that need no escape: printable ASCII but quote and backslash. It looks at eight bytes at a time.
func plainPrefix[S []byte | string](b S) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := word(b, i)
		bad := w | (w - 0x20*ones) // high bit: not ASCII, or below 0x20
		bad |= (w ^ '"'*ones) - ones
		bad |= (w ^ '\\'*ones) - ones
		bad |= (w ^ 0x7f*ones) - ones
		if bad&highs != 0 {
			break // a borrow can raise a false alarm; the loop below decides byte by byte
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return i
		}
	}
	return i
}

func word[S []byte | string](b S, i int) uint64 {
	_ = b[i+7]
	return uint64(b[i]) | uint64(b[i+1])<<8 | uint64(b[i+2])<<16 | uint64(b[i+3])<<24 |
		uint64(b[i+4])<<32 | uint64(b[i+5])<<40 | uint64(b[i+6])<<48 | uint64(b[i+7])<<56
}

// appendEscape writes the first character of b, which is not plain, and returns its size in b.
func appendEscape[S []byte | string](dst []byte, b S) ([]byte, int) {
	switch c := b[0]; {
	case c == '"' || c == '\\':
		return append(dst, '\\', c), 1
	case c == '\n':
		return append(dst, '\\', 'n'), 1
	case c == '\r':
		return append(dst, '\\', 'r'), 1
	case c == '\t':
		return append(dst, '\\', 't'), 1
	case c < utf8.RuneSelf:
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15]), 1
	}
	var tmp [utf8.UTFMax]byte
	n := copy(tmp[:], b[:min(len(b), utf8.UTFMax)])
	r, size := utf8.DecodeRune(tmp[:n])
	switch {
	case r == utf8.RuneError && size <= 1:
		return append(dst, `\ufffd`...), 1
	case r < 0xa0: // C1 controls
		return append(dst, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15]), size
	case r == '\u2028' || r == '\u2029':
		return append(dst, '\\', 'u', '2', '0', '2', hexDigits[r&15]), size
	}
	return append(dst, tmp[:size]...), size
}

// appendHexEscaped appends b for the combined format, the way Apache and nginx do: quote, backslash and everything that is not
// printable ASCII as \xNN. An empty field is a dash.
func appendHexEscaped[S []byte | string](dst []byte, b S) []byte {
	if len(b) == 0 {
		return append(dst, '-')
	}
	return appendHexEscapedRaw(dst, b)
}

func appendHexEscapedRaw[S []byte | string](dst []byte, b S) []byte {
	cut := len(b) > maxField
	if cut {
		b = b[:maxField]
	}
	for {
		n := plainPrefix(b)
		dst = append(dst, b[:n]...)
		if n == len(b) {
			break
		}
		c := b[n]
		dst = append(dst, '\\', 'x', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		b = b[n+1:]
	}
	if cut {
		dst = append(dst, "..."...)
	}
	return dst
}

// appendMillis appends a duration in milliseconds with three decimals.
func appendMillis(dst []byte, ns int64) []byte {
	us := max(0, ns) / 1000
	dst = strconv.AppendInt(dst, us/1000, 10)
	f := us % 1000
	return append(dst, '.', byte('0'+f/100), byte('0'+f/10%10), byte('0'+f%10))
}
