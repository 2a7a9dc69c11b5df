package unpack

import (
	"bufio"
	"errors"
	"io"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// Decoders is what all bodies of a process share: the bound on the memory of their decoders.
type Decoders struct {
	limit atomic.Int64
	used  atomic.Int64
}

// NewDecoders returns decoders that together use at most limit bytes.
func NewDecoders(limit int64) *Decoders {
	d := new(Decoders)
	d.SetLimit(limit)
	return d
}

// SetLimit changes the bound; bodies that are under way keep what they have.
func (d *Decoders) SetLimit(limit int64) { d.limit.Store(limit) }

// Used is the number of bytes that are reserved now.
func (d *Decoders) Used() int64 { return d.used.Load() }

func (d *Decoders) reserve(n int64) bool {
	for {
		used := d.used.Load()
		if used+n > d.limit.Load() {
			return false
		}
		if d.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// What decoders hold beside their window, generously: tables and buffers.
const (
	ofInflate    = 96 << 10 // the window of 32 KB included
	ofBrotli     = 512 << 10
	ofZstandard  = 768 << 10
	maxZstWindow = 8 << 20 // the largest that a sender may use on the web (RFC 9659)
)

// decoder returns a reader of what in, encoded with c, stands for. Nothing may follow the end of it.
func (b *Body) decoder(c coding, in *bufio.Reader) (io.Reader, error) {
	switch c {
	case gzipped:
		if err := b.reserve(ofInflate); err != nil {
			return nil, err
		}
		return gzip.NewReader(in) // reads member after member, to the end of in
	case deflated:
		if err := b.reserve(ofInflate); err != nil {
			return nil, err
		}
		r, err := inflater(in)
		return &ending{r, in}, err
	case brotlied:
		first, err := in.Peek(1)
		if err != nil {
			return nil, short(err)
		}
		if err := b.reserve(brotliWindow(first[0]) + ofBrotli); err != nil {
			return nil, err
		}
		return brotli.NewReader(in), nil
	}
	window, err := zstWindow(in)
	if err != nil {
		return nil, err
	}
	if err := b.reserve(window + ofZstandard); err != nil {
		return nil, err
	}
	r, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(uint64(window)))
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, r.Close)
	return r, nil
}

// inflater reads "deflate", which is the format of zlib (RFC 9110 section 8.4.1.2) but is sent without its frame by some, so that recipients take both.
func inflater(in *bufio.Reader) (io.Reader, error) {
	head, err := in.Peek(2)
	if err != nil {
		return nil, short(err)
	}
	if head[0]&0x0f == 8 && head[0]>>4 <= 7 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(in)
	}
	return flate.NewReader(in), nil
}

// brotliWindow is the size of the window that the first byte of a stream announces (RFC 7932 section 9.1).
func brotliWindow(first byte) int64 {
	switch n, m := first>>1&7, first>>4&7; {
	case first&1 == 0:
		return 1 << 16
	case n != 0:
		return 1 << (17 + n)
	case m != 0:
		return 1 << (8 + m)
	}
	return 1 << 17
}

// zstWindow is the window that the first frame announces. Frames behind it with a larger one are refused.
func zstWindow(in *bufio.Reader) (int64, error) {
	head, err := in.Peek(zstd.HeaderMaxSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return 0, short(err)
	}
	window := h.WindowSize
	switch {
	case h.Skippable:
		return maxZstWindow, nil
	case h.SingleSegment:
		window = h.FrameContentSize
	}
	if window > maxZstWindow {
		return 0, failed(Corrupt, "zstd: window of %d bytes", window)
	}
	return max(int64(window), zstd.MinWindowSize), nil
}

// short makes the end of a body in the middle of a head an error.
func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

var errTrailing = errors.New("bytes behind the end")

// ending looks behind the end of a format that ends by itself.
type ending struct {
	io.Reader
	in *bufio.Reader
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		if _, more := e.in.Peek(1); more == nil {
			return n, errTrailing
		} else if !errors.Is(more, io.EOF) {
			return n, more
		}
	}
	return n, err
}
