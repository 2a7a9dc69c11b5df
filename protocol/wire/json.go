package wire

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

func (d *decoder) jsonSpace() {
	for d.pos < len(d.in) {
		switch d.in[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

func (d *decoder) jsonPeek() kind {
	d.jsonSpace()
	if d.pos >= len(d.in) {
		return kindInvalid
	}
	switch c := d.in[d.pos]; {
	case c == '{':
		return kindMap
	case c == '[':
		return kindList
	case c == '"':
		return kindString
	case c == '-' || c >= '0' && c <= '9':
		return kindNumber
	case c == 't' || c == 'f':
		return kindBool
	case c == 'n':
		return kindNull
	}
	return kindInvalid
}

// jsonByte consumes c after white space.
func (d *decoder) jsonByte(c byte) bool {
	d.jsonSpace()
	if d.err != nil || d.pos >= len(d.in) || d.in[d.pos] != c {
		return false
	}
	d.pos++
	return true
}

func (d *decoder) jsonNextKey(e *entries) ([]byte, bool) {
	if d.jsonByte('}') {
		d.depth--
		e.left = -1
		return nil, false
	}
	if !e.first && !d.jsonByte(',') {
		d.fail(ErrMalformed)
		return nil, false
	}
	e.first = false
	if d.jsonPeek() != kindString {
		d.fail(ErrMalformed)
		return nil, false
	}
	key, at := d.jsonString()
	d.keyAt = at
	if !d.jsonByte(':') {
		d.fail(ErrMalformed)
		return nil, false
	}
	return key, d.err == nil
}

func (d *decoder) jsonMore(e *entries) bool {
	if d.jsonByte(']') {
		d.depth--
		e.left = -1
		return false
	}
	if !e.first && !d.jsonByte(',') {
		d.fail(ErrMalformed)
		return false
	}
	e.first = false
	return true
}

func (d *decoder) jsonLiteral() {
	for _, lit := range [...]string{"null", "true", "false"} {
		if len(d.in)-d.pos >= len(lit) && string(d.in[d.pos:d.pos+len(lit)]) == lit {
			d.pos += len(lit)
			return
		}
	}
	d.fail(ErrMalformed)
}

// jsonNumber reads a number by the grammar of RFC 8259 section 6.
func (d *decoder) jsonNumber() number {
	start, whole := d.pos, true
	if d.in[d.pos] == '-' {
		d.pos++
	}
	first := d.pos
	if d.digits(); d.pos == first || d.in[first] == '0' && d.pos > first+1 {
		d.fail(ErrMalformed)
		return number{}
	}
	if d.pos < len(d.in) && d.in[d.pos] == '.' {
		whole = false
		d.pos++
		if from := d.pos; d.digits() == from {
			d.fail(ErrMalformed)
			return number{}
		}
	}
	if d.pos < len(d.in) && d.in[d.pos]|0x20 == 'e' {
		whole = false
		d.pos++
		if d.pos < len(d.in) && (d.in[d.pos] == '+' || d.in[d.pos] == '-') {
			d.pos++
		}
		if from := d.pos; d.digits() == from {
			d.fail(ErrMalformed)
			return number{}
		}
	}
	return parseNumber(d.in[start:d.pos], whole)
}

func (d *decoder) digits() int {
	for d.pos < len(d.in) && d.in[d.pos] >= '0' && d.in[d.pos] <= '9' {
		d.pos++
	}
	return d.pos
}

func parseNumber(b []byte, whole bool) number {
	if whole && len(b) < 19 && string(b) != "-0" { // cannot overflow; minus zero is a float only
		neg, v := b[0] == '-', int64(0)
		for _, c := range b {
			if c != '-' {
				v = v*10 + int64(c-'0')
			}
		}
		if neg {
			v = -v
		}
		return number{i: v, class: 'i'}
	}
	if whole && string(b) != "-0" {
		if v, err := strconv.ParseInt(string(b), 10, 64); err == nil {
			return number{i: v, class: 'i'}
		}
		if v, err := strconv.ParseUint(string(b), 10, 64); err == nil {
			return number{u: v, class: 'u'}
		}
	}
	v, _ := strconv.ParseFloat(string(b), 64) // the grammar was checked; out of range gives ±Inf
	return number{f: v, class: 'f'}
}

// jsonString reads a string; at is the offset of v in the input, -1 when escapes were resolved into scratch.
func (d *decoder) jsonString() (v []byte, at int) {
	d.pos++
	start := d.pos
	for i := start; i < len(d.in); i++ {
		switch c := d.in[i]; {
		case c == '"':
			d.pos = i + 1
			if !utf8.Valid(d.in[start:i]) {
				d.fail(ErrMalformed)
				return nil, -1
			}
			return d.in[start:i], start
		case c == '\\':
			return d.jsonEscaped(start, i), -1
		case c < 0x20:
			d.fail(ErrMalformed)
			return nil, -1
		}
	}
	d.fail(ErrMalformed)
	return nil, -1
}

// jsonEscaped finishes a string whose first escape is at i.
func (d *decoder) jsonEscaped(start, i int) []byte {
	out := append(d.scratch[:0], d.in[start:i]...)
	for i < len(d.in) {
		c := d.in[i]
		switch {
		case c == '"':
			d.pos, d.scratch = i+1, out
			if !utf8.Valid(out) {
				d.fail(ErrMalformed)
				return nil
			}
			return out
		case c < 0x20:
			d.fail(ErrMalformed)
			return nil
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		n := 0
		if out, n = appendUnescaped(out, d.in[i:]); n == 0 {
			break
		}
		i += n
	}
	d.fail(ErrMalformed)
	return nil
}

// appendUnescaped resolves the escape at the start of s and returns how long it is, 0 when it is none. A lone surrogate becomes U+FFFD.
func appendUnescaped(out, s []byte) ([]byte, int) {
	if len(s) < 2 {
		return out, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return append(out, s[1]), 2
	case 'b':
		return append(out, '\b'), 2
	case 'f':
		return append(out, '\f'), 2
	case 'n':
		return append(out, '\n'), 2
	case 'r':
		return append(out, '\r'), 2
	case 't':
		return append(out, '\t'), 2
	case 'u':
		r, ok := hex4(s[2:])
		if !ok {
			return out, 0
		}
		if !utf16.IsSurrogate(r) {
			return utf8.AppendRune(out, r), 6
		}
		if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
			if low, ok := hex4(s[8:]); ok {
				if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
					return utf8.AppendRune(out, full), 12
				}
			}
		}
		return utf8.AppendRune(out, utf8.RuneError), 6
	}
	return out, 0
}

func hex4(s []byte) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range s[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// infinity reads the strings that stand for the numbers JSON does not have.
func (d *decoder) infinity() float64 {
	switch v := d.view(); string(v) {
	case "+Inf", "Inf", "inf", "+inf":
		return math.Inf(1)
	case "-Inf", "-inf":
		return math.Inf(-1)
	}
	d.fail(ErrMalformed)
	return 0
}
