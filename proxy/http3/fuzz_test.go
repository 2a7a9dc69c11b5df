package http3

import (
	"bytes"
	"testing"
)

// FuzzFrames: what is read can be written again, nothing is read beyond its end, and half of something asks for more.
func FuzzFrames(f *testing.F) {
	for _, seed := range [][]byte{{}, {0, 0}, {1, 3, 0, 0, 0xd1}, {4, 2, 6, 1}, {0x40, 0x21, 0x80, 0, 0, 1}, AppendGoAway(nil, MaxStreamID), AppendGreeting(nil, 16384)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, n := ParseFrame(b)
		if n > len(b) || n == 1 {
			t.Fatalf("%d of %d bytes", n, len(b))
		}
		if n > 0 {
			again, m := ParseFrame(AppendNumber(AppendNumber(nil, uint64(frame.Type)), frame.Length))
			if again != frame || m > n {
				t.Fatalf("%v became %v", frame, again)
			}
			for i := range n {
				if _, k := ParseFrame(b[:i]); k != 0 {
					t.Fatalf("%d of %d bytes were enough", i, n)
				}
			}
		}
		_ = CheckSettings(b)
	})
}

// FuzzFields: a section of any bytes stays within the bounds.
func FuzzFields(f *testing.F) {
	for _, seed := range [][]byte{{}, {0, 0}, {0, 0, 0xd1, 0xd7, 0xc1}, {0, 0, 0x51, 1, '/'}, {0, 0, 0x23, 'x', '-', 'a', 1, 'b'}, {0, 0, 0x2b, 0xf2, 0xb4, 0x3f, 0x81, 0x1f}, bytes.Repeat([]byte{0, 0xd1}, 40), {2, 0, 0x80}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, tooLarge, err := ReadFields(b, 1000, 10)
		size := 0
		for _, f := range fields {
			size += len(f.Name) + len(f.Value) + 32
		}
		if size > 1000 || len(fields) > 15 || tooLarge && fields != nil || err != nil && !err.Connection {
			t.Fatalf("%d fields of %d bytes, %v %v", len(fields), size, tooLarge, err)
		}
	})
}
