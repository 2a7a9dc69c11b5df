package route

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		raw, want string
		err       error
	}{
		{raw: "/", want: "/"},
		{raw: "*", want: "*"},
		{raw: "/a/b", want: "/a/b"},
		{raw: "/a/b/", want: "/a/b/"},
		{raw: "//a///b//", want: "/a/b/"},
		{raw: "/%61%2D%7e%5F", want: "/a-~_"},
		{raw: "/a%2fb", want: "/a%2Fb"},
		{raw: "/a%252fb", want: "/a%252fb"},
		{raw: "/a%21%40%7B", want: "/a!@{"},
		{raw: "/a%20b%22%3f%23", want: "/a%20b%22%3F%23"},
		{raw: "/a b", want: "/a%20b"},
		{raw: "/é", want: "/%C3%A9"},
		{raw: "/%c3%a9", want: "/%C3%A9"},
		{raw: "/./a/.", want: "/a/"},
		{raw: "/a/../b", want: "/b"},
		{raw: "/a/b/..", want: "/a/"},
		{raw: "/a/b/../..", want: "/"},
		{raw: "/a/%2e%2e/b", want: "/b"},
		{raw: "/a/%2E./b/%2e", want: "/b/"},
		{raw: "/a//../b", want: "/b"},
		{raw: "/.well-known/x", want: "/.well-known/x"},
		{raw: "/...", want: "/..."},
		{raw: "/a..b/..c", want: "/a..b/..c"},
		{raw: "/a;v=1/b", want: "/a;v=1/b"},
		{raw: "/a%2Fb.c", want: "/a%2Fb.c"},
		{raw: "/a%5cb", want: "/a%5Cb"},
		{raw: `/a\b`, want: "/a%5Cb"},

		{raw: "", err: ErrPathForm},
		{raw: "a/b", err: ErrPathForm},
		{raw: "**", err: ErrPathForm},
		{raw: "/..", err: ErrPathAboveRoot},
		{raw: "/a/../../b", err: ErrPathAboveRoot},
		{raw: "/%2e%2e/b", err: ErrPathAboveRoot},
		{raw: "/%", err: ErrPathEscape},
		{raw: "/%4", err: ErrPathEscape},
		{raw: "/%4g", err: ErrPathEscape},
		{raw: "/%u0041", err: ErrPathEscape},
		{raw: "/a%00b", err: ErrPathControl},
		{raw: "/a%0d%0ab", err: ErrPathControl},
		{raw: "/a%7f", err: ErrPathControl},
		{raw: "/a\x00b", err: ErrPathControl},
		{raw: "/a%2f..%2fb", err: ErrPathAmbiguous},
		{raw: "/..%2fb", err: ErrPathAmbiguous},
		{raw: "/a/..%5cb", err: ErrPathAmbiguous},
		{raw: `/a/..\b`, err: ErrPathAmbiguous},
		{raw: "/a%2f.", err: ErrPathAmbiguous},
		{raw: "/..;/b", err: ErrPathAmbiguous},
		{raw: "/a/.;x=1/b", err: ErrPathAmbiguous},
		{raw: "/a/%2e%2e;x/b", err: ErrPathAmbiguous},
		{raw: "/a;x%2f..;y", err: ErrPathAmbiguous},
		{raw: "/%c0%af", err: ErrPathOverlong},
		{raw: "/%e0%80%af", err: ErrPathOverlong},
		{raw: "/%c0%2e%c0%ae", err: ErrPathOverlong},
		{raw: "/%f0%80%80%af", err: ErrPathOverlong},
	} {
		got, err := Canonical(make([]byte, 3), []byte(tt.raw))
		if !errors.Is(err, tt.err) || string(got) != tt.want {
			t.Errorf("Canonical(%q) = %q, %v; want %q, %v", tt.raw, got, err, tt.want, tt.err)
		}
	}
}

func TestCanonicalDoesNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 128)
	for _, raw := range []string{"/a/b/c", "/a//b/../%41%2f"} {
		path := []byte(raw)
		if n := testing.AllocsPerRun(100, func() { _, _ = Canonical(dst, path) }); n != 0 {
			t.Errorf("Canonical(%q) allocates %v times", raw, n)
		}
	}
}

// FuzzCanonical checks the properties routing relies on: the result is absolute, has no dot or empty segment left, spells
// each byte in one way, does not change when brought to canonical form again, and does not depend on dst.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{
		"/", "*", "/a/b/", "/a//b", "/%2e%2e/", "/a/%2E/b", "/a%2fb", "/..%2f", "/a/..;x", "/%c0%af", "/é", "/a%252e", "/a/./../b/.", `/\..`, "/%25%32%65",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		input := bytes.Clone(raw)
		path, err := Canonical(nil, raw)
		if !bytes.Equal(raw, input) {
			t.Fatalf("Canonical changed its input %q to %q", input, raw)
		}
		if err != nil {
			return
		}
		if again, err := Canonical(make([]byte, 0, 4), path); err != nil || !bytes.Equal(again, path) {
			t.Fatalf("Canonical(%q) = %q, then %q, %v", raw, path, again, err)
		}
		if string(path) == "*" {
			return
		}
		if len(path) == 0 || path[0] != '/' {
			t.Fatalf("Canonical(%q) = %q is not absolute", raw, path)
		}
		for i, segment := range strings.Split(string(path[1:]), "/") {
			last := i == strings.Count(string(path[1:]), "/")
			if segment == "." || segment == ".." || segment == "" && !last {
				t.Fatalf("Canonical(%q) = %q keeps segment %q", raw, path, segment)
			}
			lower := strings.ToLower(strings.NewReplacer("%2F", "/", "%5C", "/").Replace(segment))
			for _, part := range strings.Split(lower, "/") {
				if name, _, _ := strings.Cut(part, ";"); name == ".." || name == "." {
					t.Fatalf("Canonical(%q) = %q hides dots in %q", raw, path, segment)
				}
			}
		}
		for i, c := range path {
			if c < 0x21 || c > 0x7e || c == '%' && pathBytes[decoded(path[i:])] == byteRaw && decoded(path[i:]) != '/' {
				t.Fatalf("Canonical(%q) = %q is not canonical at %d", raw, path, i)
			}
		}
	})
}

func decoded(escape []byte) byte {
	high, _ := hexDigit(escape[1])
	low, _ := hexDigit(escape[2])
	return high<<4 | low
}
