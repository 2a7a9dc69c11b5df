package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// seeds adds the messages in testdata/seeds/<kind>-*.http, written with CRLF as they are on the wire.
func seeds(f *testing.F, kind string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "seeds", kind+"-*.http"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds for %s: %v", kind, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint16(len(data)/2))
	}
}

// fuzzLimits are small, so that the fuzzer reaches them.
var fuzzLimits = Limits{MaxHeadBytes: 1 << 10, MaxTargetBytes: 200, MaxFields: 12, MaxChunkExtBytes: 20, MaxTrailerBytes: 100}

// FuzzRequestHead checks that the way a head is cut into pieces changes nothing, whether or not the buffer moves, and
// that an accepted head means the same after it is written again.
func FuzzRequestHead(f *testing.F) {
	seeds(f, "request")
	for _, rule := range refusals {
		for _, raw := range slices.Concat(rule.attack, rule.twin) {
			if len(raw) < 500 {
				f.Add([]byte(raw), uint16(len(raw)/3))
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, cut uint16) {
		l := &fuzzLimits
		want := describe(parseWhole(string(raw), l))
		if got := describe(parsePieces(string(raw), l)); got != want {
			t.Fatalf("%q\nin pieces: %s\nat once:   %s", raw, got, want)
		}
		var r Request
		at := min(int(cut), len(raw))
		n, refusal := r.Parse(bytes.Clone(raw[:at]), l)
		if n == 0 && refusal == nil {
			n, refusal = r.Parse(raw, l)
		}
		if got := describe(&r, n, refusal); got != want {
			t.Fatalf("%q\nmoved at %d: %s\nat once:     %s", raw, at, got, want)
		}
		if n == 0 {
			return
		}
		if n > len(raw) || r.Framing == FramingUntilClose || r.Framing == FramingLength != (r.ContentLength >= 0) {
			t.Fatalf("%q: impossible result %s", raw, want)
		}
		again := AppendRequestLineOf(nil, &r)
		again[len(again)-3] = '0' + r.Minor
		for _, field := range r.Fields {
			again = AppendField(again, field.Name, field.Value)
		}
		again = append(again, "\r\n"...)
		r2, n2, refusal := parseWhole(string(again), nil)
		if n2 != len(again) || refusal != nil || !sameRequest(&r, r2) {
			t.Fatalf("%q\nwritten as %q\n%s\n%s", raw, again, want, describe(r2, n2, refusal))
		}
	})
}

// sameRequest compares what an upstream is told; the form of the target is ours to choose, and with it where an HTTP/1.0
// request without Host has its host from.
func sameRequest(a, b *Request) bool {
	x, y := *a, *b
	x.Target, y.Target = nil, nil
	if !x.Has(Host) {
		x.Host = nil
	}
	return describe(&x, 1, nil) == describe(&y, 1, nil)
}

func FuzzResponseHead(f *testing.F) {
	seeds(f, "response")
	f.Fuzz(func(t *testing.T, raw []byte, cut uint16) {
		l := &fuzzLimits
		for _, to := range []Method{MethodGet, MethodHead} {
			want := describeResponse(responseWhole(string(raw), to, l))
			if got := describeResponse(responsePieces(string(raw), to, l)); got != want {
				t.Fatalf("%q\nin pieces: %s\nat once:   %s", raw, got, want)
			}
			var r Response
			at := min(int(cut), len(raw))
			n, refusal := r.Parse(bytes.Clone(raw[:at]), to, l)
			if n == 0 && refusal == nil {
				n, refusal = r.Parse(raw, to, l)
			}
			if got := describeResponse(&r, n, refusal); got != want {
				t.Fatalf("%q\nmoved at %d: %s\nat once:     %s", raw, at, got, want)
			}
			if n == 0 {
				continue
			}
			if to == MethodHead && r.Framing != FramingNone || r.Framing == FramingUntilClose && r.KeepAlive {
				t.Fatalf("%q: impossible result %s", raw, want)
			}
			again := AppendStatusLineReason(nil, r.Status, r.Reason)
			for _, field := range r.Fields {
				again = AppendField(again, field.Name, field.Value)
			}
			again = append(again, "\r\n"...)
			r2, n2, refusal := responseWhole(string(again), to, nil)
			r.KeepAlive, r2.KeepAlive, r.Minor = false, false, 1
			if got, want := describeResponse(r2, 1, refusal), describeResponse(&r, 1, nil); n2 != len(again) || got != want {
				t.Fatalf("%q\nwritten as %q\n%s\n%s", raw, again, want, got)
			}
		}
	})
}

// FuzzChunked checks that pieces change nothing and that a decoded body, encoded again, decodes to the same.
func FuzzChunked(f *testing.F) {
	seeds(f, "chunked")
	f.Fuzz(func(t *testing.T, raw []byte, size uint16) {
		l := &fuzzLimits
		for _, side := range []Side{FromClient, FromUpstream} {
			want := decode(raw, len(raw)+1, FramingChunked, -1, side, l)
			for _, n := range []int{1, 1 + int(size)%64} {
				if got := decode(raw, n, FramingChunked, -1, side, l); got != want {
					t.Fatalf("%q\nin pieces of %d: %s\nat once: %s", raw, n, got, want)
				}
			}
			var b Body
			var again, data []byte
			b.Init(FramingChunked, -1, side, l)
			for rest := raw; !b.Done() && len(rest) > 0; {
				n, d, _, refusal := b.Next(rest)
				if refusal != nil {
					return
				}
				data = append(data, d...)
				again = AppendChunk(again, d)
				rest = rest[n:]
			}
			if !b.Done() {
				return
			}
			again = AppendLastChunk(again, b.Trailers)
			wrote := decode(again, len(again), FramingChunked, -1, side, nil)
			expect := fmt.Sprintf("data=%q used=%d done=true", data, len(again))
			for _, trailer := range b.Trailers {
				expect += fmt.Sprintf(" %q=%q", trailer.Name, trailer.Value)
			}
			if wrote != expect {
				t.Fatalf("%q\nencoded as %q\ngot  %s\nwant %s", raw, again, wrote, expect)
			}
		}
	})
}

// netRefusals are the reasons for which net/http may refuse a message that we accept. Each is a stricter opinion about
// something that we pass on unread or that is decided elsewhere; none is about where a message ends.
var netRefusals = []string{
	"invalid URL escape",            // percent-encoding is judged by route.Canonical
	"invalid character",             // in URLs it takes apart further than we do
	"invalid URI for request",       // likewise
	"first path segment",            // likewise, in "//x:y"
	"invalid port",                  // likewise
	"net/url:",                      // likewise
	"bad trailer key",               // the Trailer field announces, it does not decide: the trailer itself is checked
	"suspiciously long trailer",     // its buffer is smaller than our limit
	"too many",                      // chunk extensions beyond its own bound
	"chunked encoding contains too", // likewise
	"malformed MIME header",         // field values with bytes it dislikes
	"invalid Host",                  //
}

func isNetRefusal(err error) bool {
	return slices.ContainsFunc(netRefusals, func(reason string) bool { return strings.Contains(err.Error(), reason) })
}

// FuzzDifferentialRequest compares with net/http: a message that we accept whole must mean the same there.
func FuzzDifferentialRequest(f *testing.F) {
	seeds(f, "request")
	for _, rule := range refusals {
		for _, raw := range slices.Concat(rule.attack, rule.twin) {
			if len(raw) < 500 {
				f.Add([]byte(raw), uint16(0))
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, _ uint16) {
		r, n, refusal := parseWhole(string(raw), nil)
		if n == 0 || refusal != nil {
			return
		}
		body, rest, complete := bodyOf(raw[n:], r.Framing, r.ContentLength, FromClient)
		theirs := bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\r\n")))) // it does not tolerate the empty line
		req, err := http.ReadRequest(theirs)
		if err != nil {
			if !isNetRefusal(err) {
				t.Fatalf("%q accepted, net/http: %v", raw, err)
			}
			return
		}
		if req.Method != string(r.Method) || req.RequestURI != string(r.Target) || req.ProtoMinor != int(r.Minor) || !strings.EqualFold(req.Host, string(r.Host)) {
			t.Fatalf("%q\nours:   %s\ntheirs: %s %q %q 1.%d", raw, describe(r, n, nil), req.Method, req.RequestURI, req.Host, req.ProtoMinor)
		}
		if got, want := header(req.Header), fieldsOf(r.Fields, FromClient); got != want {
			t.Fatalf("%q\ntheirs: %s\nours:   %s", raw, got, want)
		}
		if req.Close != !r.KeepAlive && !(r.Minor == 0) {
			t.Fatalf("%q: keep-alive differs, theirs %v, ours %v", raw, !req.Close, r.KeepAlive)
		}
		compareBody(t, raw, req.Body, theirs, body, rest, complete)
	})
}

// FuzzDifferentialResponse is FuzzDifferentialRequest for answers, to GET and to HEAD.
func FuzzDifferentialResponse(f *testing.F) {
	seeds(f, "response")
	f.Fuzz(func(t *testing.T, raw []byte, _ uint16) {
		for _, to := range []Method{MethodGet, MethodHead} {
			r, n, refusal := responseWhole(string(raw), to, nil)
			if n == 0 || refusal != nil {
				return
			}
			body, rest, complete := bodyOf(raw[n:], r.Framing, r.ContentLength, FromUpstream)
			theirs := bufio.NewReader(bytes.NewReader(raw))
			resp, err := http.ReadResponse(theirs, &http.Request{Method: to.String()})
			if err != nil {
				if !isNetRefusal(err) {
					t.Fatalf("%q accepted, net/http: %v", raw, err)
				}
				return
			}
			if resp.StatusCode != r.Status || resp.ProtoMinor != int(r.Minor) {
				t.Fatalf("%q\nours:   %s\ntheirs: %d 1.%d", raw, describeResponse(r, n, nil), resp.StatusCode, resp.ProtoMinor)
			}
			resp.Header.Del("Connection")
			if got, want := header(resp.Header), fieldsOf(r.Fields, FromUpstream); got != want {
				t.Fatalf("%q\ntheirs: %s\nours:   %s", raw, got, want)
			}
			compareBody(t, raw, resp.Body, theirs, body, rest, complete)
		}
	})
}

// bodyOf decodes what follows a head as a driver does when the peer then closes.
func bodyOf(src []byte, f Framing, length int64, side Side) (body, rest []byte, complete bool) {
	var b Body
	b.Init(f, length, side, nil)
	for rest = src; !b.Done() && len(rest) > 0; {
		n, data, _, refusal := b.Next(rest)
		if refusal != nil {
			return body, rest, false
		}
		body = append(body, data...)
		rest = rest[n:]
	}
	return body, rest, b.Close() == nil
}

func compareBody(t *testing.T, raw []byte, theirs io.Reader, connection *bufio.Reader, body, rest []byte, complete bool) {
	t.Helper()
	if !complete {
		return // we end the connection; what came before was a prefix
	}
	got, err := io.ReadAll(theirs)
	if err != nil {
		if !isNetRefusal(err) {
			t.Fatalf("%q: body accepted, net/http: %v", raw, err)
		}
		return
	}
	if !bytes.Equal(got, body) {
		t.Fatalf("%q\ntheir body: %q\nour body:   %q", raw, got, body)
	}
	if left, _ := io.ReadAll(connection); !bytes.Equal(left, rest) {
		t.Fatalf("%q\nthey leave: %q\nwe leave:   %q", raw, left, rest)
	}
}

// header writes a net/http header in one line, without what it moves elsewhere or makes up.
func header(h http.Header) string {
	var lines []string
	for name, values := range h {
		for _, v := range values {
			lines = append(lines, fmt.Sprintf("%q=%q", name, v))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

// fieldsOf writes our fields as header does. net/http takes Host, Transfer-Encoding and Trailer out of the header, and
// from answers "Connection: close", and turns "Pragma: no-cache" into Cache-Control.
func fieldsOf(fields []Field, side Side) string {
	h := http.Header{}
	for _, f := range fields {
		h.Add(string(f.Name), string(f.Value))
	}
	if side == FromClient {
		h.Del("Host")
	} else {
		h.Del("Connection")
	}
	chunked := len(h["Transfer-Encoding"]) > 0
	h.Del("Transfer-Encoding")
	if chunked {
		h.Del("Trailer")
	}
	if pragma := h["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && len(h["Cache-Control"]) == 0 {
		h.Set("Cache-Control", "no-cache")
	}
	return header(h)
}
