package websocket

import "encoding/binary"

// Side says who sent the bytes. Clients mask every frame and servers none (RFC 6455 §5.1).
type Side uint8

// The two sides.
const (
	FromClient Side = iota
	FromUpstream
)

// Opcode is the kind of a frame.
type Opcode uint8

// Opcodes of RFC 6455 §5.2; all others are refused.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// IsControl reports whether frames of this kind may stand between the fragments of a message.
func (o Opcode) IsControl() bool { return o&0x8 != 0 }

func (o Opcode) known() bool { return o <= Binary || o >= Close && o <= Pong }

// MaxControl is the length in bytes that the payload of a control frame may have (RFC 6455 §5.5).
const MaxControl = 125

// header is what stands before the payload of a frame.
type header struct {
	fin    bool
	opcode Opcode
	masked bool
	key    [4]byte
	length int64
}

// parseHeader reads a header from the beginning of p; n is 0 when it needs more bytes. What is wrong is told as soon as the bytes show it.
func parseHeader(p []byte, from Side) (h header, n int, err *Error) {
	if len(p) == 0 {
		return h, 0, nil
	}
	h.fin, h.opcode = p[0]&0x80 != 0, Opcode(p[0]&0x0f)
	switch {
	case p[0]&0x70 != 0:
		return h, 0, errReservedBits
	case !h.opcode.known():
		return h, 0, errOpcode
	case h.opcode.IsControl() && !h.fin:
		return h, 0, errControlFragment
	case len(p) == 1:
		return h, 0, nil
	}
	h.masked, h.length = p[1]&0x80 != 0, int64(p[1]&0x7f)
	switch {
	case h.masked != (from == FromClient):
		return h, 0, errMask
	case h.opcode.IsControl() && h.length > MaxControl:
		return h, 0, errControlLength
	}
	n = 2
	switch h.length {
	case 126:
		if n = 4; len(p) < n {
			return h, 0, nil
		}
		if h.length = int64(binary.BigEndian.Uint16(p[2:])); h.length < 126 {
			return h, 0, errLength
		}
	case 127:
		if n = 10; len(p) < n {
			return h, 0, nil
		}
		if h.length = int64(binary.BigEndian.Uint64(p[2:])); h.length < 1<<16 { // also those with the highest bit set
			return h, 0, errLength
		}
	}
	if h.masked {
		if len(p) < n+4 {
			return h, 0, nil
		}
		n += copy(h.key[:], p[n:])
	}
	return h, n, nil
}

// AppendFrame appends a frame with the payload. The frames of a client need a key that its peer cannot foresee (RFC 6455 §5.3); those of a server have none.
func AppendFrame(dst []byte, fin bool, o Opcode, key *[4]byte, payload []byte) []byte {
	first, mask := byte(o), byte(0)
	if fin {
		first |= 0x80
	}
	if key != nil {
		mask = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, first, mask|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, first, mask|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, mask|127), uint64(n))
	}
	if key == nil {
		return append(dst, payload...)
	}
	dst = append(dst, key[:]...)
	at := len(dst)
	dst = append(dst, payload...)
	applyMask(*key, 0, dst[at:])
	return dst
}

// applyMask masks or unmasks p, which begins at the offset within its frame's payload.
func applyMask(key [4]byte, offset int64, p []byte) {
	o := int(offset & 3)
	turned := [4]byte{key[o], key[(o+1)&3], key[(o+2)&3], key[(o+3)&3]}
	k := uint64(binary.LittleEndian.Uint32(turned[:]))
	k |= k << 32
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^k)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= turned[i&3]
	}
}
