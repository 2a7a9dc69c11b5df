package http1

import (
	"encoding/binary"
	"math/bits"
)

// Classes of bytes, combined in one table so that each byte costs one lookup.
const (
	classToken      = 1 << iota // tchar (RFC 9110 §5.6.2)
	classUnderscore             // "_", looked for in field names
	classQuery                  // allowed in the query of a target
	classPath                   // allowed in the path of a target ("?" is not: it ends the path)
	classHost                   // allowed in a registered name
	classDigit
	classLower
)

var classes = buildClasses()

func buildClasses() (t [256]uint8) {
	set := func(class uint8, chars string) {
		for i := 0; i < len(chars); i++ {
			t[chars[i]] |= class
		}
	}
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	set(classToken, alnum+"!#$%&'*+-.^_`|~")
	set(classUnderscore, "_")
	set(classHost, alnum+"-._")
	set(classDigit, "0123456789")
	set(classLower, "abcdefghijklmnopqrstuvwxyz")
	for c := 0x21; c < 0x7f; c++ {
		switch c {
		case '"', '#', '<', '>':
		case '\\', '?':
			t[c] |= classQuery
		default:
			t[c] |= classQuery | classPath
		}
	}
	return t
}

// hexValues maps a byte to its value as a hexadecimal digit, 0xff when it is none.
var hexValues = buildHexValues()

func buildHexValues() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= '0' && c <= '9':
			t[c] = uint8(c - '0')
		case c >= 'a' && c <= 'f':
			t[c] = uint8(c - 'a' + 10)
		case c >= 'A' && c <= 'F':
			t[c] = uint8(c - 'A' + 10)
		default:
			t[c] = 0xff
		}
	}
	return t
}

const (
	eachOne  = 0x0101010101010101
	eachHigh = 0x8080808080808080
	eachCase = 0x2020202020202020
)

// scanValue returns the index of the first byte at or after i that may not stand in a field value: a control byte other
// than HTAB, or DEL; len(b) when there is none. Eight bytes at a time: a byte below 0x20 or equal to 0x7f raises its high
// bit, and the lowest raised bit is exact because borrows only spread upwards from a true hit.
func scanValue(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		del := x ^ (0x7f * eachOne)
		hit := ((x - 0x20*eachOne) &^ x & eachHigh) | ((del - eachOne) &^ del & eachHigh)
		if hit == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(hit) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && (b[i] >= 0x20 && b[i] != 0x7f || b[i] == '\t') {
		i++
	}
	return i
}

// valueFault names what is wrong with a byte at which scanValue stopped. A CR is judged with the byte after it.
func valueFault(c byte) fault {
	switch c {
	case '\n':
		return bareLF
	case '\r':
		return bareCR
	}
	return controlByte
}

// trim removes optional whitespace (SP and HTAB) from both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

func lower(c byte) byte {
	if c-'A' < 26 {
		return c + 0x20
	}
	return c
}

// EqualFold reports whether a and b are equal when ASCII letters are compared without case.
func EqualFold(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// EqualFoldBytes is EqualFold for two byte slices.
func EqualFoldBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// ValidToken reports whether b is a token: a possible method, field name or connection option.
func ValidToken(b []byte) bool {
	for _, c := range b {
		if classes[c]&classToken == 0 {
			return false
		}
	}
	return len(b) > 0
}

// ValidFieldValue reports whether b can be sent as a field value: no control byte except HTAB.
func ValidFieldValue(b []byte) bool { return scanValue(b, 0) == len(b) }
