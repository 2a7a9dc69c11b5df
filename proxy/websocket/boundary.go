package websocket

import "encoding/binary"

// Boundary follows the frames of one side without looking at what is in them: it knows where one ends, so that a frame of ours can be put between two. What it cannot
// follow, because it is no WebSocket, it takes for one frame without an end. The zero value stands before the first frame.
type Boundary struct {
	head    [14]byte
	held    uint8 // bytes of head
	closing bool  // the frame is a close
	closed  bool  // a close frame has passed
	lost    bool
	left    uint64 // bytes of the frame's payload that are to come
}

// Between reports whether it stands between two frames.
func (b *Boundary) Between() bool { return b.held == 0 && b.left == 0 && !b.lost }

// Closed reports whether a close frame has passed.
func (b *Boundary) Closed() bool { return b.closed }

// Pass follows p.
func (b *Boundary) Pass(p []byte) {
	for len(p) > 0 {
		p = p[b.step(p):]
	}
}

// PassFrame follows p up to the end of the frame that it stands in, and returns how many bytes that are: 0 between two frames, all of p when the frame ends behind it.
func (b *Boundary) PassFrame(p []byte) (n int) {
	for n < len(p) && !b.Between() {
		n += b.step(p[n:])
	}
	return n
}

// step takes bytes of one header, or of one payload.
func (b *Boundary) step(p []byte) (n int) {
	switch {
	case b.lost:
		return len(p)
	case b.left > 0:
		n = int(min(b.left, uint64(len(p))))
		b.left -= uint64(n)
		b.end()
		return n
	}
	for n < len(p) && !b.complete() {
		b.head[b.held] = p[n]
		b.held++
		n++
	}
	if b.complete() {
		b.begin()
	}
	return n
}

// complete reports whether all of a header is there.
func (b *Boundary) complete() bool { return b.held >= 2 && int(b.held) == b.headLen() }

func (b *Boundary) headLen() int {
	n := 2
	switch b.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if b.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

// begin starts a payload.
func (b *Boundary) begin() {
	b.held = 0
	switch n := b.head[1] & 0x7f; n {
	case 126:
		b.left = uint64(binary.BigEndian.Uint16(b.head[2:]))
	case 127:
		b.left = binary.BigEndian.Uint64(b.head[2:])
	default:
		b.left = uint64(n)
	}
	o := Opcode(b.head[0] & 0x0f)
	if !o.known() || b.left>>63 != 0 {
		b.lost = true
		return
	}
	b.closing = o == Close
	b.end()
}

// end notes the end of a frame when it is here.
func (b *Boundary) end() {
	if b.left == 0 && b.closing {
		b.closing, b.closed = false, true
	}
}
