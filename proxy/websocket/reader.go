package websocket

import "unicode/utf8"

// Limits bounds what one side may send. A zero member means the default.
type Limits struct {
	FrameBytes   int64 // payload of one frame; 1 MiB
	MessageBytes int64 // payload of all fragments of a message; 1 MiB
	Fragments    int   // frames of a message; 1024
}

func (l Limits) withDefaults() Limits {
	if l.FrameBytes == 0 {
		l.FrameBytes = 1 << 20
	}
	if l.MessageBytes == 0 {
		l.MessageBytes = 1 << 20
	}
	if l.Fragments == 0 {
		l.Fragments = 1024
	}
	return l
}

// Message is a text or binary message put together from its fragments, or a control frame. Its payload is valid until the next call of the Reader.
type Message struct {
	Opcode  Opcode
	Payload []byte
}

// Reader turns the bytes of one side into messages. It holds no more than one message and one control frame.
type Reader struct {
	from   Side
	limits Limits

	raw   []byte // header bytes that are not enough yet
	head  header
	in    bool  // within a frame's payload
	taken int64 // of the payload

	opcode    Opcode // of the message being put together, Continuation when there is none
	fragments int
	message   []byte
	checked   int // bytes of message known to be whole runes
	control   [MaxControl]byte
	closed    bool
	err       *Error
}

// NewReader returns a reader of what one side sends.
func NewReader(from Side, limits Limits) *Reader {
	return &Reader{from: from, limits: limits.withDefaults()}
}

// Next takes bytes from p and says how many. It returns when a message is complete (ok), when p is used up, or with the reason to close the connection, which
// it gives again from then on. Sizes are refused when a header announces them, text as soon as a byte cannot belong to any rune.
func (r *Reader) Next(p []byte) (n int, m Message, ok bool, err *Error) {
	for n < len(p) && r.err == nil {
		k, done := r.step(p[n:])
		n += k
		if done && r.err == nil {
			return n, r.deliver(), true, nil
		}
	}
	return n, Message{}, false, r.err
}

// step takes one header or a piece of a payload. It reports whether a message ended.
func (r *Reader) step(p []byte) (n int, done bool) {
	if !r.in {
		n = r.begin(p)
		if r.err != nil || !r.in || r.head.length > 0 {
			return n, false
		}
		return n, r.end()
	}
	n = int(min(int64(len(p)), r.head.length-r.taken))
	r.take(p[:n])
	if r.err != nil || r.taken < r.head.length {
		return n, false
	}
	return n, r.end()
}

// begin takes header bytes.
func (r *Reader) begin(p []byte) int {
	if r.closed { // whatever it is, and however it is cut
		r.err = errAfterClose
		return 0
	}
	held := len(r.raw)
	r.raw = append(r.raw, p[:min(len(p), 14-held)]...) // the longest header has 14 bytes
	h, n, err := parseHeader(r.raw, r.from)
	if err != nil {
		r.err = err
		return 0
	}
	if n == 0 {
		return len(r.raw) - held
	}
	r.raw = r.raw[:0]
	r.head, r.taken, r.in = h, 0, true
	r.err = r.admit()
	return n - held
}

// admit checks a frame against what came before it and against the limits.
func (r *Reader) admit() *Error {
	h := &r.head
	if h.opcode.IsControl() {
		return nil
	}
	if (h.opcode == Continuation) != (r.opcode != Continuation) {
		return errContinuation
	}
	if h.opcode != Continuation {
		r.opcode, r.fragments, r.checked, r.message = h.opcode, 0, 0, r.message[:0]
	}
	r.fragments++
	switch {
	case h.length > r.limits.FrameBytes:
		return errFrameSize
	case int64(len(r.message)) > r.limits.MessageBytes-h.length:
		return errMessageSize
	case r.fragments > r.limits.Fragments:
		return errFragments
	}
	return nil
}

// take keeps a piece of the payload, unmasked.
func (r *Reader) take(p []byte) {
	var kept []byte
	if r.head.opcode.IsControl() {
		kept = r.control[r.taken:][:copy(r.control[r.taken:], p)]
	} else {
		at := len(r.message)
		r.message = append(r.message, p...)
		kept = r.message[at:]
	}
	if r.head.masked {
		applyMask(r.head.key, r.taken, kept)
	}
	r.taken += int64(len(p))
	if !r.head.opcode.IsControl() && r.opcode == Text {
		r.checkText()
	}
}

// checkText goes on behind the runes that were checked before; a rune that may still be completed is left for later.
func (r *Reader) checkText() {
	for p := r.message[r.checked:]; len(p) > 0; p = r.message[r.checked:] {
		if p[0] < utf8.RuneSelf {
			r.checked++
			continue
		}
		if !utf8.FullRune(p) {
			return
		}
		c, n := utf8.DecodeRune(p)
		if c == utf8.RuneError && n == 1 {
			r.err = errText
			return
		}
		r.checked += n
	}
}

// end finishes a frame. It reports whether a message ended with it.
func (r *Reader) end() bool {
	r.in = false
	switch {
	case r.head.opcode == Close:
		r.closed = true
		_, _, r.err = ParseClose(r.control[:r.head.length])
		return true
	case r.head.opcode.IsControl():
		return true
	case r.head.fin && r.opcode == Text && r.checked < len(r.message):
		r.err = errText
	}
	return r.head.fin
}

// deliver hands out what ended. A control frame leaves the message around it as it is.
func (r *Reader) deliver() Message {
	if r.head.opcode.IsControl() {
		return Message{r.head.opcode, r.control[:r.head.length]}
	}
	m := Message{r.opcode, r.message}
	r.opcode = Continuation
	return m
}
