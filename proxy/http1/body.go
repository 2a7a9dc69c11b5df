package http1

import "bytes"

// Body decodes the body of one message. Init it, then call Next with the bytes that follow the head until it reports
// done. Use one value for many bodies.
type Body struct {
	// Trailers holds the fields after a chunked body once it is done: views into memory of the Body, valid until Init.
	Trailers []Field

	framing   Framing
	state     chunkState
	side      Side
	digits    uint8
	done      bool
	failed    *Refusal
	remaining int64 // of the body (length) or of the chunk (chunked)
	extension int   // bytes of extension in this chunk
	overhead  int64 // bytes of extensions that the data so far does not pay for
	limits    *Limits
	trailer   []byte // the trailer section, copied because it may come in pieces
	lineStart int    // in trailer
	section   head
}

// Init prepares for a body with the framing and length that the head's parser found.
func (b *Body) Init(f Framing, length int64, side Side, l *Limits) {
	trailer, section := b.trailer[:0], b.section
	*b = Body{framing: f, side: side, limits: l, trailer: trailer, section: section}
	switch f {
	case FramingNone:
		b.done = true
	case FramingLength:
		b.remaining = length
		b.done = length <= 0
	}
}

// Done reports whether the body has ended.
func (b *Body) Done() bool { return b.done }

// Remaining returns how many bytes are still to come of a body with a length, -1 for other framings.
func (b *Body) Remaining() int64 {
	if b.framing == FramingLength {
		return b.remaining
	}
	return -1
}

// Next decodes from src. consumed is how many bytes of src it used up, data the piece of the body among them (a view into
// src), done whether the body has ended; bytes after consumed belong to the next message. No data with done false and
// everything consumed means that more bytes are needed. Call it again after each piece: one call returns at most one.
func (b *Body) Next(src []byte) (consumed int, data []byte, done bool, refusal *Refusal) {
	switch {
	case b.failed != nil:
		return 0, nil, false, b.failed
	case b.done:
		return 0, nil, true, nil
	case b.framing == FramingLength:
		n := len(src)
		if int64(n) > b.remaining {
			n = int(b.remaining)
		}
		b.remaining -= int64(n)
		b.done = b.remaining == 0
		return n, src[:n:n], b.done, nil
	case b.framing == FramingUntilClose:
		return len(src), src, false, nil
	}
	consumed, data, f := b.nextChunk(src)
	if f != ok {
		b.failed = b.side.refusal(f)
		return consumed, nil, false, b.failed
	}
	return consumed, data, b.done, nil
}

// Close says that the peer has closed its side. It returns nil when the body may end here and a refusal when it is
// truncated.
func (b *Body) Close() *Refusal {
	switch {
	case b.failed != nil:
		return b.failed
	case b.framing == FramingUntilClose:
		b.done = true
	case !b.done:
		b.failed = b.side.refusal(bodyTruncated)
		return b.failed
	}
	return nil
}

// readTrailers collects the trailer section line by line and parses it when its empty line is there.
func (b *Body) readTrailers(src []byte) (int, fault) {
	used := 0
	for used < len(src) {
		end := bytes.IndexByte(src[used:], '\n')
		piece := src[used:]
		if end >= 0 {
			piece = src[used : used+end+1]
		}
		if len(b.trailer)+len(piece) > b.limits.trailerBytes() {
			return used, trailerTooLarge
		}
		b.trailer = append(b.trailer, piece...)
		used += len(piece)
		if end < 0 {
			break
		}
		line := b.trailer[b.lineStart:]
		b.lineStart = len(b.trailer)
		if len(line) <= 2 { // CRLF; a bare LF ends here too and is refused by the parser
			return used, b.finishTrailers()
		}
	}
	return used, ok
}

func (b *Body) finishTrailers() fault {
	b.section.reset()
	n, f := b.section.parseFields(b.trailer, b.limits.fields(), b.side)
	if f != ok {
		return f
	}
	if n == 0 { // a line of two bytes other than CRLF cannot be a field line either
		return badFieldName
	}
	if b.section.seen&forbiddenInTrailers != 0 {
		return trailerField
	}
	b.Trailers = b.section.Fields
	b.done = true
	return ok
}
