package wire

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/sentinel-stack/sentinel/protocol"
)

// ErrMalformed is the one error for bytes that are not a message; details would help nobody but an attacker.
var ErrMalformed = errors.New("malformed message")

// ErrLimit is wrapped when a message is well-formed but beyond a bound of the protocol.
var ErrLimit = errors.New("message beyond a limit of the protocol")

// kind is the type of the next value in the input.
type kind uint8

const (
	kindInvalid kind = iota
	kindNull
	kindBool
	kindNumber
	kindString
	kindBinary // msgpack only
	kindMap
	kindList
	kindExt // msgpack only
)

// decoder reads one message in either encoding. After the first error every method returns zero values and loops end, so message functions
// read straight through and check err once. It never allocates in proportion to a length that the input merely claims.
type decoder struct {
	in      []byte
	pos     int
	msgpack bool
	depth   int
	err     error
	text    string // all of in, made on the first need, so that strings of a message share one allocation
	id      string // the correlation id the message is known to carry, "" when not known
	scratch []byte // JSON: a string whose escapes had to be resolved
	keyAt   int    // offset in the input of the key next returned, -1 when it is in scratch
}

// entries walks a map or a list.
type entries struct {
	left  int // msgpack: what is still to come
	first bool
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.pos = len(d.in)
}

func (d *decoder) peek() kind {
	if d.err != nil {
		return kindInvalid
	}
	if d.msgpack {
		return d.msgPeek()
	}
	return d.jsonPeek()
}

func (d *decoder) enter() bool {
	if d.depth++; d.depth > protocol.MaxDepth {
		d.fail(ErrLimit)
		return false
	}
	return true
}

// mapStart begins a map; null is an empty one.
func (d *decoder) mapStart() entries {
	switch d.peek() {
	case kindNull:
		d.skip()
		return entries{left: -1}
	case kindMap:
		if !d.enter() {
			return entries{}
		}
		if d.msgpack {
			return entries{left: d.msgMapLen()}
		}
		d.pos++
		return entries{first: true}
	}
	d.fail(ErrMalformed)
	return entries{}
}

// next returns the next key of a map as a view that is good until the next call on d, and false at the end.
func (d *decoder) next(e *entries) ([]byte, bool) {
	if d.err != nil || e.left < 0 {
		return nil, false
	}
	if d.msgpack {
		if e.left == 0 {
			d.depth--
			e.left = -1
			return nil, false
		}
		e.left--
		k, at, _ := d.span()
		d.keyAt = at
		return k, d.err == nil
	}
	return d.jsonNextKey(e)
}

// listStart begins a list; null is an empty one.
func (d *decoder) listStart() entries {
	switch d.peek() {
	case kindNull:
		d.skip()
		return entries{left: -1}
	case kindList:
		if !d.enter() {
			return entries{}
		}
		if d.msgpack {
			return entries{left: d.msgListLen()}
		}
		d.pos++
		return entries{first: true}
	}
	d.fail(ErrMalformed)
	return entries{}
}

// more reports whether the list has another element, which the caller then reads.
func (d *decoder) more(e *entries) bool {
	if d.err != nil || e.left < 0 {
		return false
	}
	if d.msgpack {
		if e.left == 0 {
			d.depth--
			e.left = -1
			return false
		}
		e.left--
		return true
	}
	return d.jsonMore(e)
}

// view reads a string (or raw bytes, or null as empty) as a view that is good until the next call on d.
func (d *decoder) view() []byte {
	v, _, _ := d.span()
	return v
}

// span reads a string or binary value; at is its offset in the input, or -1 when it had to be rebuilt in scratch.
func (d *decoder) span() (v []byte, at int, null bool) {
	switch d.peek() {
	case kindNull:
		d.skip()
		return nil, -1, true
	case kindString, kindBinary:
		if d.msgpack {
			v = d.msgBytes()
			return v, d.pos - len(v), false
		}
		v, at = d.jsonString()
		return v, at, false
	}
	d.fail(ErrMalformed)
	return nil, -1, true
}

// str reads a string; null is "". The result shares the memory of the whole message.
func (d *decoder) str() string {
	v, at, _ := d.span()
	if d.err != nil {
		return ""
	}
	return d.keep(v, at)
}

// keep returns v, which stands at offset at of the input or in scratch, as a string.
func (d *decoder) keep(v []byte, at int) string {
	if len(v) == 0 {
		return ""
	}
	if at < 0 {
		return string(v)
	}
	if d.text == "" {
		d.text = string(d.in)
	}
	return d.text[at : at+len(v)]
}

// data reads binary data into memory of its own: raw in msgpack, base64 in JSON. null is nil, an empty value is not.
func (d *decoder) data() []byte {
	isText := d.peek() == kindString
	v, _, null := d.span()
	if null || d.err != nil {
		return nil
	}
	if !d.msgpack && isText {
		out := make([]byte, base64.StdEncoding.DecodedLen(len(v)))
		n, err := base64.StdEncoding.Decode(out, v)
		if err != nil {
			d.fail(ErrMalformed)
			return nil
		}
		return out[:n]
	}
	return append(make([]byte, 0, len(v)), v...)
}

// chunk is data of which there may be as much as one event carries; nil when it is null.
func (d *decoder) chunk() []byte {
	v := d.data()
	if len(v) > protocol.MaxChunk {
		d.fail(ErrLimit)
	}
	return v
}

func (d *decoder) bool() bool {
	switch d.peek() {
	case kindNull:
		d.skip()
		return false
	case kindBool:
		if d.msgpack {
			d.pos++
			return d.in[d.pos-1] == 0xc3
		}
		v := d.in[d.pos] == 't'
		d.jsonLiteral()
		return v
	}
	d.fail(ErrMalformed)
	return false
}

// int reads a whole number within [lo, hi]; null is lo when lo is not negative, else 0.
func (d *decoder) int(lo, hi int64) int64 {
	switch d.peek() {
	case kindNull:
		d.skip()
		return max(lo, 0)
	case kindNumber:
		var n number
		if d.msgpack {
			n = d.msgNumber()
		} else {
			n = d.jsonNumber()
		}
		v, ok := n.int64()
		if d.err == nil && (!ok || v < lo || v > hi) {
			d.fail(ErrMalformed)
		}
		if d.err == nil {
			return v
		}
		return 0
	}
	d.fail(ErrMalformed)
	return 0
}

// float reads a number, or the strings "+Inf", "-Inf"; null is 0.
func (d *decoder) float() float64 {
	switch d.peek() {
	case kindNull:
		d.skip()
		return 0
	case kindString:
		return d.infinity()
	case kindNumber:
		if d.msgpack {
			return d.msgNumber().float64()
		}
		return d.jsonNumber().float64()
	}
	d.fail(ErrMalformed)
	return 0
}

// skip reads one value of any kind and forgets it.
func (d *decoder) skip() {
	switch d.peek() {
	case kindNull:
		if d.msgpack {
			d.pos++
		} else {
			d.jsonLiteral()
		}
	case kindBool:
		d.bool()
	case kindNumber:
		if d.msgpack {
			d.msgNumber()
		} else {
			d.jsonNumber()
		}
	case kindString, kindBinary:
		d.view()
	case kindExt:
		d.msgExt()
	case kindList:
		for l := d.listStart(); d.more(&l); {
			d.skip()
		}
	case kindMap:
		m := d.mapStart()
		for {
			if d.msgpack && d.err == nil && m.left > 0 { // foreign maps may have keys that are not strings
				m.left--
				d.skip()
				d.skip()
				continue
			}
			if _, ok := d.next(&m); !ok {
				return
			}
			d.skip()
		}
	default:
		d.fail(ErrMalformed)
	}
}

// end checks that the message is complete and nothing follows it.
func (d *decoder) end() error {
	if d.err == nil && !d.msgpack {
		d.jsonSpace()
	}
	if d.err == nil && d.pos != len(d.in) {
		d.err = ErrMalformed
	}
	return d.err
}

func (d *decoder) strList(limit int) []string {
	var out []string
	for l := d.listStart(); d.more(&l); {
		if len(out) == limit {
			d.fail(ErrLimit)
			break
		}
		out = append(out, d.str())
	}
	return out
}

// strMap reads a map of names to scalars.
func (d *decoder) strMap(limit int) []protocol.Header {
	var out []protocol.Header
	m := d.mapStart()
	for {
		k, ok := d.next(&m)
		if !ok {
			return out
		}
		if len(out) == limit {
			d.fail(ErrLimit)
			return nil
		}
		name := d.keep(k, d.keyAt)
		out = append(out, protocol.Header{Name: name, Value: d.scalar()})
	}
}

// isText reports whether the next value is a string; raw bytes count, because some libraries write text so.
func (d *decoder) isText() bool {
	k := d.peek()
	return k == kindString || k == kindBinary
}

// scalar reads a string; a value of any other kind becomes its JSON text, so that nothing a foreign agent says is lost.
func (d *decoder) scalar() string {
	if d.isText() || d.peek() == kindNull {
		return d.str()
	}
	e := encoder{}
	transcode(d, &e)
	return string(e.b)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot decode %s: %w", what, err)
}
