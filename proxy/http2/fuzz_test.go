package http2

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// FuzzFrame reads frames and compares with another reader: what both accept must be the same frame.
func FuzzFrame(f *testing.F) {
	f.Add(AppendData(AppendSettings(nil, Setting{InitialWindowSize, 1}), 1, []byte("abc"), true))
	f.Add(AppendHeaders(AppendWindowUpdate(nil, 0, 5), 3, []byte{0x82}, false))
	f.Add(append(AppendHeader(nil, Headers, FlagPadded|FlagPriority, 1, 8), 1, 0, 0, 0, 0, 1, 0x82, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		other := http2.NewFramer(nil, bytes.NewReader(b))
		other.SetMaxReadFrameSize(MaxFrame)
		other.AllowIllegalReads = true
		for {
			var fr Frame
			n, err := ParseFrame(b, &fr)
			if n == 0 || err != nil {
				return
			}
			theirs, theirErr := other.ReadFrame()
			if theirErr != nil {
				return
			}
			h := theirs.Header()
			if uint8(h.Type) != uint8(fr.Type) || uint8(h.Flags) != fr.Flags || h.StreamID != fr.Stream || int(h.Length) != fr.Length {
				t.Fatalf("%+v, they %+v", fr, h)
			}
			switch x := theirs.(type) {
			case *http2.DataFrame:
				if !bytes.Equal(x.Data(), fr.Payload) {
					t.Fatalf("data %q, they %q", fr.Payload, x.Data())
				}
			case *http2.HeadersFrame:
				if !bytes.Equal(x.HeaderBlockFragment(), fr.Payload) {
					t.Fatalf("block %q, they %q", fr.Payload, x.HeaderBlockFragment())
				}
			case *http2.WindowUpdateFrame:
				if x.Increment != fr.Increment {
					t.Fatal(x.Increment, fr.Increment)
				}
			}
			b = b[n:]
		}
	})
}

// FuzzRequest unpacks a header block. What is accepted must be one HTTP/1.1 head to our own parser, or be refused by it, and never more than one message.
func FuzzRequest(f *testing.F) {
	pack := func(fields ...string) []byte {
		var buf bytes.Buffer
		e := hpack.NewEncoder(&buf)
		for i := 0; i < len(fields); i += 2 {
			e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return buf.Bytes()
	}
	f.Add(pack(":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", "/", "cookie", "a=b", "accept", "*/*"), true)
	f.Add(pack(":method", "POST", ":scheme", "http", ":authority", "a.test", ":path", "/x?y", "content-length", "3", "te", "trailers"), false)
	f.Add(pack(":method", "GET /evil HTTP/1.1\r\n\r\n", ":scheme", "http", ":authority", "a", ":path", "/"), true)
	f.Add(pack(":method", "CONNECT", ":authority", "a:1"), false)
	f.Add(pack(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a:1", ":path", "/ws"), false)
	f.Fuzz(func(t *testing.T, b []byte, end bool) {
		d := NewDecoder(8<<10, 50)
		for len(b) > 0 {
			n := min(len(b), 1000)
			if d.Write(b[:n]) != nil {
				return
			}
			b = b[n:]
		}
		fields, tooLarge, err := d.End()
		if err != nil || tooLarge {
			return
		}
		r, err := ReadRequest(1, fields)
		if err != nil {
			return
		}
		head := r.AppendHead(nil, end)
		if r.IsWebSocket() {
			if head = append(head, "\r\n"...); r.Method != "CONNECT" {
				t.Fatalf("%s became a WebSocket", r.Method)
			}
			r.Method, r.ContentLength = "GET", 0
		}
		var req http1.Request
		n, refusal := req.Parse(head, &http1.Limits{MaxHeadBytes: 64 << 10, MaxTargetBytes: 64 << 10})
		if refusal != nil {
			return
		}
		if n != len(head) {
			t.Fatalf("%q is a head of %d bytes", head, n)
		}
		if string(req.Method) != r.Method || !bytes.Equal(req.Target, []byte(r.Path)) || string(req.Host) != r.Authority {
			t.Fatalf("%q was read as %s %s %s", head, req.Method, req.Target, req.Host)
		}
		if chunked := req.Framing == http1.FramingChunked; chunked != (!end && r.ContentLength < 0) {
			t.Fatalf("%q: framing %v", head, req.Framing)
		}
	})
}
