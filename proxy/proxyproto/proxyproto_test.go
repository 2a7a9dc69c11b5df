package proxyproto

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func addrs(source, dest string) Header {
	return Header{Source: netip.MustParseAddrPort(source), Dest: netip.MustParseAddrPort(dest)}
}

const v2 = "\r\n\r\n\x00\r\nQUIT\n"

// Each refusal stands beside what it differs from the nearest header that is right by.
func TestParse(t *testing.T) {
	t.Parallel()
	four := "\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x50\x01\xbb"
	wantFour := addrs("10.0.0.1:80", "10.0.0.2:443")
	local := Header{Local: true}
	for _, tc := range []struct {
		name, in string
		want     Header
		err      error
	}{
		{"v1", "PROXY TCP4 10.0.0.1 10.0.0.2 80 443\r\n", wantFour, nil},
		{"v1 IPv6", "PROXY TCP6 2001:db8::1 ::1 80 443\r\n", addrs("[2001:db8::1]:80", "[::1]:443"), nil},
		{"v1 mapped IPv4", "PROXY TCP6 ::ffff:10.0.0.1 ::ffff:10.0.0.2 80 443\r\n", wantFour, nil},
		{"v1 unknown", "PROXY UNKNOWN\r\n", local, nil},
		{"v1 unknown with words", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", local, nil},
		{"v1 unknown, longest", "PROXY UNKNOWN " + strings.Repeat("x", MaxV1-16) + "\r\n", local, nil},
		{"v1 unknown, too long", "PROXY UNKNOWN " + strings.Repeat("x", MaxV1-15) + "\r\n", Header{}, ErrTooLong},
		{"v1 unknown run together", "PROXY UNKNOWNS\r\n", Header{}, ErrMalformed},
		{"v1 wrong family", "PROXY TCP6 10.0.0.1 10.0.0.2 80 443\r\n", Header{}, ErrMalformed},
		{"v1 family mixed", "PROXY TCP4 10.0.0.1 ::1 80 443\r\n", Header{}, ErrMalformed},
		{"v1 datagram", "PROXY UDP4 10.0.0.1 10.0.0.2 80 443\r\n", Header{}, ErrMalformed},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 ::1 80 443\r\n", Header{}, ErrMalformed},
		{"v1 two spaces", "PROXY TCP4  10.0.0.1 10.0.0.2 80 443\r\n", Header{}, ErrMalformed},
		{"v1 leading zero", "PROXY TCP4 10.0.0.1 10.0.0.2 080 443\r\n", Header{}, ErrMalformed},
		{"v1 octal address", "PROXY TCP4 010.0.0.1 10.0.0.2 80 443\r\n", Header{}, ErrMalformed},
		{"v1 port too large", "PROXY TCP4 10.0.0.1 10.0.0.2 80 65536\r\n", Header{}, ErrMalformed},
		{"v1 port with sign", "PROXY TCP4 10.0.0.1 10.0.0.2 +80 443\r\n", Header{}, ErrMalformed},
		{"v1 no port", "PROXY TCP4 10.0.0.1 10.0.0.2 80\r\n", Header{}, ErrMalformed},
		{"v1 more words", "PROXY TCP4 10.0.0.1 10.0.0.2 80 443 x\r\n", Header{}, ErrMalformed},
		{"v1 bare line feed", "PROXY TCP4 10.0.0.1 10.0.0.2 80 443\n", Header{}, ErrMalformed},
		{"v1 lower case", "proxy TCP4 10.0.0.1 10.0.0.2 80 443\r\n", Header{}, ErrNone},
		{"v1 without an end", "PROXY " + strings.Repeat("A", 200), Header{}, ErrTooLong},
		{"http", "GET / HTTP/1.1\r\n", Header{}, ErrNone},
		{"http that begins like it", "PUT / HTTP/1.1\r\n", Header{}, ErrNone},
		{"tls", "\x16\x03\x01", Header{}, ErrNone},
		{"empty line", "\r\n\r\nGET", Header{}, ErrNone},

		{"v2", v2 + "\x21\x11\x00\x0c" + four, wantFour, nil},
		{"v2 IPv6", v2 + "\x21\x21\x00\x24" + strings.Repeat("\x00", 15) + "\x01" + strings.Repeat("\x00", 15) + "\x02\x00\x50\x01\xbb", addrs("[::1]:80", "[::2]:443"), nil},
		{"v2 unknown TLV", v2 + "\x21\x11\x00\x11" + four + "\xee\x00\x02ab", wantFour, nil},
		{"v2 empty TLVs", v2 + "\x21\x11\x00\x12" + four + "\x04\x00\x00\x04\x00\x00", wantFour, nil},
		{"v2 TLV too long", v2 + "\x21\x11\x00\x11" + four + "\xee\x00\x03ab", Header{}, ErrMalformed},
		{"v2 TLV cut off", v2 + "\x21\x11\x00\x0e" + four + "\xee\x00", Header{}, ErrMalformed},
		{"v2 addresses cut off", v2 + "\x21\x11\x00\x0b" + four[:11], Header{}, ErrMalformed},
		{"v2 IPv6 with room for IPv4", v2 + "\x21\x21\x00\x0c" + four, Header{}, ErrMalformed},
		{"v2 local", v2 + "\x20\x00\x00\x00", local, nil},
		{"v2 local with anything", v2 + "\x20\x11\x00\x03abc", local, nil},
		{"v2 unspecified", v2 + "\x21\x00\x00\x00", local, nil},
		{"v2 unix", v2 + "\x21\x31\x00\xd8" + strings.Repeat("/", 216), local, nil},
		{"v2 unix cut off", v2 + "\x21\x31\x00\xd7" + strings.Repeat("/", 215), Header{}, ErrMalformed},
		{"v2 datagram", v2 + "\x21\x12\x00\x0c" + four, Header{}, ErrMalformed},
		{"v2 unknown family", v2 + "\x21\x41\x00\x0c" + four, Header{}, ErrMalformed},
		{"v2 unknown command", v2 + "\x22\x11\x00\x0c" + four, Header{}, ErrMalformed},
		{"v2 version 3", v2 + "\x31\x11\x00\x0c" + four, Header{}, ErrMalformed},
		{"v2 longest", v2 + "\x20\x00\x07\xf0" + strings.Repeat("x", MaxV2-v2Fix), local, nil},
		{"v2 too long", v2 + "\x20\x00\x07\xf1", Header{}, ErrTooLong},
		{"v2 64 KiB", v2 + "\x20\x00\xff\xff", Header{}, ErrTooLong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, n, err := Parse([]byte(tc.in + ""))
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if err != nil {
				return
			}
			got.Version = 0
			if got != tc.want || n != len(tc.in) {
				t.Errorf("got %+v of %d bytes, want %+v of %d", got, n, tc.want, len(tc.in))
			}
			// What follows is not touched, and every beginning asks for the rest.
			if again, k, err := Parse([]byte(tc.in + "GET / HTTP/1.1\r\n")); err != nil || k != n || again.Source != tc.want.Source {
				t.Errorf("with a request behind it: %+v %d %v", again, k, err)
			}
			for i := range len(tc.in) {
				if _, _, err := Parse([]byte(tc.in[:i])); !errors.Is(err, ErrMore) {
					t.Fatalf("the first %d bytes: %v", i, err)
				}
			}
		})
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	mixed := addrs("10.0.0.1:1234", "[2001:db8::1]:443")
	for _, version := range []Version{V1, V2} {
		for _, h := range []Header{addrs("10.0.0.1:80", "10.0.0.2:0"), addrs("[2001:db8::1]:65535", "[::1]:443"), mixed, {Local: true}, {}} {
			h.Version = version
			b := h.Append(nil)
			got, n, err := Parse(b)
			want := h
			want.Local = !h.Source.IsValid()
			if err != nil || n != len(b) || got != want {
				t.Errorf("%+v became %q, which reads %+v, %d, %v", h, b, got, n, err)
			}
		}
	}
	if got := string(Header{Version: V1, Source: mixed.Source, Dest: mixed.Dest}.Append(nil)); got != "PROXY TCP6 ::ffff:10.0.0.1 2001:db8::1 1234 443\r\n" {
		t.Errorf("two families: %q", got)
	}
}

// What is read can be written and reads the same again; no input makes the parser ask for more than the bound.
func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 10.0.0.1 10.0.0.2 80 443\r\nGET"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2 + "\x21\x11\x00\x11\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x50\x01\xbb\xee\x00\x02ab"))
	f.Add([]byte(v2 + "\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		if err != nil {
			if errors.Is(err, ErrMore) && len(b) >= MaxV2 {
				t.Fatalf("asks for more than %d bytes", len(b))
			}
			return
		}
		if n <= 0 || n > len(b) || n > MaxV2 || h.Local == h.Source.IsValid() || h.Local == h.Dest.IsValid() {
			t.Fatalf("%+v of %d bytes from %q", h, n, b)
		}
		out := h.Append(nil)
		again, k, err := Parse(out)
		if err != nil || k != len(out) || again != h {
			t.Fatalf("%+v was written as %q and reads %+v, %v", h, out, again, err)
		}
		if h.Version == V1 && !h.Local && !bytes.HasPrefix(out, []byte("PROXY TCP")) {
			t.Fatalf("%q", out)
		}
	})
}
