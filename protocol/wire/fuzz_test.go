package wire_test

import (
	"bytes"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/tinylib/msgp/msgp"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

func seeds(f *testing.F) []protocoltest.Vector {
	return protocoltest.Vectors(f, vectors) // fails when there are none
}

// FuzzDecode: no payload makes any decoder panic or allocate beyond a small multiple of its size, and what is accepted survives both encodings unchanged.
func FuzzDecode(f *testing.F) {
	for _, v := range seeds(f) {
		f.Add(byte(v.Type), v.Encoding == protocol.MsgPack, v.Payload)
	}
	f.Fuzz(func(t *testing.T, kind byte, binary bool, payload []byte) {
		ft, enc := protocol.FrameType(kind), protocol.JSON
		if binary {
			enc = protocol.MsgPack
		}
		wire.EventID(enc, payload)
		m := message(ft)
		if m == nil || wire.Decode(enc, payload, m) != nil || !printable(m) {
			return
		}
		for _, f := range []wire.Format{{Encoding: protocol.JSON}, {Encoding: protocol.MsgPack, Grease: true}} {
			if f.Encoding == protocol.JSON && binary {
				continue // msgpack carries bytes that are no text; JSON shows them as U+FFFD
			}
			if diff := again(ft, m, f); diff != "" {
				t.Fatalf("%v: %s", f, diff)
			}
		}
	})
}

// printable reports whether a message can be written back exactly: views normalise what a proxy would never send (addresses and times that do not parse, names in upper case),
// and a block's fields are a map.
func printable(m any) bool {
	switch m := m.(type) {
	case *protocol.RequestHeaders, *protocol.ResponseHeaders:
		return false // see FuzzHeaders
	case *protocol.Response:
		names := map[string]bool{}
		for _, list := range [][]protocol.Header{m.Verdict.Headers, m.Verdict.Audit.Custom, m.Verdict.Routing, m.Verdict.Params} {
			clear(names)
			for _, h := range list {
				if k := string(bytes.ToLower([]byte(h.Name))); names[k] || h.Name == "correlation_id" {
					return false
				} else {
					names[k] = true
				}
			}
		}
		return m.Error == "" && m.CorrelationID != "" && m.Verdict.Audit.Confidence == m.Verdict.Audit.Confidence && oneAction(&m.Verdict)
	case *protocol.MetricsReport:
		return false // counters are whole numbers on the wire
	case *protocol.Configure:
		return false // compared by FuzzConfig
	case *protocol.HandshakeRequest:
		return m.Config == nil
	case *protocol.HandshakeResponse:
		return true
	}
	return true
}

// oneAction reports that a verdict has no leftovers of another action, which the wire would not carry.
func oneAction(v *protocol.Verdict) bool {
	block := v.Headers != nil || v.Body != nil
	redirect := v.URL != ""
	challenge := v.ChallengeType != "" || v.Params != nil
	switch v.Action {
	case protocol.ActionBlock:
		return !redirect && !challenge
	case protocol.ActionRedirect:
		return !block && !challenge
	case protocol.ActionChallenge:
		return !block && !redirect && v.Status == 0
	}
	return true
}

// FuzzHeaders: a header block survives grouping, with the values of each name in order.
func FuzzHeaders(f *testing.F) {
	f.Add("a", "1", "B", "2", "A", "3", 3)
	f.Add("set-cookie", "a=\"1\"\\", "Set-Cookie", "\xff\xfe", "x", "é", 90)
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2, n3, v3 string, repeat int) {
		var h protocol.Headers
		for i := range max(1, min(repeat, 200)) {
			h = append(h, []protocol.Header{{Name: n1, Value: v1}, {Name: n2, Value: v2}, {Name: n3, Value: v3}}[i%3])
		}
		frame, err := wire.AppendFrame(nil, wire.Format{Encoding: protocol.MsgPack}, &protocol.ResponseHeaders{CorrelationID: "c", Status: 200, Headers: h})
		if err != nil {
			t.Fatal(err)
		}
		var got protocol.ResponseHeaders
		if err := wire.Decode(protocol.MsgPack, frame[wire.HeaderLen:], &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Headers) != len(h) {
			t.Fatalf("%d lines became %d", len(h), len(got.Headers))
		}
		for _, line := range h {
			name := lower(line.Name)
			var want []string
			for _, other := range h {
				if lower(other.Name) == name {
					want = append(want, other.Value)
				}
			}
			values := got.Headers.Values(name)
			if len(values) != len(want) {
				t.Fatalf("%q: %q, want %q", name, values, want)
			}
			for i := range want {
				if values[i] != want[i] {
					t.Fatalf("%q: %q, want %q", name, values, want)
				}
			}
		}
	})
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// FuzzFrames: whatever the stream and however it is cut, the reader returns frames or an error, and memory stays near what has arrived.
func FuzzFrames(f *testing.F) {
	var all []byte
	for _, v := range seeds(f) {
		all = wire.AppendRaw(all, v.Type, v.Payload)
		f.Add(wire.AppendRaw(nil, v.Type, v.Payload))
	}
	f.Add(all)
	f.Add([]byte{1, 0, 0, 0, 9})
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, wholeErr := frames(bytes.NewReader(stream))
		bytewise, byteErr := frames(iotest.OneByteReader(bytes.NewReader(stream)))
		if len(whole) != len(bytewise) || wholeErr.Error() != byteErr.Error() {
			t.Fatalf("%d frames and %v at once, %d frames and %v byte by byte", len(whole), wholeErr, len(bytewise), byteErr)
		}
		var again []byte
		for i, fr := range whole {
			if !bytes.Equal(fr, bytewise[i]) {
				t.Fatalf("frame %d differs", i)
			}
			again = wire.AppendRaw(again, protocol.FrameType(fr[0]), fr[1:])
		}
		if !bytes.HasPrefix(stream, again) {
			t.Fatal("frames are not what was in the stream")
		}
	})
}

func frames(src io.Reader) (out [][]byte, err error) {
	r := wire.NewReader(src)
	for {
		ft, payload, err := r.Next()
		if err != nil {
			return out, err
		}
		out = append(out, append([]byte{byte(ft)}, payload...))
	}
}

// FuzzConfig: configuration comes out of both encodings as it went in.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{`{}`, `null`, `[1,2.5,-3,"x",true,null,{"a":{"b":[]}}]`, `18446744073709551615`, `1e400`, `"\ud83d\ude00"`, `-0.0`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if wire.ValidConfig(text) != nil {
			return
		}
		var out [2][]byte
		for i, enc := range []protocol.Encoding{protocol.JSON, protocol.MsgPack} {
			frame, err := wire.AppendFrame(nil, wire.Format{Encoding: enc}, &protocol.Configure{CorrelationID: "c", Config: text})
			if err != nil {
				t.Fatal(err)
			}
			var c protocol.Configure
			if err := wire.Decode(enc, frame[wire.HeaderLen:], &c); err != nil {
				return // grown beyond a limit by being wrapped
			}
			out[i] = c.Config
		}
		if !bytes.Equal(out[0], out[1]) {
			t.Fatalf("%q through JSON, %q through msgpack", out[0], out[1])
		}
	})
}

// TestMsgpackAgainstAnother reads what we write with another implementation.
func TestMsgpackAgainstAnother(t *testing.T) {
	t.Parallel()
	for _, v := range protocoltest.Vectors(t, vectors) {
		m := message(v.Type)
		if wire.Decode(v.Encoding, v.Payload, m) != nil {
			continue
		}
		frame, err := wire.AppendFrame(nil, wire.Format{Encoding: protocol.MsgPack, Grease: true}, event(v.Type, m))
		if err != nil {
			t.Fatal(err)
		}
		if payload := frame[wire.HeaderLen:]; payload[0] != '{' { // some types are always JSON
			if _, rest, err := msgp.ReadIntfBytes(payload); err != nil || len(rest) > 0 {
				t.Errorf("%s: %v, %d bytes left", v.Name, err, len(rest))
			}
		}
	}
}

// TestClaimedSizes checks that what a peer merely claims costs no memory.
func TestClaimedSizes(t *testing.T) {
	for _, payload := range [][]byte{
		{0xdf, 0xff, 0xff, 0xff, 0xff}, {0xdd, 0xff, 0xff, 0xff, 0xff}, {0xdb, 0xff, 0xff, 0xff, 0xff}, {0xc6, 0xff, 0xff, 0xff, 0xff}, {0xc9, 0xff, 0xff, 0xff, 0xff},
		append([]byte("\x81\xa7headers"), 0xdf, 0x00, 0xff, 0xff, 0xff), append([]byte("\x81\xafrequest_headers"), 0xdd, 0x00, 0xff, 0xff, 0xff),
	} {
		for ft := range 256 {
			m := message(protocol.FrameType(ft))
			if m == nil {
				continue
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := wire.Decode(protocol.MsgPack, payload, m); err == nil {
				t.Errorf("type %#x: %x accepted", ft, payload)
			}
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
				t.Errorf("type %#x: %x allocated %d bytes", ft, payload, n)
			}
		}
	}
}
