package unpack

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// encoders are every coding that is understood, and what makes it.
var encoders = map[string]func(io.Writer) io.WriteCloser{
	"gzip":    func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"deflate": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
	"br":      func(w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, 5) },
	"zstd": func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			panic(err)
		}
		return z
	},
}

// encode encodes data with each coding of a Content-Encoding in turn.
func encode(t testing.TB, codings string, data []byte) []byte {
	t.Helper()
	for name := range strings.SplitSeq(codings, ", ") {
		var out bytes.Buffer
		w := encoders[name](&out)
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		data = out.Bytes()
	}
	return data
}

func codings(t testing.TB, value ...string) Codings {
	t.Helper()
	c, err := CodingsOf(header(value...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func header(values ...string) []http1.Field {
	fields := []http1.Field{{Name: []byte("Accept"), Value: []byte("br"), ID: http1.Accept}}
	for _, v := range values {
		fields = append(fields, http1.Field{Name: []byte("Content-Encoding"), Value: []byte(v), ID: http1.ContentEncoding})
	}
	return fields
}

// unpacked feeds what was sent in pieces of up to size bytes and returns what comes out.
func unpacked(d *Decoders, c Codings, l Limits, sent []byte, size int) ([]byte, error) {
	b := d.Open(c, l, 1000)
	defer b.Close()
	var out []byte
	for {
		n := min(size, len(sent))
		b.Feed(sent[:n:n], n == len(sent))
		sent = sent[n:]
		for state := More; state == More; {
			var piece []byte
			var err error
			piece, state, err = b.Next()
			out = append(out, piece...)
			if err != nil || state == Done {
				return out, err
			}
		}
	}
}

func reasonOf(t *testing.T, err error) Reason {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *Error", err)
	}
	return e.Reason
}

var unlimited = Limits{Ratio: 1 << 20}

// texts are bodies of every kind: none, short, long, what compresses and what does not.
func texts() map[string][]byte {
	noise := make([]byte, 300_000)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(noise)
	return map[string][]byte{
		"empty": {}, "short": []byte("a=1&b=2"), "text": bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog\n"), 10_000), "noise": noise,
		"mixed": append(bytes.Repeat([]byte{0}, 70_000), noise...),
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	d := NewDecoders(64 << 20)
	for _, names := range []string{"gzip", "deflate", "br", "zstd", "gzip, br", "br, gzip", "zstd, deflate, gzip"} {
		for kind, text := range texts() {
			sent := encode(t, names, text)
			for _, size := range []int{len(sent), 4096, 1} {
				if size == 1 && len(sent) > 20_000 {
					continue
				}
				got, err := unpacked(d, codings(t, names), unlimited, sent, size)
				if err != nil || !bytes.Equal(got, text) {
					t.Errorf("%s %s in pieces of %d: %d bytes, %v; want %d", names, kind, size, len(got), err, len(text))
				}
			}
		}
	}
	if d.Used() != 0 {
		t.Errorf("%d bytes are still reserved", d.Used())
	}
}

// What the format allows to be said in several ways is understood in all of them.
func TestForms(t *testing.T) {
	t.Parallel()
	text := []byte("hello, world")
	var raw bytes.Buffer
	w, _ := flate.NewWriter(&raw, 9)
	_, _ = w.Write(text)
	_ = w.Close()
	g := encode(t, "gzip", text)
	z := encode(t, "zstd", text)
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}
	for name, test := range map[string]struct {
		values []string
		sent   []byte
		want   string
	}{
		"upper case":            {[]string{"GZip"}, g, "hello, world"},
		"older name":            {[]string{"x-gzip"}, g, "hello, world"},
		"identity counts not":   {[]string{"identity, gzip , ,"}, g, "hello, world"},
		"two fields":            {[]string{"gzip", "br"}, encode(t, "gzip, br", text), "hello, world"},
		"members":               {[]string{"gzip"}, append(bytes.Clone(g), g...), "hello, worldhello, world"},
		"frames":                {[]string{"zstd"}, append(bytes.Clone(z), z...), "hello, worldhello, world"},
		"skippable frame first": {[]string{"zstd"}, append(skippable, z...), "hello, world"},
		"deflate without zlib":  {[]string{"deflate"}, raw.Bytes(), "hello, world"},
		"no bytes":              {[]string{"br"}, nil, ""},
	} {
		got, err := unpacked(NewDecoders(64<<20), codings(t, test.values...), unlimited, test.sent, 5)
		if err != nil || string(got) != test.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if !codings(t, "identity").None() || !codings(t).None() || codings(t, "br").None() {
		t.Error("None is wrong")
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	d := NewDecoders(64 << 20)
	text := bytes.Repeat([]byte("some text that is long enough to be compressed. "), 100)
	for name := range encoders {
		sent := encode(t, name, text)
		broken := bytes.Clone(sent)
		broken[len(broken)/2] ^= 0x55
		for kind, bad := range map[string][]byte{
			"half":     sent[:len(sent)/2],
			"one byte": sent[:1],
			"cut":      sent[:len(sent)-1],
			"trailing": append(bytes.Clone(sent), 'x'),
			"zeros":    append(bytes.Clone(sent), make([]byte, 600)...),
			"text":     []byte("GET / HTTP/1.1\r\n\r\n"),
			"damaged":  broken,
		} {
			for _, size := range []int{1, 1 << 20} {
				got, err := unpacked(d, codings(t, name), unlimited, bad, size)
				if err == nil {
					if kind == "damaged" && name == "br" && !bytes.Equal(got, text) {
						continue // has no checksum
					}
					t.Errorf("%s %s: no error", name, kind)
				} else if r := reasonOf(t, err); r != Corrupt {
					t.Errorf("%s %s: %v %v", name, kind, r, err)
				}
			}
		}
	}
	if d.Used() != 0 {
		t.Errorf("%d bytes are still reserved", d.Used())
	}
}

func TestUnknownCodings(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"compress", "aws-chunked", "gzip, sdch", "gzip;q=1", "g zip", "gzip, gzip, gzip, gzip", "*"} {
		if _, err := CodingsOf(header(v)); err == nil || reasonOf(t, err) != Coding {
			t.Errorf("%q: %v", v, err)
		}
	}
}

// A bomb is refused by ratio, by size and in any step of several; what compresses well and is harmless is not.
func TestBombs(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 4<<20)
	for name := range encoders {
		sent := encode(t, name, zeros)
		for what, test := range map[string]struct {
			limits Limits
			want   Reason
		}{"ratio": {Limits{Ratio: 100}, Ratio}, "size": {Limits{Size: 4<<20 - 1}, Size}} {
			_, err := unpacked(NewDecoders(64<<20), codings(t, name), test.limits, sent, 1<<20)
			if err == nil || reasonOf(t, err) != test.want {
				t.Errorf("%s by %s: %v", name, what, err)
			}
		}
		if got, err := unpacked(NewDecoders(64<<20), codings(t, name), Limits{Ratio: 1 << 30, Size: 4 << 20}, sent, 1<<20); err != nil || len(got) != len(zeros) {
			t.Errorf("%s within limits: %d bytes, %v", name, len(got), err)
		}
		// So short that nobody minds.
		if _, err := unpacked(NewDecoders(64<<20), codings(t, name), Limits{Ratio: 1}, encode(t, name, zeros[:Spared]), 1<<20); err != nil {
			t.Errorf("%s spared: %v", name, err)
		}
		// The inner step ends as little, what is between the two is the bomb.
		twice := encode(t, name+", gzip", encode(t, "gzip", zeros)) // three times encoded, read twice
		if _, err := unpacked(NewDecoders(64<<20), codings(t, name, "gzip"), Limits{Ratio: 100, Size: 1 << 10}, twice, 1<<20); err == nil {
			t.Errorf("%s in two steps: no error", name)
		}
	}
}

// A bomb that is never refused by its limits still costs no memory, and a reader that stops leaves nothing behind.
func TestMemoryIsFlat(t *testing.T) { // alone: it counts what the process allocates
	member := encode(t, "gzip", make([]byte, 1<<20))
	d := NewDecoders(1 << 20)
	b := d.Open(codings(t, "gzip"), Limits{Size: 256 << 20}, 64<<10)
	defer b.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var out int64
	for left := 10 << 10; left > 0; left-- { // ten gibibytes
		b.Feed(member, left == 1)
		for state := More; state == More; {
			piece, s, err := b.Next()
			out += int64(len(piece))
			if err != nil {
				if reasonOf(t, err) != Size || out < 255<<20 {
					t.Fatalf("after %d bytes: %v", out, err)
				}
				runtime.ReadMemStats(&after)
				if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
					t.Errorf("%d bytes were allocated for %d that were unpacked", grown, out)
				}
				return
			}
			state = s
		}
	}
	t.Fatal("the bomb went through")
}

// The memory of all decoders is bounded: one that finds none is refused, and what was closed is there again.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	d := NewDecoders(6 << 20)
	sent := encode(t, "br", bytes.Repeat([]byte("x"), 100)) // announces a window of 4 MB
	first := d.Open(codings(t, "br"), unlimited, 100)
	first.Feed(sent[:3], false)
	if _, _, err := first.Next(); err != nil {
		t.Fatal(err)
	}
	if d.Used() < 4<<20 {
		t.Fatalf("%d bytes reserved", d.Used())
	}
	if _, err := unpacked(d, codings(t, "br"), unlimited, sent, 10); err == nil || reasonOf(t, err) != Memory {
		t.Fatalf("second: %v", err)
	}
	if _, err := unpacked(d, codings(t, "gzip"), unlimited, encode(t, "gzip", sent), 10); err != nil {
		t.Fatalf("a small one: %v", err)
	}
	first.Close()
	first.Close()
	if d.Used() != 0 {
		t.Fatalf("%d bytes are still reserved", d.Used())
	}
	if _, err := unpacked(d, codings(t, "br"), unlimited, sent, 10); err != nil {
		t.Fatalf("after the first: %v", err)
	}
	// A window that nobody may use on the web.
	large := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 1, 0, 0}
	if _, err := unpacked(NewDecoders(1<<40), codings(t, "zstd"), unlimited, large, 100); err == nil || reasonOf(t, err) != Corrupt {
		t.Fatalf("window of 128 MB: %v", err)
	}
}

// What was unpacked does not depend on how it was cut into pieces, and nothing panics or is held.
func FuzzBody(f *testing.F) {
	for _, names := range []string{"gzip", "deflate", "br", "zstd", "gzip, br", "br, zstd", "gzip, deflate"} {
		f.Add(names, encode(f, names, []byte("hello, hello, hello")), 3)
	}
	f.Add("zstd", []byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}, 1)
	f.Fuzz(func(t *testing.T, names string, sent []byte, size int) {
		c, err := CodingsOf(header(names))
		if err != nil || c.None() || len(sent) > 1<<16 {
			return
		}
		d := NewDecoders(64 << 20)
		l := Limits{Ratio: 1000, Size: 1 << 20}
		whole, err := unpacked(d, c, l, sent, max(len(sent), 1))
		pieces, again := unpacked(d, c, l, sent, max(size%4096, 1))
		if d.Used() != 0 {
			t.Fatalf("%d bytes are still reserved", d.Used())
		}
		if (err == nil) != (again == nil) && (err == nil || reasonOf(t, err) != Ratio) && (again == nil || reasonOf(t, again) != Ratio) {
			t.Fatalf("whole: %v, in pieces: %v", err, again)
		}
		if err == nil && again == nil && !bytes.Equal(whole, pieces) {
			t.Fatalf("whole: %d bytes, in pieces: %d", len(whole), len(pieces))
		}
		if len(whole) > 1<<20 || len(pieces) > 1<<20 {
			t.Fatal("more than the limit")
		}
	})
}
