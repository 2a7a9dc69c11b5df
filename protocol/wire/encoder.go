package wire

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/sentinel-stack/sentinel/protocol"
)

// encoder appends one message in either encoding. Message functions announce the size of each map and list, which msgpack needs, and end each,
// which JSON needs; so one function per message serves both.
type encoder struct {
	b       []byte
	msgpack bool
	comma   bool // JSON: a value was written at this level
	grease  bool // put an unknown optional key into the message
	tooLong bool // the message is beyond a limit; the peer would close the connection
}

func (e *encoder) mapStart(n int) {
	if e.msgpack {
		e.b = appendMsgMap(e.b, n)
		return
	}
	e.separate()
	e.b, e.comma = append(e.b, '{'), false
}

func (e *encoder) mapEnd() {
	if !e.msgpack {
		e.b, e.comma = append(e.b, '}'), true
	}
}

func (e *encoder) listStart(n int) {
	if e.msgpack {
		e.b = appendMsgList(e.b, n)
		return
	}
	e.separate()
	e.b, e.comma = append(e.b, '['), false
}

func (e *encoder) listEnd() {
	if !e.msgpack {
		e.b, e.comma = append(e.b, ']'), true
	}
}

// separate writes the comma between two JSON values of one level.
func (e *encoder) separate() {
	if e.comma {
		e.b = append(e.b, ',')
	}
	e.comma = true
}

// key writes a key of ours: short, plain ASCII.
func (e *encoder) key(k string) {
	if e.msgpack {
		e.b = append(appendMsgStrHead(e.b, len(k)), k...)
		return
	}
	e.separate()
	e.b = append(e.b, '"')
	e.b = append(e.b, k...)
	e.b = append(e.b, '"', ':')
	e.comma = false
}

// foreignKey writes a key that comes from elsewhere.
func (e *encoder) foreignKey(k string) {
	e.str(k)
	if !e.msgpack {
		e.b, e.comma = append(e.b, ':'), false
	}
}

// lowerKey writes a field name in lower case as a key.
func (e *encoder) lowerKey(k []byte) {
	if e.msgpack {
		e.b = appendMsgStrHead(e.b, len(k))
		e.b = appendLower(e.b, k)
		return
	}
	e.separate()
	e.b = append(e.b, '"')
	for _, c := range k {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		e.b = appendJSONByte(e.b, c)
	}
	e.b = append(e.b, '"', ':')
	e.comma = false
}

func appendLower(b, s []byte) []byte {
	for _, c := range s {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

func (e *encoder) null() {
	if e.msgpack {
		e.b = append(e.b, 0xc0)
		return
	}
	e.separate()
	e.b = append(e.b, "null"...)
}

func (e *encoder) bool(v bool) {
	switch {
	case e.msgpack && v:
		e.b = append(e.b, 0xc3)
	case e.msgpack:
		e.b = append(e.b, 0xc2)
	default:
		e.separate()
		e.b = strconv.AppendBool(e.b, v)
	}
}

func (e *encoder) int(v int64) {
	if !e.msgpack {
		e.separate()
		e.b = strconv.AppendInt(e.b, v, 10)
		return
	}
	if v >= 0 {
		e.uint(uint64(v))
		return
	}
	switch {
	case v >= -32:
		e.b = append(e.b, byte(v))
	case v >= math.MinInt32:
		e.b = binary.BigEndian.AppendUint32(append(e.b, 0xd2), uint32(v))
	default:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xd3), uint64(v))
	}
}

func (e *encoder) uint(v uint64) {
	if !e.msgpack {
		e.separate()
		e.b = strconv.AppendUint(e.b, v, 10)
		return
	}
	switch {
	case v < 0x80:
		e.b = append(e.b, byte(v))
	case v <= math.MaxUint8:
		e.b = append(e.b, 0xcc, byte(v))
	case v <= math.MaxUint16:
		e.b = binary.BigEndian.AppendUint16(append(e.b, 0xcd), uint16(v))
	case v <= math.MaxUint32:
		e.b = binary.BigEndian.AppendUint32(append(e.b, 0xce), uint32(v))
	default:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xcf), v)
	}
}

// float writes a finite number; infinities, which JSON does not have, become the strings "+Inf" and "-Inf", NaN becomes null.
func (e *encoder) float(v float64) {
	switch {
	case math.IsInf(v, 1):
		e.str("+Inf")
	case math.IsInf(v, -1):
		e.str("-Inf")
	case math.IsNaN(v):
		e.null()
	case e.msgpack:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xcb), math.Float64bits(v))
	default:
		e.separate()
		e.b = strconv.AppendFloat(e.b, v, 'g', -1, 64)
	}
}

func (e *encoder) str(s string) {
	if e.msgpack {
		if utf8.ValidString(s) {
			e.b = append(appendMsgStrHead(e.b, len(s)), s...)
		} else {
			e.b = append(appendMsgBinHead(e.b, len(s)), s...)
		}
		return
	}
	e.separate()
	e.b = appendJSONString(e.b, s)
}

// bytesStr is str for a view: text when it is UTF-8, raw otherwise.
func (e *encoder) bytesStr(s []byte) {
	if e.msgpack {
		if utf8.Valid(s) {
			e.b = append(appendMsgStrHead(e.b, len(s)), s...)
		} else {
			e.b = append(appendMsgBinHead(e.b, len(s)), s...)
		}
		return
	}
	e.separate()
	e.b = appendJSONString(e.b, s)
}

// strOrNull writes "" as null.
func (e *encoder) strOrNull(s string) {
	if s == "" {
		e.null()
		return
	}
	e.str(s)
}

// data writes binary data: raw in msgpack, padded standard base64 in JSON.
func (e *encoder) data(p []byte) {
	if e.msgpack {
		e.b = append(appendMsgBinHead(e.b, len(p)), p...)
		return
	}
	e.separate()
	e.b = append(e.b, '"')
	e.b = base64.StdEncoding.AppendEncode(e.b, p)
	e.b = append(e.b, '"')
}

// within notes a message that must not be sent.
func (e *encoder) within(n, limit int) {
	if n > limit {
		e.tooLong = true
	}
}

func (e *encoder) strList(list []string) {
	e.within(len(list), protocol.MaxAuditItems)
	e.listStart(len(list))
	for _, s := range list {
		e.str(s)
	}
	e.listEnd()
}

func (e *encoder) strMap(list []protocol.Header) {
	e.within(len(list), protocol.MaxAuditItems)
	e.mapStart(len(list))
	for i := range list {
		e.foreignKey(list[i].Name)
		e.str(list[i].Value)
	}
	e.mapEnd()
}

// greaseKey is an optional key that no peer knows; peers that choke on it would choke on every later addition to the protocol.
const greaseKey = "grease_a7"

func (e *encoder) greased() int {
	if e.grease {
		return 1
	}
	return 0
}

func (e *encoder) writeGrease() {
	if e.grease {
		e.key(greaseKey)
		e.bool(true)
	}
}

func appendMsgMap(b []byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, 0x80|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xde), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdf), uint32(n))
}

func appendMsgList(b []byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, 0x90|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xdc), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdd), uint32(n))
}

func appendMsgStrHead(b []byte, n int) []byte {
	switch {
	case n < 32:
		return append(b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		return append(b, 0xd9, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
}

func appendMsgBinHead(b []byte, n int) []byte {
	switch {
	case n <= math.MaxUint8:
		return append(b, 0xc4, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xc5), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xc6), uint32(n))
}

// appendJSONString appends s quoted. Bytes that are not UTF-8 become U+FFFD: the reader sees that something was there.
func appendJSONString[S []byte | string](b []byte, s S) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		if c < utf8.RuneSelf {
			b = appendJSONByte(b, c)
			i++
			start = i
			continue
		}
		end := min(len(s), i+utf8.UTFMax)
		r, size := utf8.DecodeRuneInString(string(s[i:end]))
		b = utf8.AppendRune(b, r)
		i += size
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendJSONByte(b []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		return append(b, '\\', c)
	case c == '\n':
		return append(b, '\\', 'n')
	case c < 0x20:
		return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	case c >= utf8.RuneSelf:
		return utf8.AppendRune(b, utf8.RuneError)
	}
	return append(b, c)
}
