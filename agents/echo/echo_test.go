package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/protocol"
)

func ops(list []protocol.HeaderOp) map[string]string {
	m := map[string]string{}
	for _, op := range list {
		m[op.Name] = op.Value
	}
	return m
}

func TestRequest(t *testing.T) {
	t.Parallel()
	e := newEcho("test")
	r := &protocol.RequestHeaders{Metadata: protocol.Metadata{CorrelationID: "c1"}, Method: "GET", URI: "/a b\r\nX: y?q=1"}
	for _, number := range []string{"1", "2"} {
		v, err := e.Request(context.Background(), r)
		if err != nil || v.Action != protocol.ActionAllow {
			t.Fatalf("%v, %v", v.Action, err)
		}
		for _, got := range []map[string]string{ops(v.RequestHeaders), ops(v.ResponseHeaders)} {
			want := map[string]string{"X-Echo-Agent": "echo", "X-Echo-Correlation-Id": "c1", "X-Echo-Request-Num": number, "X-Echo-Method": "GET", "X-Echo-Path": "/a?b??X:?y"}
			for name, value := range want {
				if got[name] != value {
					t.Errorf("%s = %q, want %q", name, got[name], value)
				}
			}
			if len(got) != len(want) {
				t.Errorf("headers %v", got)
			}
		}
	}
	r.URI = "/" + strings.Repeat("x", 2*maxValue)
	v, _ := e.Request(context.Background(), r)
	if n := len(ops(v.RequestHeaders)["X-Echo-Path"]); n != maxValue {
		t.Errorf("path of %d bytes", n)
	}
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	e := newEcho("test")
	for text, want := range map[string]string{
		`{"prefix": ""}`:        "prefix: ",
		`{"prefix": "X Y-"}`:    "prefix: ",
		`{"prefix": "X-\r\n"}`:  "prefix: ",
		`{"prefix": 1}`:         "prefix: cannot use number",
		`{"prefx": "X-Probe-"}`: "prefx: unknown key",
	} {
		if err := e.Configure(context.Background(), []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s…", text, err, want)
		}
	}
	status := func() map[string]string {
		v, err := e.Response(context.Background(), &protocol.ResponseHeaders{Status: 204})
		if err != nil {
			t.Fatal(err)
		}
		return ops(v.ResponseHeaders)
	}
	if status()["X-Echo-Status"] != "204" {
		t.Error("a refused configuration changed something")
	}
	if err := e.Configure(context.Background(), []byte(`{"prefix": "X-Probe-"}`)); err != nil {
		t.Fatal(err)
	}
	if status()["X-Probe-Status"] != "204" {
		t.Error("the prefix is not used")
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	e := newEcho("test")
	_, _ = e.RequestBody(context.Background(), &protocol.BodyChunk{Data: []byte("abc")})
	_, _ = e.ResponseBody(context.Background(), &protocol.BodyChunk{Data: []byte("de")})
	_, _ = e.WebSocketFrame(context.Background(), &protocol.WebSocketFrame{Opcode: protocol.OpPing})
	e.Complete(context.Background(), &protocol.RequestComplete{Status: 200})
	for _, c := range e.Metrics().Counters {
		if want := map[string]float64{"echo_requests_total": 0, "echo_completed_total": 1, "echo_messages_total": 1, "echo_body_bytes_total": 5}[c.Name]; c.Value != want {
			t.Errorf("%s = %v, want %v", c.Name, c.Value, want)
		}
	}
}

func TestWebSocketFrame(t *testing.T) {
	t.Parallel()
	e := newEcho("test")
	if err := e.Configure(context.Background(), []byte(`{"messages": {"drop": "spam", "close": "quit", "mask": "secret"}}`)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		op         protocol.Opcode
		text, want string
	}{
		{protocol.OpText, "hello", "allow"}, {protocol.OpText, "my secret, secret", "replace my ******, ******"}, {protocol.OpText, "spam and secret", "drop"},
		{protocol.OpText, "spam, then quit", "close 1008"}, {protocol.OpBinary, "quit", "allow"}, {protocol.OpPing, "quit", "allow"},
	} {
		v, err := e.WebSocketFrame(context.Background(), &protocol.WebSocketFrame{Opcode: c.op, Data: []byte(c.text)})
		if err != nil {
			t.Fatal(err)
		}
		got := "allow"
		if s := v.Socket; s != nil {
			got = s.Action.String()
			if s.Data != nil {
				got += " " + string(s.Data)
			}
			if s.Code != 0 {
				got += fmt.Sprint(" ", s.Code)
			}
		}
		if got != c.want {
			t.Errorf("%v %q: %s, want %s", c.op, c.text, got, c.want)
		}
	}
}
