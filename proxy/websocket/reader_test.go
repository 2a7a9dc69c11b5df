package websocket

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var testKey = [4]byte{0x37, 0xfa, 0x21, 0x3d} // RFC 6455 §5.7

// frame is a frame of a client.
func frame(fin bool, o Opcode, payload string) string {
	return string(AppendFrame(nil, fin, o, &testKey, []byte(payload)))
}

// read gives the input in pieces of the size and lists what comes out.
func read(from Side, limits Limits, input []byte, piece int) (out []string, err *Error) {
	r := NewReader(from, limits)
	for _, p := range slices.Collect(slices.Chunk(input, piece)) {
		for len(p) > 0 {
			n, m, ok, err := r.Next(p)
			if err != nil {
				return out, err
			}
			if ok {
				out = append(out, fmt.Sprintf("%x:%s", m.Opcode, m.Payload))
			}
			p = p[n:]
		}
	}
	return out, nil
}

// The examples of RFC 6455 §5.7, read and written.
func TestVectors(t *testing.T) {
	for _, c := range []struct {
		from Side
		wire string
		want []string
	}{
		{FromUpstream, "\x81\x05\x48\x65\x6c\x6c\x6f", []string{"1:Hello"}},
		{FromClient, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", []string{"1:Hello"}},
		{FromUpstream, "\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f", []string{"1:Hello"}},
		{FromUpstream, "\x89\x05\x48\x65\x6c\x6c\x6f", []string{"9:Hello"}},
		{FromClient, "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", []string{"a:Hello"}},
		{FromUpstream, "\x82\x7e\x01\x00" + strings.Repeat("x", 256), []string{"2:" + strings.Repeat("x", 256)}},
		{FromUpstream, "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + strings.Repeat("x", 65536), []string{"2:" + strings.Repeat("x", 65536)}},
	} {
		for _, piece := range []int{1, 3, 1 << 20} {
			if got, err := read(c.from, Limits{}, []byte(c.wire), piece); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%.20q in pieces of %d: %.60q %v", c.wire, piece, got, err)
			}
		}
	}
	if got := frame(true, Text, "Hello"); got != "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58" {
		t.Errorf("%q", got)
	}
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		want := strings.Repeat("y", n)
		if got, err := read(FromClient, Limits{}, []byte(frame(true, Binary, want)), 1000); err != nil || len(got) != 1 || got[0] != "2:"+want {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// Each attack stands beside its innocent twin. Every input is given whole and byte by byte.
func TestFrames(t *testing.T) {
	small := Limits{FrameBytes: 10, MessageBytes: 16, Fragments: 3}
	euro := "\xe2\x82\xac"
	closing := func(code int, reason string) string {
		return frame(true, Close, string([]byte{byte(code >> 8), byte(code)})+reason)
	}
	for _, c := range []struct {
		name string
		wire string
		want []string
		err  *Error
	}{
		{"ping between fragments", frame(false, Text, "ab") + frame(true, Ping, "p") + frame(true, Continuation, "cd"), []string{"9:p", "1:abcd"}, nil},
		{"empty fragments", frame(false, Text, "") + frame(false, Continuation, "") + frame(true, Continuation, ""), []string{"1:"}, nil},
		{"fragmented ping", frame(false, Ping, "p"), nil, errControlFragment},
		{"two messages", frame(true, Text, "a") + frame(true, Binary, "\xff"), []string{"1:a", "2:\xff"}, nil},
		{"continuation of nothing", frame(true, Continuation, "a"), nil, errContinuation},
		{"continuation of what ended", frame(true, Text, "a") + frame(true, Continuation, "a"), []string{"1:a"}, errContinuation},
		{"text within a message", frame(false, Text, "a") + frame(true, Text, "b"), nil, errContinuation},
		{"longest ping", frame(true, Ping, strings.Repeat("p", 125)), []string{"9:" + strings.Repeat("p", 125)}, nil},
		{"too long ping", frame(true, Ping, strings.Repeat("p", 126)), nil, errControlLength},
		{"reserved bit 1", "\xc1\x80", nil, errReservedBits},
		{"reserved bit 2", "\xa1", nil, errReservedBits},
		{"reserved bit 3", "\x91", nil, errReservedBits},
		{"reserved bit of a control frame", "\xc9", nil, errReservedBits},
		{"opcode 3", "\x83", nil, errOpcode},
		{"opcode 7", "\x87", nil, errOpcode},
		{"opcode 11", "\x8b", nil, errOpcode},
		{"opcode 15", "\x8f", nil, errOpcode},
		{"no mask", "\x81\x05Hello", nil, errMask},
		{"16-bit length for 125", "\x82\xfe\x00\x7d", nil, errLength},
		{"64-bit length for 65535", "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", nil, errLength},
		{"negative length", "\x82\xff\x80\x00\x00\x00\x00\x01\x00\x00", nil, errLength},
		{"rune over two fragments", frame(false, Text, euro[:1]) + frame(true, Continuation, euro[1:]), []string{"1:" + euro}, nil},
		{"rune over fragments and a ping", frame(false, Text, euro[:2]) + frame(true, Ping, "\xff") + frame(true, Continuation, euro[2:]), []string{"9:\xff", "1:" + euro}, nil},
		{"half a rune", frame(true, Text, euro[:2]), nil, errText},
		{"half a rune over fragments", frame(false, Text, "a"+euro[:1]) + frame(true, Continuation, ""), nil, errText},
		{"bad text before its end", frame(false, Text, "a\xffb"), nil, errText},
		{"surrogate", frame(false, Text, "\xed\xa0\x80"), nil, errText},
		{"overlong", frame(false, Text, "\xc0\xaf"), nil, errText},
		{"beyond the last rune", frame(false, Text, "\xf4\x90\x80\x80"), nil, errText},
		{"last rune", frame(true, Text, "\xf4\x8f\xbf\xbf"), []string{"1:\xf4\x8f\xbf\xbf"}, nil},
		{"replacement rune itself", frame(true, Text, "\xef\xbf\xbd"), []string{"1:\xef\xbf\xbd"}, nil},
		{"bad text in binary", frame(true, Binary, "\xff"), []string{"2:\xff"}, nil},
		{"frame at the limit", frame(true, Binary, "0123456789"), []string{"2:0123456789"}, nil},
		{"frame beyond it", "\x82\x8b\x00\x00\x00\x00", nil, errFrameSize},
		{"message at the limit", frame(false, Binary, "0123456789") + frame(true, Continuation, "abcdef"), []string{"2:0123456789abcdef"}, nil},
		{"message beyond it", frame(false, Binary, "0123456789") + frame(true, Continuation, "abcdefg")[:6], nil, errMessageSize},
		{"too many fragments", frame(false, Binary, "") + frame(false, Continuation, "") + frame(false, Continuation, "") + frame(true, Continuation, ""), nil, errFragments},
		{"close", closing(1000, "bye "+euro), []string{"8:\x03\xe8bye " + euro}, nil},
		{"close without code", frame(true, Close, ""), []string{"8:"}, nil},
		{"close within a message", frame(false, Text, "a") + closing(1001, ""), []string{"8:\x03\xe9"}, nil},
		{"half a code", frame(true, Close, "\x03"), nil, errCloseCode},
		{"close 1005", closing(1005, ""), nil, errCloseCode},
		{"close 1006", closing(1006, ""), nil, errCloseCode},
		{"close 1004", closing(1004, ""), nil, errCloseCode},
		{"close 1015", closing(1015, ""), nil, errCloseCode},
		{"close 999", closing(999, ""), nil, errCloseCode},
		{"close 2999", closing(2999, ""), nil, errCloseCode},
		{"close 5000", closing(5000, ""), nil, errCloseCode},
		{"close 4999", closing(4999, ""), []string{"8:\x13\x87"}, nil},
		{"bad reason", closing(1000, "\xff"), nil, errCloseReason},
		{"text after close", closing(1000, "") + frame(true, Text, "a"), []string{"8:\x03\xe8"}, errAfterClose},
		{"ping after close", closing(1000, "") + frame(true, Ping, ""), []string{"8:\x03\xe8"}, errAfterClose},
	} {
		for _, piece := range []int{1, 1 << 20} {
			got, err := read(FromClient, small, []byte(c.wire), piece)
			if err != c.err || !slices.Equal(got, c.want) {
				t.Errorf("%s, in pieces of %d: %q %v, want %q %v", c.name, piece, got, err, c.want, c.err)
			}
		}
	}
}

func TestMaskOfUpstream(t *testing.T) {
	if _, err := read(FromUpstream, Limits{}, []byte(frame(true, Text, "a")), 100); err != errMask {
		t.Error(err)
	}
}

// A reader that refused goes on refusing.
func TestRefusalStays(t *testing.T) {
	r := NewReader(FromClient, Limits{})
	for range 2 {
		if n, _, ok, err := r.Next([]byte(frame(true, Continuation, "x"))); ok || err != errContinuation || n > 6 {
			t.Error(n, ok, err)
		}
	}
}

func TestAppendClose(t *testing.T) {
	long := strings.Repeat("a", 121) + "\xe2\x82\xac"
	p := AppendClose(nil, CloseTooBig, long)
	if code, reason, err := ParseClose(p); code != CloseTooBig || string(reason) != long[:121] || err != nil {
		t.Error(code, len(reason), err)
	}
	if p := AppendClose(nil, CloseNone, "x"); len(p) != 0 {
		t.Errorf("%q", p)
	}
}

// What memory holds follows what arrived, not what a header announces.
func TestAnnouncementIsFree(t *testing.T) {
	r := NewReader(FromUpstream, Limits{FrameBytes: 1 << 40, MessageBytes: 1 << 40})
	if _, _, _, err := r.Next([]byte("\x82\x7f\x00\x00\x00\xff\x00\x00\x00\x00abc")); err != nil || cap(r.message) > 1024 {
		t.Error(err, cap(r.message))
	}
}

// The way the input is cut changes nothing, nothing exceeds the limits, and what was accepted is accepted again when written anew.
func FuzzReader(f *testing.F) {
	f.Add([]byte(frame(false, Text, "ab")+frame(true, Ping, "p")+frame(true, Continuation, "cd")), true)
	f.Add([]byte(frame(true, Close, "\x03\xe8bye")), true)
	f.Add([]byte("\x82\x7e\x01\x00"+strings.Repeat("x", 256)), false)
	f.Add([]byte("\x01\x02\xe2\x82\x80\x01\xac"), false)
	f.Fuzz(func(t *testing.T, input []byte, client bool) {
		from, key := FromUpstream, (*[4]byte)(nil)
		if client {
			from, key = FromClient, &testKey
		}
		limits := Limits{FrameBytes: 200, MessageBytes: 300, Fragments: 4}
		whole, err := read(from, limits, bytes.Clone(input), 1<<20)
		pieces, err2 := read(from, limits, bytes.Clone(input), 1)
		if err != err2 || !slices.Equal(whole, pieces) {
			t.Fatalf("whole %q %v, in pieces %q %v", whole, err, pieces, err2)
		}
		var again []byte
		for _, m := range whole {
			if len(m) > 302 {
				t.Fatalf("%d bytes", len(m)-2)
			}
			o := Opcode(strings.IndexByte("0123456789a", m[0]))
			again = AppendFrame(again, true, o, key, []byte(m[2:]))
		}
		if got, err := read(from, Limits{FrameBytes: 300}, again, 7); err != nil || !slices.Equal(got, whole) {
			t.Fatalf("%q %v, want %q", got, err, whole)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	input := AppendFrame(nil, true, Binary, &testKey, make([]byte, 32<<10))
	r := NewReader(FromClient, Limits{})
	b.SetBytes(int64(len(input)))
	for b.Loop() {
		for p := input; len(p) > 0; {
			n, _, _, err := r.Next(p)
			if err != nil {
				b.Fatal(err)
			}
			p = p[n:]
		}
	}
}
