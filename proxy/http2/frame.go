package http2

import "encoding/binary"

// Frame is one frame. Its payload is a view into the buffer it was parsed from, without padding and priority.
type Frame struct {
	Type   Type
	Flags  uint8
	Stream uint32
	Length int // of the payload as it was sent, padding included: what flow control counts

	Payload []byte // DATA, HEADERS and CONTINUATION: the piece; SETTINGS: the parameters; PING: 8 bytes; else nil

	Code      Code   // RST_STREAM, GOAWAY
	Increment uint32 // WINDOW_UPDATE
	Last      uint32 // GOAWAY
}

// Has reports whether a flag is set.
func (f *Frame) Has(flag uint8) bool { return f.Flags&flag != 0 }

// ParseFrame reads a frame from the start of buf. It returns the frame's length, or 0 and no error when more bytes are needed. A payload longer than MaxFrame is
// refused as soon as its length is known. Unknown types are returned with their payload as nil.
func ParseFrame(buf []byte, f *Frame) (n int, err *Error) {
	if len(buf) < FrameHeader {
		return 0, nil
	}
	length := int(buf[0])<<16 | int(buf[1])<<8 | int(buf[2])
	*f = Frame{Type: Type(buf[3]), Flags: buf[4], Stream: binary.BigEndian.Uint32(buf[5:]) & MaxStreamID, Length: length}
	if length > MaxFrame {
		return 0, connectionError(FrameSizeError, "frame-too-long")
	}
	if n = FrameHeader + length; len(buf) < n {
		return 0, nil
	}
	return n, f.read(buf[FrameHeader:n])
}

// shapes says for each type which payload lengths are possible and whether it belongs to a stream.
var shapes = [...]struct {
	exact    int // 0 = any
	onStream bool
	either   bool // on a stream or not
}{
	Data: {onStream: true}, Headers: {onStream: true}, Priority: {exact: 5, onStream: true}, RSTStream: {exact: 4, onStream: true}, Settings: {},
	PushPromise: {onStream: true}, Ping: {exact: 8}, GoAway: {}, WindowUpdate: {exact: 4, either: true}, Continuation: {onStream: true},
}

func (f *Frame) read(p []byte) *Error {
	if int(f.Type) >= len(shapes) {
		return nil // to be ignored (RFC 9113 §4.1)
	}
	shape := &shapes[f.Type]
	if !shape.either && shape.onStream != (f.Stream != 0) {
		return connectionError(ProtocolError, "wrong-stream")
	}
	if shape.exact != 0 && len(p) != shape.exact {
		if f.Type == Priority {
			return streamError(f.Stream, FrameSizeError, "frame-size")
		}
		return connectionError(FrameSizeError, "frame-size")
	}
	switch f.Type {
	case Data:
		return f.unpad(p)
	case Headers:
		return f.readHeaders(p)
	case Priority:
		return f.checkDependency(p)
	case RSTStream:
		f.Code = Code(binary.BigEndian.Uint32(p))
	case Settings:
		if len(p)%6 != 0 || f.Has(FlagAck) && len(p) != 0 {
			return connectionError(FrameSizeError, "frame-size")
		}
		f.Payload = p
	case PushPromise:
		return connectionError(ProtocolError, "push-promise") // only servers push, and we do not let them
	case Ping, Continuation:
		f.Payload = p
	case GoAway:
		if len(p) < 8 {
			return connectionError(FrameSizeError, "frame-size")
		}
		f.Last, f.Code = binary.BigEndian.Uint32(p)&MaxStreamID, Code(binary.BigEndian.Uint32(p[4:]))
	case WindowUpdate:
		f.Increment = binary.BigEndian.Uint32(p) & MaxWindow
	}
	return nil
}

// unpad takes the padding away (RFC 9113 §6.1).
func (f *Frame) unpad(p []byte) *Error {
	if f.Has(FlagPadded) {
		if len(p) == 0 || int(p[0]) >= len(p) {
			return connectionError(ProtocolError, "padding")
		}
		p = p[1 : len(p)-int(p[0])]
	}
	f.Payload = p
	return nil
}

func (f *Frame) readHeaders(p []byte) *Error {
	if err := f.unpad(p); err != nil {
		return err
	}
	if !f.Has(FlagPriority) {
		return nil
	}
	if len(f.Payload) < 5 {
		return connectionError(FrameSizeError, "frame-size")
	}
	err := f.checkDependency(f.Payload)
	f.Payload = f.Payload[5:]
	if err != nil { // the block must be read all the same, or the tables of the two sides differ
		return connectionError(ProtocolError, err.Reason)
	}
	return nil
}

// checkDependency looks at the one thing about priorities that is still a rule; they have no effect (RFC 9113 §5.3.2).
func (f *Frame) checkDependency(p []byte) *Error {
	if binary.BigEndian.Uint32(p)&MaxStreamID == f.Stream {
		return streamError(f.Stream, ProtocolError, "depends-on-itself")
	}
	return nil
}

// AppendHeader appends the header of a frame with a payload of length bytes, which the caller appends behind it.
func AppendHeader(dst []byte, t Type, flags uint8, stream uint32, length int) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(t), flags, byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// AppendData appends a DATA frame; data is at most MaxFrame long.
func AppendData(dst []byte, stream uint32, data []byte, end bool) []byte {
	return append(AppendHeader(dst, Data, endFlag(end), stream, len(data)), data...)
}

func endFlag(end bool) uint8 {
	if end {
		return FlagEndStream
	}
	return 0
}

// AppendHeaders appends a header block as one HEADERS frame and as many CONTINUATION frames as it needs.
func AppendHeaders(dst []byte, stream uint32, block []byte, end bool) []byte {
	for t, flags := Headers, endFlag(end); ; t, flags = Continuation, 0 {
		n := min(len(block), MaxFrame)
		if n == len(block) {
			flags |= FlagEndHeaders
		}
		dst = append(AppendHeader(dst, t, flags, stream, n), block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return dst
		}
	}
}

// AppendRST appends a RST_STREAM frame.
func AppendRST(dst []byte, stream uint32, code Code) []byte {
	return binary.BigEndian.AppendUint32(AppendHeader(dst, RSTStream, 0, stream, 4), uint32(code))
}

// AppendGoAway appends a GOAWAY frame: streams after last were not looked at.
func AppendGoAway(dst []byte, last uint32, code Code) []byte {
	dst = binary.BigEndian.AppendUint32(AppendHeader(dst, GoAway, 0, 0, 8), last)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

// AppendWindowUpdate appends a WINDOW_UPDATE frame; stream 0 is the connection.
func AppendWindowUpdate(dst []byte, stream, increment uint32) []byte {
	return binary.BigEndian.AppendUint32(AppendHeader(dst, WindowUpdate, 0, stream, 4), increment)
}

// AppendPingAck appends the answer to a PING.
func AppendPingAck(dst, payload []byte) []byte {
	return append(AppendHeader(dst, Ping, FlagAck, 0, 8), payload...)
}
