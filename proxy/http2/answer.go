package http2

import (
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

// Answer is what HTTP/2 itself wants to know of the fields of an answer; everything else is judged by package http1 when it reads the head.
type Answer struct {
	Status        int
	ContentLength int64 // -1 = not given
	Trailers      bool  // fields are announced behind the body; gRPC always has some

	fields []hpack.HeaderField // without :status
}

// ReadAnswer reads the fields of an answer, an interim one included. An error says why it is malformed (RFC 9113 §8.1.1, §8.3.2); the stream is then reset.
func ReadAnswer(stream uint32, fields []hpack.HeaderField) (a Answer, err *Error) {
	a.ContentLength = -1
	if len(fields) == 0 || fields[0].Name != ":status" {
		return a, streamError(stream, ProtocolError, "status-missing")
	}
	if a.Status = readStatus(fields[0].Value); a.Status == 0 || a.Status == 101 {
		return a, streamError(stream, ProtocolError, "status")
	}
	a.fields = fields[1:]
	for i := range a.fields {
		if bad := a.readField(&a.fields[i]); bad != "" {
			return a, streamError(stream, ProtocolError, bad)
		}
	}
	return a, nil
}

// readStatus returns 0 for what is no status.
func readStatus(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || len(s) != 3 || n < 100 || n > 599 {
		return 0
	}
	return int(n)
}

func (a *Answer) readField(f *hpack.HeaderField) (bad string) {
	if bad := checkField(f); bad != "" {
		return bad
	}
	switch f.Name {
	case "te":
		return "hop-field"
	case "content-length":
		n, err := strconv.ParseUint(f.Value, 10, 63)
		if a.ContentLength >= 0 || err != nil || f.Value[0] == '+' {
			return "content-length"
		}
		a.ContentLength = int64(n)
	case "content-type":
		a.Trailers = a.Trailers || strings.HasPrefix(f.Value, "application/grpc")
	case "trailer":
		a.Trailers = true
	}
	return ""
}

// AppendHead appends the answer's head as that of an HTTP/1.1 message with the given framing. With FramingLength the length is that of the answer, or 0 when it gave
// none; with FramingNone a length is told as it is, since it then describes another message (an answer to HEAD).
func (a *Answer) AppendHead(dst []byte, framing http1.Framing) []byte {
	dst = http1.AppendStatusLine(dst, a.Status)
	for i := range a.fields {
		f := &a.fields[i]
		if f.Name == "content-length" && framing == http1.FramingChunked {
			continue
		}
		dst = http1.AppendFieldString(dst, f.Name, f.Value)
	}
	switch {
	case framing == http1.FramingChunked:
		dst = append(dst, "transfer-encoding: chunked\r\n"...)
	case framing == http1.FramingLength && a.ContentLength < 0:
		dst = append(dst, "content-length: 0\r\n"...)
	}
	return append(dst, '\r', '\n')
}

// AppendSwitching appends the head of an answer that agrees to an extended CONNECT for a WebSocket as that of an HTTP/1.1 message, which wants a proof that the key was read.
func (a *Answer) AppendSwitching(dst, accept []byte) []byte {
	dst = append(http1.AppendStatusLine(dst, 101), "connection: upgrade\r\nupgrade: websocket\r\n"...)
	for i := range a.fields {
		if f := &a.fields[i]; f.Name != "sec-websocket-accept" {
			dst = http1.AppendFieldString(dst, f.Name, f.Value)
		}
	}
	return append(http1.AppendField(dst, nameAccept, accept), '\r', '\n')
}

var nameAccept = []byte("sec-websocket-accept")
