package websocket

import (
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/http1"
)

const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ==" // RFC 6455 §1.3
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func fields(lines ...string) (out []http1.Field) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		out = append(out, http1.Field{Name: []byte(name), Value: []byte(value), ID: http1.LookupField([]byte(name))})
	}
	return out
}

func TestAcceptVector(t *testing.T) {
	if got := string(AppendAccept(nil, []byte(sampleKey))); got != sampleAccept {
		t.Error(got)
	}
}

func TestCheckRequest(t *testing.T) {
	const key, version = "Sec-WebSocket-Key: " + sampleKey, "Sec-WebSocket-Version: 13"
	const protocol, extensions = "Sec-WebSocket-Protocol: ", "Sec-WebSocket-Extensions: "
	for _, c := range []struct {
		lines []string
		want  *Refusal
	}{
		{[]string{key, version}, nil},
		{[]string{version}, ErrKey},
		{[]string{version, key, key}, ErrKey},
		{[]string{version, "Sec-WebSocket-Key: abc"}, ErrKey},
		{[]string{version, "Sec-WebSocket-Key: "}, ErrKey},
		{[]string{version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWE="}, ErrKey}, // 17 bytes
		{[]string{version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="}, ErrKey}, // bits behind the end
		{[]string{version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q=="}, ErrKey},
		{[]string{key}, ErrVersion},
		{[]string{key, "Sec-WebSocket-Version: 8"}, ErrVersion},
		{[]string{key, "Sec-WebSocket-Version: 13, 8"}, ErrVersion},
		{[]string{key, version, version}, ErrVersion},
		{[]string{key, version, protocol + "chat, v2.example"}, nil},
		{[]string{key, version, protocol + "chat", protocol + "more"}, nil},
		{[]string{key, version, protocol + "chat room"}, ErrProtocols},
		{[]string{key, version, protocol + ","}, ErrProtocols},
		{[]string{key, version, protocol + "a/b"}, ErrProtocols},
		{[]string{key, version, extensions + `permessage-deflate; client_max_window_bits, x; a="b" ; c=d`}, nil},
		{[]string{key, version, extensions + "x,,y"}, nil},
		{[]string{key, version, extensions + "x;"}, ErrExtensions},
		{[]string{key, version, extensions + "x; a="}, ErrExtensions},
		{[]string{key, version, extensions + `x; a="b`}, ErrExtensions},
		{[]string{key, version, extensions + `x; a="b,c"`}, ErrExtensions},
	} {
		if got := CheckRequest(fields(c.lines...)); got != c.want {
			t.Errorf("%q: %v, want %v", c.lines, got, c.want)
		}
	}
}

func TestCheckAnswer(t *testing.T) {
	asked := fields("Sec-WebSocket-Key: "+sampleKey, "Sec-WebSocket-Protocol: chat, v2", "Sec-WebSocket-Extensions: x-one; a=1, permessage-deflate")
	const accept = "Sec-WebSocket-Accept: " + sampleAccept
	const protocol, extensions = "Sec-WebSocket-Protocol: ", "Sec-WebSocket-Extensions: "
	for _, c := range []struct {
		lines []string
		want  *Refusal
	}{
		{[]string{accept}, nil},
		{nil, ErrAccept},
		{[]string{accept, accept}, ErrAccept},
		{[]string{"Sec-WebSocket-Accept: x"}, ErrAccept},
		{[]string{"Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, ErrAccept},
		{[]string{accept, protocol + "v2"}, nil},
		{[]string{accept, protocol + "V2"}, ErrAnsweredProto},
		{[]string{accept, protocol + "chat, v2"}, ErrAnsweredProto},
		{[]string{accept, protocol + "chat", protocol + "v2"}, ErrAnsweredProto},
		{[]string{accept, extensions + "permessage-deflate; server_no_context_takeover"}, nil},
		{[]string{accept, extensions + "x-two"}, ErrAnsweredExtends},
		{[]string{accept, extensions + "x-one, x-two"}, ErrAnsweredExtends},
		{[]string{accept, extensions + "x-one; ="}, ErrAnsweredExtends},
	} {
		if got := CheckAnswer(asked, fields(c.lines...)); got != c.want {
			t.Errorf("%q: %v, want %v", c.lines, got, c.want)
		}
	}
	bare := fields("Sec-WebSocket-Key: " + sampleKey)
	if got := CheckAnswer(bare, fields(accept, extensions+"permessage-deflate")); got != ErrAnsweredExtends {
		t.Error("nobody offered it:", got)
	}
	if got := CheckAnswer(nil, fields(accept)); got != ErrAccept {
		t.Error("no key was sent:", got)
	}
}

// Lists come from strangers: whatever they are, the scanner ends, and what it accepts it accepts again when written plainly.
func FuzzLists(f *testing.F) {
	for _, s := range []string{"", "a", "a, b;c=d", `x; a="b"; c , ,y`, `x; a="`, ",;=\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		var names []string
		if !eachExtension(list, func(name []byte) bool { names = append(names, string(name)); return true }) {
			return
		}
		n := 0
		if !eachProtocol([]byte(strings.Join(names, ", ")), func(name []byte) bool { n++; return string(name) == names[n-1] }) || n != len(names) || n == 0 {
			t.Errorf("%q: %q", list, names)
		}
	})
}
