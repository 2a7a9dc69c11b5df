package wire_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

type fields [][2][]byte

func (f fields) Len() int               { return len(f) }
func (f fields) At(i int) (n, v []byte) { return f[i][0], f[i][1] }

// typical is a browser's request: twelve lines.
func typical() *wire.RequestView {
	var h fields
	for _, l := range [][2]string{{"Host", "shop.example.org"}, {"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
		{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, {"Accept-Language", "en-US,en;q=0.5"}, {"Accept-Encoding", "gzip, deflate, br, zstd"},
		{"Referer", "https://shop.example.org/start"}, {"Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"}, {"Cache-Control", "no-cache"},
		{"Sec-Fetch-Dest", "document"}, {"Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Site", "same-origin"}, {"Priority", "u=0, i"}} {
		h = append(h, [2][]byte{[]byte(l[0]), []byte(l[1])})
	}
	return &wire.RequestView{CorrelationID: "3kZ9aB1cD2e.4f", RequestID: []byte("3kZ9aB1cD2e"), Client: netip.MustParseAddrPort("192.0.2.7:40000"), Protocol: "HTTP/1.1",
		RouteID: "shop", UpstreamID: "backend", Time: time.Unix(1_800_000_000, 0), Method: []byte("GET"), URI: []byte("/articles/42?ref=start"), Headers: h}
}

// TestAllocations holds the hot path to its budget.
func TestAllocations(t *testing.T) {
	v := typical()
	buf := make([]byte, 0, 4096)
	for _, enc := range []protocol.Encoding{protocol.MsgPack, protocol.JSON} {
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := wire.AppendFrame(buf, wire.Format{Encoding: enc}, v); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: encoding request headers allocates %v times", enc, n)
		}
		frame, _ := wire.AppendFrame(nil, wire.Format{Encoding: enc}, v)
		if n := testing.AllocsPerRun(1000, func() {
			if err := wire.Decode(enc, frame[wire.HeaderLen:], new(protocol.RequestHeaders)); err != nil {
				t.Error(err)
			}
		}); n > 8 {
			t.Errorf("%s: decoding request headers allocates %v times", enc, n)
		}
		answer, _ := wire.AppendFrame(nil, wire.Format{Encoding: enc}, &protocol.Response{CorrelationID: "c1", Verdict: protocol.Allow()})
		var r protocol.Response
		if n := testing.AllocsPerRun(1000, func() {
			r = protocol.Response{}
			if id := wire.EventID(enc, answer[wire.HeaderLen:]); string(id) != "c1" {
				t.Error(id)
			}
			if err := wire.DecodeResponse(enc, answer[wire.HeaderLen:], "c1", &r); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: decoding an allow allocates %v times", enc, n)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	v := typical()
	buf := make([]byte, 0, 4096)
	for _, enc := range []protocol.Encoding{protocol.MsgPack, protocol.JSON} {
		b.Run(string(enc), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = wire.AppendFrame(buf, wire.Format{Encoding: enc}, v)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, enc := range []protocol.Encoding{protocol.MsgPack, protocol.JSON} {
		frame, _ := wire.AppendFrame(nil, wire.Format{Encoding: enc}, typical())
		b.Run(string(enc), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := wire.Decode(enc, frame[wire.HeaderLen:], new(protocol.RequestHeaders)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
