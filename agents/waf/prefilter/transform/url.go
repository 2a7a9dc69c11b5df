package transform

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// hexValue is the value of a hexadecimal digit, or negative.
var hexValue = func() (v [256]int8) {
	for i := range v {
		v[i] = -1
	}
	for i := range 10 {
		v['0'+i] = int8(i)
	}
	for i := range 6 {
		v['a'+i], v['A'+i] = int8(10+i), int8(10+i)
	}
	return v
}()

// hexByte returns the byte that two hexadecimal digits at position i spell.
func hexByte(s string, i int) (byte, bool) {
	if i+1 >= len(s) {
		return 0, false
	}
	a, b := hexValue[s[i]], hexValue[s[i+1]]
	return byte(a)<<4 | byte(b), a >= 0 && b >= 0
}

// URLDecode undoes the encoding of forms; what is no escape stays.
func URLDecode(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			c = ' '
		} else if c == '%' {
			if b, ok := hexByte(s, i+1); ok {
				c = b
				i += 2
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// urlDecodeUni decodes %uHHHH of the Internet Information Server as well.
func urlDecodeUni(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		switch {
		case s[i] == '+':
			out = append(out, ' ')
			i++
		case s[i] == '%' && i+1 < len(s) && s[i+1]|0x20 == 'u':
			if b, ok := wide(s, i+2); ok {
				out = append(out, b)
				i += 6
				break
			}
			out = append(out, s[i], s[i+1])
			i += 2
		case s[i] == '%':
			if b, ok := hexByte(s, i+1); ok {
				out = append(out, b)
				i += 3
				break
			}
			out = append(out, '%')
			i++
		default:
			out = append(out, s[i])
			i++
		}
	}
	return string(out)
}

// wide returns what four hexadecimal digits at position i become.
func wide(s string, i int) (byte, bool) {
	up, ok := hexByte(s, i)
	low, ok2 := hexByte(s, i+2)
	if !ok || !ok2 {
		return 0, false
	}
	if b, ok := toASCII[rune(up)<<8|rune(low)]; ok {
		return b, true
	}
	if up == 0xff && low > 0 && low < 0x5f { // full width
		low += 0x20
	}
	return low, true
}

func utf8ToUnicode(s string) string {
	i := strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
	if i < 0 {
		return s
	}
	out := append(make([]byte, 0, 2*len(s)), s[:i]...)
	for _, r := range s[i:] {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
			continue
		}
		out = append(out, '%', 'u')
		for width := rune(0x1000); width > r; width >>= 4 {
			out = append(out, '0')
		}
		out = strconv.AppendUint(out, uint64(r), 16)
	}
	return string(out)
}
