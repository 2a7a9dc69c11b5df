package logs

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// MaxLine is the longest line that stays whole, in bytes.
const MaxLine = 64 << 10

// Continued ends a piece of a line that was cut at MaxLine and begins the next piece.
const Continued = "…"

// cutter turns pieces of a byte stream into lines.
type cutter struct {
	limit     int    // MaxLine, but in tests; at least utf8.UTFMax
	buf       []byte // an unfinished line, at most limit bytes
	continued bool   // buf continues a line that was cut
}

func newCutter() *cutter { return &cutter{limit: MaxLine, buf: make([]byte, 0, 4096)} }

// read feeds r to its end, or until it fails, and returns why it stopped.
func (c *cutter) read(r io.Reader, emit func(string)) error {
	chunk := make([]byte, 32<<10)
	for {
		n, err := r.Read(chunk)
		c.feed(chunk[:n], emit)
		if err != nil {
			return err
		}
	}
}

func (c *cutter) feed(p []byte, emit func(string)) {
	for len(p) > 0 {
		nl := bytes.IndexByte(p, '\n')
		if nl >= 0 && len(c.buf)+nl <= c.limit {
			c.buf = append(c.buf, p[:nl]...)
			p = p[nl+1:]
			c.emit(emit, false)
			continue
		}
		room := c.limit - len(c.buf)
		if len(p) < room || (nl < 0 && len(p) == room) {
			c.buf = append(c.buf, p...)
			return
		}
		c.buf = append(c.buf, p[:room]...)
		p = p[room:]
		c.cut(emit)
	}
}

// cut emits a full buffer as a piece, keeping an incomplete UTF-8 sequence for the next one.
func (c *cutter) cut(emit func(string)) {
	end := len(c.buf)
	for back := 1; back < utf8.UTFMax && back < end; back++ {
		if b := c.buf[end-back]; utf8.RuneStart(b) {
			if !utf8.FullRune(c.buf[end-back:]) {
				end -= back
			}
			break
		}
	}
	rest := append([]byte(nil), c.buf[end:]...)
	c.buf = c.buf[:end]
	c.emit(emit, true)
	c.buf = append(c.buf, rest...)
	c.continued = true
}

func (c *cutter) flush(emit func(string)) {
	if len(c.buf) > 0 || c.continued {
		c.emit(emit, false)
	}
}

// emit gives out the buffer as valid UTF-8 without its trailing carriage return.
func (c *cutter) emit(emit func(string), more bool) {
	text := string(c.buf)
	if !more {
		text = strings.TrimSuffix(text, "\r")
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	if c.continued {
		text = Continued + text
	}
	if more {
		text += Continued
	}
	c.buf, c.continued = c.buf[:0], more
	emit(text)
}

// levelOf finds the level in a JSON or key=value record; a line that names none is info, a Go crash is error.
func levelOf(text string) string {
	const searched = 512 // the level stands near the beginning; long lines are not searched whole
	head := text[:min(len(text), searched)]
	for _, mark := range []string{`"level":"`, `level=`} {
		if _, after, ok := strings.Cut(head, mark); ok {
			if l := levelWord(after); l != "" {
				return l
			}
		}
	}
	if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
		return "error"
	}
	return "info"
}

func levelWord(s string) string {
	for _, l := range []string{"debug", "info", "warn", "error"} {
		if len(s) >= len(l) && strings.EqualFold(s[:len(l)], l) {
			return l
		}
	}
	return ""
}
