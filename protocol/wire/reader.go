package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/sentinel-stack/sentinel/protocol"
)

// ErrFrame is wrapped by the errors of a Reader that mean the peer broke the framing.
var ErrFrame = errors.New("broken frame")

const (
	readBuffer = 8 << 10   // enough for many frames without bodies
	keepBuffer = 256 << 10 // a buffer that grew beyond this is given back once it is empty
)

// Reader cuts a stream into frames. Its buffer grows with the bytes that have arrived, never with a length that is only claimed.
type Reader struct {
	Limit      int // greatest length of a frame; set by NewReader to protocol.MaxFrame, lowered during a handshake
	src        io.Reader
	buf        []byte
	start, end int // what is buffered
}

// NewReader returns a Reader on src.
func NewReader(src io.Reader) *Reader {
	return &Reader{Limit: protocol.MaxFrame, src: src, buf: make([]byte, readBuffer)}
}

// Next returns the next frame. The payload is a view that is good until the next call. io.EOF means the peer ended the stream between two frames.
func (r *Reader) Next() (t protocol.FrameType, payload []byte, err error) {
	if err := r.fill(lengthLen); err != nil { // a wrong length is refused before anything else has come
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(r.buf[r.start:])
	if n == 0 || int64(n) > int64(r.Limit) {
		return 0, nil, fmt.Errorf("cannot read frame of %d bytes: %w", n, ErrFrame)
	}
	if err := r.fill(lengthLen + int(n)); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	frame := r.buf[r.start : r.start+lengthLen+int(n)]
	r.start += len(frame)
	return protocol.FrameType(frame[lengthLen]), frame[HeaderLen:], nil
}

// Pending reports whether a whole frame is buffered, so that Next would not wait.
func (r *Reader) Pending() bool {
	have := r.end - r.start
	return have >= HeaderLen && uint64(have) >= lengthLen+uint64(binary.BigEndian.Uint32(r.buf[r.start:]))
}

// Buffered reports whether anything has arrived that Next has not returned.
func (r *Reader) Buffered() bool { return r.end > r.start }

// fill makes sure that n bytes are buffered.
func (r *Reader) fill(n int) error {
	if r.start == r.end {
		r.start, r.end = 0, 0
		if len(r.buf) > keepBuffer && n <= readBuffer {
			r.buf = make([]byte, readBuffer)
		}
	}
	for r.end-r.start < n {
		r.room()
		m, err := r.src.Read(r.buf[r.end:])
		r.end += m
		if m > 0 {
			continue
		}
		if err == io.EOF && r.end > r.start {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		return io.ErrNoProgress
	}
	return nil
}

// room makes sure that the buffer has free space at its end: by moving what is there to the front, else by doubling.
func (r *Reader) room() {
	if r.end < len(r.buf) {
		return
	}
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
		return
	}
	grown := make([]byte, 2*len(r.buf))
	r.end = copy(grown, r.buf[:r.end])
	r.buf = grown
}
