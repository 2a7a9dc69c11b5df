package conformance

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/protocol"
)

// brokenPeers sends what no proxy may; each loses its connection, and an innocent peer is served all the same.
func brokenPeers() []Check {
	var all []Check
	for _, a := range attacks {
		all = append(all, Check{Name: "broken: " + a.name, Section: a.section, About: "costs the proxy that sends it the connection, and nobody else anything", run: func(v *visit) {
			innocent, _ := v.open(protocol.MsgPack, protocol.JSON)
			c := v.dial()
			switch a.after {
			case "json":
				c.Handshake(Hello())
			case "msgpack":
				if c.Handshake(Hello(protocol.MsgPack)); c.Encoding != protocol.MsgPack {
					return // the agent speaks JSON only
				}
			}
			c.SendBytes(a.bytes())
			c.MustClose()
			v.decided(innocent.Ask(Request("innocent")), "innocent", "innocent peer")
		}})
	}
	return all
}

// attack is bytes that break a rule, sent first of all or after a handshake that chose an encoding.
type attack struct {
	name, section, after string
	bytes                func() []byte
}

func raw(b ...byte) func() []byte { return func() []byte { return b } }

func framed(t protocol.FrameType, payload string) func() []byte {
	return func() []byte {
		n := len(payload) + 1
		return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), byte(t)}, payload...)
	}
}

// request is a head in JSON with one key of another type or value.
func request(key, value string) func() []byte {
	fields := map[string]string{"correlation_id": `"x"`, "method": `"GET"`, "uri": `"/"`, "headers": `{"host":["x"]}`,
		"metadata": `{"correlation_id":"x","request_id":"r","client_ip":"10.0.0.9","client_port":1,"protocol":"HTTP/1.1","timestamp":"2026-01-01T00:00:00Z"}`}
	fields[key] = value
	var parts []string
	for k, v := range fields {
		parts = append(parts, fmt.Sprintf("%q:%s", k, v))
	}
	return framed(protocol.TypeRequestHeaders, "{"+strings.Join(parts, ",")+"}")
}

// many is a JSON object with n members.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"h%d":["v"]`, i)
	}
	return "{" + b.String()[1:] + "}"
}

var attacks = []attack{
	{"garbage", "3", "", func() []byte { return []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n") }},
	{"no length", "3", "", raw(0, 0, 0, 0)},
	{"no length, later", "3", "json", raw(0, 0, 0, 0)},
	{"length beyond", "3", "json", raw(1, 0, 0, 1, 0x10)},
	{"length beyond in the handshake", "3", "", raw(0, 0x20, 0, 1, 1)},
	{"event first", "5", "", request("method", `"GET"`)},
	{"empty handshake", "5", "", framed(protocol.TypeHandshakeRequest, "")},
	{"handshake no object", "5", "", framed(protocol.TypeHandshakeRequest, "[]")},
	{"handshake wrong types", "5", "", framed(protocol.TypeHandshakeRequest, `{"supported_versions":"2","proxy_id":7,"proxy_version":null}`)},
	{"second handshake", "5", "json", framed(protocol.TypeHandshakeRequest, `{"supported_versions":[2],"proxy_id":"p","proxy_version":"0"}`)},
	{"unknown type", "3", "json", framed(0x7f, "{}")},
	{"answer from proxy", "3", "json", framed(protocol.TypeResponse, "{}")},
	{"no correlation id", "6", "json", framed(protocol.TypeRequestComplete, `{"status":200}`)},
	{"long id", "11", "json", func() []byte {
		return framed(protocol.TypeRequestComplete, fmt.Sprintf(`{"correlation_id":"%0*d","status":200}`, protocol.MaxCorrelationID+1, 1))()
	}},
	{"broken JSON", "4", "json", framed(protocol.TypeRequestHeaders, `{"correlation_id":"x",`)},
	{"two objects", "4", "json", framed(protocol.TypeRequestComplete, `{"correlation_id":"x","status":200}{}`)},
	{"method no text", "4", "json", request("method", "7")},
	{"headers no map", "4", "json", request("headers", `["host"]`)},
	{"header no list", "4", "json", request("headers", `{"host":"x"}`)},
	{"too many headers", "11", "json", func() []byte { return request("headers", many(protocol.MaxHeaderLines+1))() }},
	{"too long headers", "11", "json", func() []byte {
		return request("headers", `{"a":["`+strings.Repeat("x", protocol.MaxHeaderBytes)+`"]}`)()
	}},
	{"negative status", "4", "json", framed(protocol.TypeRequestComplete, `{"correlation_id":"x","status":-1}`)},
	{"body not base64", "4", "json", framed(protocol.TypeRequestBodyChunk, `{"correlation_id":"x","data":"*","is_last":true,"chunk_index":0}`)},
	{"chunk beyond", "11", "msgpack", func() []byte {
		head := "\x84\xaecorrelation_id\xa1x\xa7is_last\xc3\xabchunk_index\x00\xa4data\xc6\x00\x80\x00\x01"
		return framed(protocol.TypeRequestBodyChunk, head+strings.Repeat("x", protocol.MaxChunk+1))()
	}},
	{"deep nesting", "4", "json", func() []byte {
		return framed(protocol.TypeRequestComplete, `{"correlation_id":"x","status":200,"deep":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+"}")()
	}},
	{"deep nesting, msgpack", "4", "msgpack", func() []byte {
		return framed(protocol.TypeRequestComplete, "\x83\xaecorrelation_id\xa1x\xa6status\xcc\xc8\xa4deep"+string(bytes.Repeat([]byte{0x91}, 100_000))+"\xc0")()
	}},
	{"claimed map", "3", "msgpack", framed(protocol.TypeRequestHeaders, "\xdf\xff\xff\xff\xff")},
	{"claimed list", "3", "msgpack", framed(protocol.TypeRequestHeaders, "\x81\xa1x\xdd\x00\xff\xff\xff")},
	{"claimed bytes", "3", "msgpack", framed(protocol.TypeRequestBodyChunk, "\x82\xaecorrelation_id\xa1x\xa4data\xc6\xff\xff\xff\xff")},
	{"struct as list", "4", "msgpack", framed(protocol.TypeRequestComplete, "\x92\xa1x\xcc\xc8")},
	{"never used byte", "4", "msgpack", framed(protocol.TypeRequestComplete, "\x82\xaecorrelation_id\xa1x\xa6status\xc1")},
	{"something after", "4", "msgpack", framed(protocol.TypeRequestComplete, "\x82\xaecorrelation_id\xa1x\xa6status\xcc\xc8\xc0")},
}
