package wire_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

const vectors = "../testdata/vectors"

// message returns the zero message that belongs to a frame type.
func message(t protocol.FrameType) any {
	switch t {
	case protocol.TypeHandshakeRequest:
		return new(protocol.HandshakeRequest)
	case protocol.TypeHandshakeResponse:
		return new(protocol.HandshakeResponse)
	case protocol.TypeRequestHeaders:
		return new(protocol.RequestHeaders)
	case protocol.TypeRequestBodyChunk, protocol.TypeResponseBodyChunk:
		return new(protocol.BodyChunk)
	case protocol.TypeResponseHeaders:
		return new(protocol.ResponseHeaders)
	case protocol.TypeWebSocketFrame:
		return new(protocol.WebSocketFrame)
	case protocol.TypeRequestComplete:
		return new(protocol.RequestComplete)
	case protocol.TypeConfigure:
		return new(protocol.Configure)
	case protocol.TypeResponse:
		return new(protocol.Response)
	case protocol.TypeHealthStatus:
		return new(protocol.HealthStatus)
	case protocol.TypeMetricsReport:
		return new(protocol.MetricsReport)
	case protocol.TypeFlowControl:
		return new(protocol.FlowControl)
	case protocol.TypeCancel:
		return new(protocol.Cancel)
	case protocol.TypePing:
		return new(protocol.Ping)
	}
	return nil
}

// event is m as AppendFrame wants it.
func event(t protocol.FrameType, m any) any {
	if c, ok := m.(*protocol.BodyChunk); ok {
		if t == protocol.TypeRequestBodyChunk {
			return (*wire.RequestBody)(c)
		}
		return (*wire.ResponseBody)(c)
	}
	return m
}

func TestVectors(t *testing.T) {
	t.Parallel()
	decoded := map[string]any{}
	all := protocoltest.Vectors(t, vectors)
	for _, v := range all {
		m := message(v.Type)
		if m == nil {
			t.Fatalf("%s: no message for type %#x", v.Name, byte(v.Type))
		}
		err := wire.Decode(v.Encoding, v.Payload, m)
		got := "ok"
		switch {
		case errors.Is(err, wire.ErrLimit):
			got = "limit"
		case errors.Is(err, wire.ErrMalformed):
			got = "malformed"
		case err != nil:
			got = err.Error()
		}
		if got != v.Expect {
			t.Errorf("%s (%s): %s, want %s", v.Name, v.About, got, v.Expect)
		}
		if err != nil {
			continue
		}
		decoded[v.Name] = m
		t.Run(v.Name, func(t *testing.T) { roundTrip(t, v.Type, m) })
	}
	for _, v := range all {
		if v.SameAs == "" {
			continue
		}
		if decoded[v.SameAs] == nil {
			t.Errorf("%s: no vector %q", v.Name, v.SameAs)
		} else if want, got := decoded[v.SameAs], decoded[v.Name]; !reflect.DeepEqual(want, got) {
			t.Errorf("%s means something else than %s:\n%+v\n%+v", v.Name, v.SameAs, want, got)
		}
	}
}

// roundTrip checks that a message survives both encodings, with and without grease.
func roundTrip(t *testing.T, ft protocol.FrameType, m any) {
	for _, f := range []wire.Format{{Encoding: protocol.JSON}, {Encoding: protocol.MsgPack}, {Encoding: protocol.JSON, Grease: true}, {Encoding: protocol.MsgPack, Grease: true}} {
		if err := again(ft, m, f); err != "" {
			t.Errorf("%+v: %s", f, err)
		}
	}
}

// again encodes and decodes m, and says what changed.
func again(ft protocol.FrameType, m any, f wire.Format) string {
	frame, err := wire.AppendFrame(nil, f, event(ft, m))
	if err != nil {
		return err.Error()
	}
	if frame[4] != byte(ft) {
		return "frame type changed"
	}
	got := message(ft)
	if err := wire.Decode(f.Encoding, frame[wire.HeaderLen:], got); err != nil {
		return err.Error() + "\n" + string(frame[wire.HeaderLen:])
	}
	want := m
	if r, ok := m.(*protocol.Response); ok && r.Error != "" {
		r := *r // an error has no verdict beside the block that stands for it
		r.Verdict.Action, r.Verdict.Status, r.Verdict.Headers, r.Verdict.Body = protocol.ActionBlock, 500, nil, nil
		r.Verdict.URL, r.Verdict.ChallengeType, r.Verdict.Params = "", "", nil
		want = &r
	}
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return fmt.Sprintf("want %+v\n got %+v", want, got)
}
