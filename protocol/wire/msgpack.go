package wire

import (
	"encoding/binary"
	"math"
)

// number is a number of either encoding, without loss.
type number struct {
	i     int64
	u     uint64
	f     float64
	class uint8 // 'i', 'u' (beyond int64) or 'f'
}

func (n number) int64() (int64, bool) {
	switch n.class {
	case 'i':
		return n.i, true
	case 'f':
		if n.f == math.Trunc(n.f) && math.Abs(n.f) < 1<<53 {
			return int64(n.f), true
		}
	}
	return 0, false
}

func (n number) float64() float64 {
	switch n.class {
	case 'i':
		return float64(n.i)
	case 'u':
		return float64(n.u)
	}
	return n.f
}

func (d *decoder) msgPeek() kind {
	if d.pos >= len(d.in) {
		return kindInvalid
	}
	switch c := d.in[d.pos]; {
	case c < 0x80 || c >= 0xe0:
		return kindNumber
	case c < 0x90 || c == 0xde || c == 0xdf:
		return kindMap
	case c < 0xa0 || c == 0xdc || c == 0xdd:
		return kindList
	case c < 0xc0 || c >= 0xd9 && c <= 0xdb:
		return kindString
	case c == 0xc0:
		return kindNull
	case c == 0xc2 || c == 0xc3:
		return kindBool
	case c >= 0xc4 && c <= 0xc6:
		return kindBinary
	case c >= 0xc7 && c <= 0xc9 || c >= 0xd4 && c <= 0xd8:
		return kindExt
	case c >= 0xca && c <= 0xd3:
		return kindNumber
	}
	return kindInvalid
}

// take returns the next n bytes.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.in)-d.pos {
		d.fail(ErrMalformed)
		return nil
	}
	d.pos += n
	return d.in[d.pos-n : d.pos]
}

// be reads an n-byte big-endian unsigned integer.
func (d *decoder) be(n int) uint64 {
	b := d.take(n)
	if b == nil {
		return 0
	}
	switch n {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	}
	return binary.BigEndian.Uint64(b)
}

// count reads a length and checks that at least that many bytes remain: no element is smaller than one byte.
func (d *decoder) count(n, perElement int) int {
	v := d.be(n)
	if v > uint64(len(d.in)-d.pos)/uint64(perElement) {
		d.fail(ErrMalformed)
		return 0
	}
	return int(v)
}

func (d *decoder) msgMapLen() int {
	c := d.in[d.pos]
	d.pos++
	switch c {
	case 0xde:
		return d.count(2, 2)
	case 0xdf:
		return d.count(4, 2)
	}
	return int(c & 0x0f)
}

func (d *decoder) msgListLen() int {
	c := d.in[d.pos]
	d.pos++
	switch c {
	case 0xdc:
		return d.count(2, 1)
	case 0xdd:
		return d.count(4, 1)
	}
	return int(c & 0x0f)
}

func (d *decoder) msgBytes() []byte {
	c := d.in[d.pos]
	d.pos++
	switch c {
	case 0xd9, 0xc4:
		return d.take(d.count(1, 1))
	case 0xda, 0xc5:
		return d.take(d.count(2, 1))
	case 0xdb, 0xc6:
		return d.take(d.count(4, 1))
	}
	return d.take(int(c & 0x1f))
}

func (d *decoder) msgExt() {
	c := d.in[d.pos]
	d.pos++
	switch {
	case c >= 0xd4 && c <= 0xd8:
		d.take(1 + 1<<(c-0xd4))
	case c == 0xc7:
		d.take(1 + d.count(1, 1))
	case c == 0xc8:
		d.take(1 + d.count(2, 1))
	default:
		d.take(1 + d.count(4, 1))
	}
}

func (d *decoder) msgNumber() number {
	c := d.in[d.pos]
	d.pos++
	switch {
	case c < 0x80:
		return number{i: int64(c), class: 'i'}
	case c >= 0xe0:
		return number{i: int64(int8(c)), class: 'i'}
	case c == 0xca:
		return number{f: float64(math.Float32frombits(uint32(d.be(4)))), class: 'f'}
	case c == 0xcb:
		return number{f: math.Float64frombits(d.be(8)), class: 'f'}
	case c <= 0xcf: // 0xcc to 0xcf: unsigned
		v := d.be(1 << (c - 0xcc))
		if v > math.MaxInt64 {
			return number{u: v, class: 'u'}
		}
		return number{i: int64(v), class: 'i'}
	}
	n := 1 << (c - 0xd0)
	v := d.be(n)
	shift := 64 - 8*n
	return number{i: int64(v<<shift) >> shift, class: 'i'}
}
