package http1

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// decode feeds src in pieces of at most size bytes and reports everything there is to know.
func decode(src []byte, size int, f Framing, length int64, side Side, l *Limits) string {
	var b Body
	b.Init(f, length, side, l)
	var data []byte
	used := 0
	for !b.Done() && used < len(src) {
		piece := src[used:min(used+size, len(src))]
		n, d, done, refusal := b.Next(piece)
		if refusal != nil {
			return fmt.Sprintf("data=%q refusal=%v", data, refusal)
		}
		data = append(data, d...)
		used += n
		if done != b.Done() {
			return "Next and Done disagree"
		}
		if n == 0 && !done {
			return "no progress"
		}
	}
	s := fmt.Sprintf("data=%q used=%d done=%v", data, used, b.Done())
	for _, t := range b.Trailers {
		s += fmt.Sprintf(" %q=%q", t.Name, t.Value)
	}
	return s
}

func TestChunked(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	for _, tt := range []struct{ raw, want string }{
		{"5\r\nhello\r\n0\r\n\r\nrest", `data="hello" used=15 done=true`},
		{"0\r\n\r\n", `data="" used=5 done=true`},
		{"a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n", `data="01234567890123456789" used=36 done=true`},
		{"0000000000000005\r\nhello\r\n0\r\n\r\n", `data="hello" used=30 done=true`},
		{"5;a;b=c;d=\"e;\\\"\r\";f\r\nhello\r\n0\r\n\r\n", `data="" refusal=cannot accept message: chunk_extension_invalid`},
		{"5;a;b=c;d=\"e ;\\\"\t\";f\r\nhello\r\n0;x\r\n\r\n", `data="hello" used=36 done=true`},
		{"5\r\nhello\r\n0\r\nX-Sum: 1 \r\ny:2\r\n\r\nrest", `data="hello" used=31 done=true "X-Sum"="1" "y"="2"`},
		{"5\r\nhel", `data="hel" used=6 done=false`},
		{"5\r\nhello\r\n0\r\n", `data="hello" used=13 done=false`},

		{"\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"x\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"0x5\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"+5\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"-5\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{" 5\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"5 \r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"5\t\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"5,5\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"5.0\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"5_0\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"00000000000000005\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"8000000000000000\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"10000000000000005\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"5\nhello", `data="" refusal=cannot accept message: bare_lf`},
		{"5\rhello", `data="" refusal=cannot accept message: bare_cr`},
		{";a\r\n", `data="" refusal=cannot accept message: chunk_size_invalid`},
		{"5;\r\n", `data="" refusal=cannot accept message: chunk_extension_invalid`},
		{"5;;a\r\n", `data="" refusal=cannot accept message: chunk_extension_invalid`},
		{"5; a\r\n", `data="" refusal=cannot accept message: chunk_extension_invalid`},
		{"5;a =b\r\n", `data="" refusal=cannot accept message: chunk_extension_invalid`},
		{"5;a=\r\n", `data="" refusal=cannot accept message: chunk_extension_invalid`},
		{"5;a=b=c\r\n", `data="" refusal=cannot accept message: chunk_extension_invalid`},
		{"5;=b\r\n", `data="" refusal=cannot accept message: chunk_extension_invalid`},
		{"5;a=\"b\"c\r\n", `data="" refusal=cannot accept message: chunk_extension_invalid`},
		{"5;a=\"b\x00\"\r\n", `data="" refusal=cannot accept message: chunk_extension_invalid`},
		{"5;a=\"b\n\"\r\n", `data="" refusal=cannot accept message: bare_lf`},
		{"5;a\nhello", `data="" refusal=cannot accept message: bare_lf`},
		{"5;a\rhello", `data="" refusal=cannot accept message: bare_cr`},
		{"5;" + long + "\r\n", `data="" refusal=cannot accept message: chunk_extension_too_large`},
		{"5\r\nhello0\r\n\r\n", `data="hello" refusal=cannot accept message: chunk_end_missing`},
		{"5\r\nhello!\r\n0\r\n\r\n", `data="hello" refusal=cannot accept message: chunk_end_missing`},
		{"5\r\nhello\n0\r\n\r\n", `data="hello" refusal=cannot accept message: chunk_end_missing`},
		{"5\r\nhello\rX", `data="hello" refusal=cannot accept message: chunk_end_missing`},
		{"5\r\nhell\r\n0\r\n\r\n", `data="hell\r" refusal=cannot accept message: chunk_end_missing`},
		{"0\r\nContent-Length: 5\r\n\r\n", `data="" refusal=cannot accept message: trailer_field_forbidden`},
		{"0\r\ntransfer-encoding: chunked\r\n\r\n", `data="" refusal=cannot accept message: trailer_field_forbidden`},
		{"0\r\nHOST: a\r\n\r\n", `data="" refusal=cannot accept message: trailer_field_forbidden`},
		{"0\r\nAuthorization: a\r\n\r\n", `data="" refusal=cannot accept message: trailer_field_forbidden`},
		{"0\r\nX-Forwarded-For: a\r\n\r\n", `data="" refusal=cannot accept message: trailer_field_forbidden`},
		{"0\r\nConnection: close\r\n\r\n", `data="" refusal=cannot accept message: trailer_field_forbidden`},
		{"0\r\nX_Y: a\r\nHost : a\r\n\r\n", `data="" refusal=cannot accept message: space_before_colon`},
		{"0\r\nX: a\r\n b\r\n\r\n", `data="" refusal=cannot accept message: obsolete_line_folding`},
		{"0\r\nX: a\n\r\n", `data="" refusal=cannot accept message: bare_lf`},
		{"0\r\nX: a\r\n\n", `data="" refusal=cannot accept message: bare_lf`},
		{"0\r\nX: a\x00\r\n\r\n", `data="" refusal=cannot accept message: control_byte`},
		{"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", `data="" refusal=cannot accept message: space_before_colon`},
		{"0\r\n\nX", `data="" refusal=cannot accept message: bare_lf`},
		{"0\r\nContent_Length: 1\r\n\r\n", `data="" refusal=cannot accept message: field_name_alias`},
		{"0\r\nX: " + strings.Repeat("a", 5000) + "\r\n\r\n", `data="" refusal=cannot accept message: trailers_too_large`},
		{"0\r\nX: " + strings.Repeat("a", 5000), `data="" refusal=cannot accept message: trailers_too_large`},
		{"0\r\n" + strings.Repeat("X:\r\n", 101) + "\r\n", `data="" refusal=cannot accept message: too_many_fields`},
	} {
		for _, size := range []int{1, 2, 3, 7, 1 << 20} {
			if got := decode([]byte(tt.raw), size, FramingChunked, -1, FromClient, nil); got != tt.want {
				t.Errorf("%.60q in pieces of %d:\ngot  %s\nwant %s", tt.raw, size, got, tt.want)
			}
		}
	}
}

func TestChunkedFromUpstream(t *testing.T) {
	t.Parallel()
	if got, want := decode([]byte("0x5\r\n"), 9, FramingChunked, -1, FromUpstream, nil), `data="" refusal=cannot accept message: upstream_chunk_size_invalid`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestChunkOverhead checks that tiny chunks with extensions end, and that a reasonable share of extensions does not.
func TestChunkOverhead(t *testing.T) {
	t.Parallel()
	wasteful := []byte(strings.Repeat("1;"+strings.Repeat("e", 200)+"\r\nx\r\n", 200) + "0\r\n\r\n")
	if got := decode(wasteful, 1<<20, FramingChunked, -1, FromClient, nil); !strings.HasSuffix(got, "chunk_extension_too_large") {
		t.Errorf("a body of extensions was accepted: %.80s", got)
	}
	signed := []byte(strings.Repeat("400;chunk-signature="+strings.Repeat("a", 64)+"\r\n"+strings.Repeat("x", 1024)+"\r\n", 2000) + "0\r\n\r\n")
	if got := decode(signed, 1<<16, FramingChunked, -1, FromClient, nil); !strings.HasSuffix(got, "done=true") {
		t.Errorf("a body of signed chunks was refused: %.80s", got[len(got)-80:])
	}
}

func TestBodyWithLength(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 3, 100} {
		if got, want := decode([]byte("hello rest"), size, FramingLength, 5, FromClient, nil), `data="hello" used=5 done=true`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := decode([]byte("hel"), size, FramingLength, 5, FromClient, nil), `data="hel" used=3 done=false`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, f := range []Framing{FramingLength, FramingNone} {
		if got, want := decode([]byte("rest"), 9, f, 0, FromClient, nil), `data="" used=0 done=true`; got != want {
			t.Errorf("%v: got %s, want %s", f, got, want)
		}
	}
}

func TestBodyClose(t *testing.T) {
	t.Parallel()
	var b Body
	b.Init(FramingUntilClose, -1, FromUpstream, nil)
	if n, data, done, refusal := b.Next([]byte("abc")); n != 3 || string(data) != "abc" || done || refusal != nil {
		t.Error(n, data, done, refusal)
	}
	if refusal := b.Close(); refusal != nil || !b.Done() {
		t.Error("a body until close did not end at the close:", refusal)
	}
	b.Init(FramingLength, 5, FromUpstream, nil)
	b.Next([]byte("abc"))
	if got := b.Remaining(); got != 2 {
		t.Errorf("Remaining = %d, want 2", got)
	}
	if refusal := b.Close(); refusal == nil || refusal.Code != "upstream_body_truncated" {
		t.Error("truncation not reported:", refusal)
	}
	if _, _, _, refusal := b.Next([]byte("de")); refusal == nil {
		t.Error("a refused body went on")
	}
	b.Init(FramingChunked, -1, FromClient, nil)
	b.Next([]byte("5\r\nhello\r\n0\r\n"))
	if refusal := b.Close(); refusal == nil || refusal.Code != "body_truncated" {
		t.Error("truncation not reported:", refusal)
	}
	b.Init(FramingLength, 0, FromClient, nil)
	if refusal := b.Close(); refusal != nil {
		t.Error("an ended body was called truncated:", refusal)
	}
}

func TestEncoders(t *testing.T) {
	t.Parallel()
	r, _, refusal := parseWhole(headOf("GET http://h/a?b HTTP/1.1", "Host: h", "Connection: close, X-Hop", "X-Hop: 1", "Accept:  */*"), nil)
	if refusal != nil {
		t.Fatal(refusal)
	}
	var dst []byte
	dst = AppendRequestLineOf(dst, r)
	dst = AppendEndToEnd(dst, r.Fields)
	dst = AppendRequestLine(dst, []byte("PUT"), []byte("/x"))
	dst = AppendFieldString(dst, "A", "b")
	dst = AppendFieldInt(dst, "Content-Length", 42)
	dst = AppendStatusLine(dst, 200)
	dst = AppendStatusLine(dst, 404)
	dst = AppendStatusLine(dst, 299)
	dst = AppendStatusLineReason(dst, 503, []byte("Go Away"))
	dst = AppendChunk(dst, nil)
	dst = AppendChunk(dst, bytes.Repeat([]byte("x"), 26))
	dst = AppendLastChunk(dst, []Field{{Name: []byte("T"), Value: []byte("1")}, {Name: []byte("U"), Hop: true}})
	want := "GET /a?b HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nPUT /x HTTP/1.1\r\nA: b\r\nContent-Length: 42\r\n" +
		"HTTP/1.1 200 OK\r\nHTTP/1.1 404 Not Found\r\nHTTP/1.1 299 \r\nHTTP/1.1 503 Go Away\r\n" +
		"1a\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n0\r\nT: 1\r\n\r\n"
	if string(dst) != want {
		t.Errorf("got  %q\nwant %q", dst, want)
	}
}

// TestStatusText compares the table with the standard library's; phrases that RFC 9110 renamed are listed.
func TestStatusText(t *testing.T) {
	t.Parallel()
	renamed := map[int]string{413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}
	for status := 100; status < 600; status++ {
		want := http.StatusText(status)
		if name, found := renamed[status]; found {
			want = name
		}
		if got := StatusText(status); got != want {
			t.Errorf("StatusText(%d) = %q, want %q", status, got, want)
		}
	}
	for _, status := range []int{-1, 0, 99, 600} {
		if got := StatusText(status); got != "" {
			t.Errorf("StatusText(%d) = %q", status, got)
		}
	}
}

func TestFieldTable(t *testing.T) {
	t.Parallel()
	for id := Unknown + 1; id < fieldCount; id++ {
		for _, name := range []string{fieldNames[id], strings.ToUpper(fieldNames[id]), http.CanonicalHeaderKey(fieldNames[id])} {
			if got := LookupField([]byte(name)); got != id {
				t.Errorf("LookupField(%q) = %d %v, want %d", name, got, got, id)
			}
		}
		for i := range fieldNames[id] {
			for c := range 256 {
				name := []byte(fieldNames[id])
				if lower(byte(c)) == name[i] {
					continue
				}
				name[i] = byte(c)
				if got := LookupField(name); got == id {
					t.Errorf("LookupField(%q) = %v", name, got)
				}
			}
		}
	}
	if fieldCount > 64 {
		t.Errorf("%d field ids do not fit the bit sets", fieldCount)
	}
}

// TestScanValue compares the eight-bytes-at-once scan with the definition, for every byte at every place.
func TestScanValue(t *testing.T) {
	t.Parallel()
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				b := bytes.Repeat([]byte{'a'}, length)
				b[at] = byte(c)
				want := length
				if c < 0x20 && c != '\t' || c == 0x7f {
					want = at
				}
				if got := scanValue(b, 0); got != want {
					t.Fatalf("scanValue(%q) = %d, want %d", b, got, want)
				}
				if ValidFieldValue(b) != (want == length) {
					t.Fatalf("ValidFieldValue(%q) is wrong", b)
				}
			}
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	for m := MethodGet; m < MethodCount; m++ {
		if got := LookupMethod([]byte(m.String())); got != m {
			t.Errorf("LookupMethod(%q) = %v", m.String(), got)
		}
	}
	if got := LookupMethod([]byte("OTHER")); got != MethodOther || MethodOther.IsIdempotent() || MethodPost.IsIdempotent() || !MethodPut.IsIdempotent() {
		t.Errorf("LookupMethod(OTHER) = %v, or idempotence is wrong", got)
	}
}

func TestRefusalsAreNamed(t *testing.T) {
	t.Parallel()
	for _, side := range []Side{FromClient, FromUpstream} {
		seen := map[string]bool{}
		for _, r := range Refusals(side) {
			if seen[r.Code] || r.Status < 400 || !r.Close {
				t.Errorf("refusal %+v is doubled or incomplete", r)
			}
			if strings.HasPrefix(r.Code, "upstream_") != (side == FromUpstream) || strings.HasSuffix(r.Code, "_") {
				t.Errorf("refusal %+v has the wrong name", r)
			}
			seen[r.Code] = true
		}
		if len(seen) < 35 {
			t.Errorf("only %d refusals", len(seen))
		}
	}
}
