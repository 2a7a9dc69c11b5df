package unpack

import (
	"bufio"
	"errors"
	"io"
	"iter"
)

// Body unpacks one body. It is used by one goroutine at a time, and closed by whoever opened it.
//
// Decoders pull what they decode, while a body is pushed by whom it came from. So they run as a coroutine that gives way when it has used up what is here, when it has filled
// the buffer it was given, and at the end.
type Body struct {
	decoders *Decoders
	limits   Limits
	codings  Codings
	held     int64 // reserved
	closers  []func()

	resume func() (State, bool)
	stop   func()
	yield  func(State) bool

	data []byte // what came and was not read yet
	last bool   // nothing will come
	in   int64  // bytes that came so far

	buf     []byte // what was unpacked: buf[:from] was given away, buf[from:n] was not
	from, n int
	ended   bool
	failed  error
}

// State is why Next has no more to give.
type State uint8

// The states.
const (
	Hungry State = iota // more has to be fed first
	More                // there is more already
	Done                // that was the end
)

// errStopped is what decoders get when the body is closed before its end.
var errStopped = errors.New("closed")

// Open begins a body that is given away in pieces of up to size bytes. Nothing is allocated for its decoders before its first byte is here.
func (d *Decoders) Open(c Codings, l Limits, size int) *Body {
	b := &Body{decoders: d, limits: l, codings: c, buf: make([]byte, size)}
	b.resume, b.stop = iter.Pull(b.run)
	return b
}

// Feed adds a piece of what was sent; last says that it was the last. It is called when Next has nothing more to give, and the piece must not change until
// then.
func (b *Body) Feed(data []byte, last bool) {
	b.data, b.last = data, last
	b.in += int64(len(data))
}

// Next returns what comes next, which stays unchanged until the next call and may be empty. The error is an *Error, and final.
func (b *Body) Next() ([]byte, State, error) {
	if b.failed != nil || b.ended {
		return nil, Done, b.failed
	}
	state, _ := b.resume()
	out := b.buf[b.from:b.n]
	b.from = b.n
	return out, state, b.failed
}

// Close frees what the body holds. It may be called again.
func (b *Body) Close() {
	b.stop()
	for _, f := range b.closers {
		f()
	}
	b.decoders.used.Add(-b.held)
	b.closers, b.held, b.data = nil, 0, nil
}

func (b *Body) reserve(n int64) error {
	if !b.decoders.reserve(n) {
		return failed(Memory, "no memory for another decoder")
	}
	b.held += n
	return nil
}

// run is the coroutine.
func (b *Body) run(yield func(State) bool) {
	b.yield = yield
	err := b.decode()
	var e *Error
	switch {
	case errors.Is(err, errStopped):
		return
	case err == nil:
		b.ended = true
	case errors.As(err, &e):
		b.failed = e
	default:
		b.failed = failed(Corrupt, "%v", err)
	}
	yield(Done)
}

func (b *Body) decode() error {
	top := bufio.NewReaderSize((*source)(b), readAhead)
	if _, err := top.Peek(1); err != nil {
		return atEnd(err) // no bytes stand for none, whatever the coding
	}
	var r io.Reader = top
	for i := b.codings.count - 1; i >= 0; i-- {
		if i < b.codings.count-1 {
			top = bufio.NewReaderSize(r, readAhead)
		}
		decoder, err := b.decoder(b.codings.list[i], top)
		if err != nil {
			return short(err)
		}
		r = &bounded{Reader: decoder, b: b}
	}
	for {
		if b.n == len(b.buf) && !b.yield(More) {
			return errStopped
		}
		if b.from == b.n {
			b.from, b.n = 0, 0
		}
		n, err := r.Read(b.buf[b.n:])
		b.n += n
		if err != nil {
			return atEnd(err)
		}
	}
}

// readAhead is how much of its input a decoder takes at a time.
const readAhead = 4 << 10

func atEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// source is the body as decoders read it.
type source Body

// Read gives way until there is something to read.
func (s *source) Read(p []byte) (int, error) {
	for len(s.data) == 0 {
		if s.last {
			return 0, io.EOF
		}
		if !s.yield(Hungry) {
			return 0, errStopped
		}
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}

// bounded counts what one decoder gives: a body that is encoded twice may be a bomb in either step.
type bounded struct {
	io.Reader
	b   *Body
	out int64
}

func (r *bounded) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.out += int64(n)
	l := &r.b.limits
	switch {
	case l.Size > 0 && r.out > l.Size:
		return 0, failed(Size, "more than %d bytes", l.Size)
	case l.Ratio > 0 && r.out > Spared && r.out/l.Ratio > r.b.in:
		return 0, failed(Ratio, "more than %d bytes for each one sent", l.Ratio)
	}
	return n, err
}
