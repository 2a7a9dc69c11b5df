package protocoltest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// Conformance checks that an agent keeps the rules of SPEC.md. fresh makes an agent that has not been served yet, with whatever configuration it
// starts with; it is called for every part, and the parts run at the same time.
func Conformance(t *testing.T, fresh func() agent.Agent) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, func() agent.Agent)
	}{
		{"handshake", handshake}, {"every event", everyEvent}, {"many at once", manyAtOnce}, {"pipelined chunks", pipelinedChunks}, {"beyond the limit", beyondLimit},
		{"grease", grease}, {"foreign proxy", foreignProxy}, {"broken peers", brokenPeers}, {"silent peer", silentPeer}, {"ping", ping}, {"cancel", cancel},
		{"websocket frames", websocketFrames}, {"reserved events", reservedEvents}, {"wrong version", wrongVersion}, {"configuration", configuration}, {"drain", drain},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			part.run(t, fresh)
		})
	}
}

// encodings runs a part in both encodings.
func encodings(t *testing.T, f func(*testing.T, protocol.Encoding)) {
	for _, enc := range []protocol.Encoding{protocol.JSON, protocol.MsgPack} {
		t.Run(string(enc), func(t *testing.T) { f(t, enc) })
	}
}

// open serves a fresh agent and shakes hands.
func open(t *testing.T, fresh func() agent.Agent, offer ...protocol.Encoding) (*Conn, string) {
	t.Helper()
	path, _ := Serve(t, fresh())
	c := Dial(t, path)
	if r := c.Handshake(Hello(offer...)); !r.Success {
		t.Fatalf("handshake refused: %s", r.Error)
	}
	return c, path
}

// Request is an ordinary request for tests.
func Request(id string) *protocol.RequestHeaders {
	return &protocol.RequestHeaders{
		Metadata: protocol.Metadata{CorrelationID: id, RequestID: "r-" + id, ClientIP: "192.0.2.1", ClientPort: 40000, Protocol: "HTTP/1.1", RouteID: "test",
			UpstreamID: "backend", Timestamp: "2026-11-21T10:00:00Z"},
		Method: "GET", URI: "/conformance?a=b", Headers: protocol.Headers{{Name: "host", Value: "example.org"}, {Name: "accept", Value: "*/*"}, {Name: "accept", Value: "text/html"}}}
}

// Events are one of each event that an agent must answer, all of one request.
func Events(id string) []any {
	return []any{
		Request(id),
		&wire.RequestBody{CorrelationID: id, Data: []byte("hello \xff"), TotalSize: -1, Transferred: 7},
		&wire.RequestBody{CorrelationID: id, Last: true, TotalSize: -1, Index: 1, Transferred: 7},
		&protocol.ResponseHeaders{CorrelationID: id, Status: 200, Headers: protocol.Headers{{Name: "content-type", Value: "text/plain"}}},
		&wire.ResponseBody{CorrelationID: id, Data: []byte("answer"), Last: true, TotalSize: 6, Transferred: 6},
		&protocol.RequestComplete{CorrelationID: id, Status: 200, DurationMillis: 3, ResponseBodySize: 6, UpstreamAttempts: 1},
	}
}

func handshake(t *testing.T, fresh func() agent.Agent) {
	path, _ := Serve(t, fresh())
	c := Dial(t, path)
	c.Send(Hello(protocol.MsgPack, protocol.JSON))
	ft, payload := c.Next()
	if ft != protocol.TypeHandshakeResponse {
		t.Fatalf("first frame has type %#x", byte(ft))
	}
	var r map[string]any
	if err := json.Unmarshal(payload, &r); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{"protocol_version": r["protocol_version"] == 2.0, "success": r["success"] == true, "encoding": r["encoding"] == "msgpack"} {
		if !ok {
			t.Errorf("%s: %v", path, r[path])
		}
	}
	caps, _ := r["capabilities"].(map[string]any)
	need(t, caps, "agent_id", "name", "version", "supported_events", "features", "limits")
	features, _ := caps["features"].(map[string]any)
	need(t, features, "streaming_body", "websocket", "guardrails", "config_push", "metrics_export", "concurrent_requests", "cancellation", "flow_control", "health_reporting")
	limits, _ := caps["limits"].(map[string]any)
	need(t, limits, "max_body_size", "max_concurrency", "preferred_chunk_size")
	if events, _ := caps["supported_events"].([]any); len(events) == 0 || events[0] != 1.0 {
		t.Errorf("supported_events: %v, want 1 first", events)
	}
}

func need(t *testing.T, m map[string]any, keys ...string) {
	t.Helper()
	for _, k := range keys {
		if v, ok := m[k]; !ok || v == nil {
			t.Errorf("key %q is missing", k)
		}
	}
}

func everyEvent(t *testing.T, fresh func() agent.Agent) {
	encodings(t, func(t *testing.T, enc protocol.Encoding) {
		c, _ := open(t, fresh, enc)
		if c.Encoding != enc {
			t.Fatalf("agent chose %q, offered %q", c.Encoding, enc)
		}
		for i, m := range Events("one") {
			decided(t, c.Ask(m), "one", fmt.Sprintf("event %d (%T)", i, m))
		}
	})
}

// decided checks that r is a verdict on id.
func decided(t *testing.T, r *protocol.Response, id, what string) {
	t.Helper()
	if r.CorrelationID != id {
		t.Errorf("%s: answer is for %q, want %q", what, r.CorrelationID, id)
	}
	if r.Error != "" || r.Verdict.Action == protocol.Undecided {
		t.Errorf("%s: no verdict: %s", what, r.Error)
	}
}

func manyAtOnce(t *testing.T, fresh func() agent.Agent) {
	encodings(t, func(t *testing.T, enc protocol.Encoding) {
		a := fresh()
		path, s := Serve(t, a)
		c := Dial(t, path)
		c.Handshake(Hello(enc))
		n := min(s.Capabilities().Limits.MaxConcurrency, 64)
		for i := range n {
			c.Send(Request(fmt.Sprint("m", i)))
		}
		seen := map[string]bool{}
		for range n {
			r := c.Response()
			if seen[r.CorrelationID] {
				t.Fatalf("%q answered twice", r.CorrelationID)
			}
			seen[r.CorrelationID] = true
			decided(t, r, r.CorrelationID, r.CorrelationID)
		}
		for i := range n {
			if !seen[fmt.Sprint("m", i)] {
				t.Errorf("m%d was not answered", i)
			}
		}
	})
}

func pipelinedChunks(t *testing.T, fresh func() agent.Agent) {
	c, _ := open(t, fresh, protocol.MsgPack)
	const n = 20
	c.Send(Request("p"))
	for i := range n {
		c.Send(&wire.RequestBody{CorrelationID: "p", Data: bytes.Repeat([]byte{byte(i)}, 1000), Index: uint32(i), Last: i == n-1, TotalSize: -1, Transferred: int64(i+1) * 1000})
	}
	for i := range n + 1 {
		decided(t, c.Response(), "p", fmt.Sprint("answer ", i))
	}
}

func beyondLimit(t *testing.T, fresh func() agent.Agent) {
	path, s := Serve(t, fresh())
	c := Dial(t, path)
	c.Handshake(Hello(protocol.MsgPack))
	n := min(5*s.Capabilities().Limits.MaxConcurrency, 2000)
	go func() {
		var all []byte
		for i := range n {
			all, _ = wire.AppendFrame(all, wire.Format{Encoding: c.Encoding}, Request(fmt.Sprint("b", i)))
		}
		c.SendBytes(all)
	}()
	seen := map[string]bool{}
	for range n { // with a verdict or with "overloaded", but every one is answered
		r := c.Response()
		if r.Error == "" && r.Verdict.Action == protocol.Undecided {
			t.Errorf("%s: neither verdict nor error", r.CorrelationID)
		}
		seen[r.CorrelationID] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d events answered", len(seen), n)
	}
}

func grease(t *testing.T, fresh func() agent.Agent) {
	encodings(t, func(t *testing.T, enc protocol.Encoding) {
		path, _ := Serve(t, fresh())
		c := Dial(t, path)
		c.SendGreased(Hello(enc, "grease-encoding"))
		ft, payload := c.Next()
		var r protocol.HandshakeResponse
		if err := wire.Decode(protocol.JSON, payload, &r); ft != protocol.TypeHandshakeResponse || err != nil || !r.Success {
			t.Fatalf("greased handshake: type %#x, error %v, answer %+v", byte(ft), err, r)
		}
		c.Encoding = enc
		for _, m := range Events("g") {
			c.SendGreased(m)
			decided(t, c.Response(), "g", fmt.Sprintf("greased %T", m))
		}
	})
}

// foreignProxy speaks as existing proxies do: JSON, no list of encodings, nulls, and answers found by audit.custom.correlation_id alone.
func foreignProxy(t *testing.T, fresh func() agent.Agent) {
	path, _ := Serve(t, fresh())
	c := Dial(t, path)
	c.SendFrame(protocol.TypeHandshakeRequest, []byte(`{"supported_versions":[2],"proxy_id":"other","proxy_version":"0.6.20","config":null}`))
	if ft, payload := c.Next(); ft != protocol.TypeHandshakeResponse || !bytes.Contains(payload, []byte(`"encoding":"json"`)) {
		t.Fatalf("handshake: type %#x, %s", byte(ft), payload)
	}
	meta := `{"correlation_id":"f","request_id":"r","client_ip":"10.0.0.9","client_port":51234,"server_name":null,"protocol":"HTTP/1.1","tls_version":null,"tls_cipher":null,` +
		`"route_id":"api","upstream_id":null,"timestamp":"2026-01-01T00:00:00+00:00"}`
	for _, event := range []struct {
		t       protocol.FrameType
		payload string
	}{
		{protocol.TypeRequestHeaders, `{"correlation_id":"f","metadata":` + meta + `,"method":"POST","uri":"/a?b=c","headers":{"host":["x"],"accept":["a","b"]}}`},
		{protocol.TypeRequestBodyChunk, `{"correlation_id":"f","data":"aGVsbG8=","is_last":true,"total_size":null,"chunk_index":0,"bytes_received":5}`},
		{protocol.TypeResponseHeaders, `{"correlation_id":"f","status":200,"headers":{"content-type":["text/html"]}}`},
		{protocol.TypeResponseBodyChunk, `{"correlation_id":"f","data":"","is_last":true,"total_size":null,"chunk_index":0,"bytes_sent":0}`},
		{protocol.TypeRequestComplete, `{"correlation_id":"f","status":200,"duration_ms":1,"request_body_size":5,"response_body_size":0,"upstream_attempts":1,"error":null}`},
	} {
		c.SendFrame(event.t, []byte(event.payload))
		ft, payload := c.Next()
		var r struct {
			Version  int
			Decision any
			Audit    struct{ Custom map[string]any }
			Request  []any           `json:"request_headers"`
			Response []any           `json:"response_headers"`
			Needs    *bool           `json:"needs_more"`
			Routing  *map[string]any `json:"routing_metadata"`
		}
		if err := json.Unmarshal(payload, &r); err != nil || ft != protocol.TypeResponse {
			t.Fatalf("event %#x: type %#x, error %v", byte(event.t), byte(ft), err)
		}
		if r.Version != 2 || r.Decision == nil || r.Audit.Custom["correlation_id"] != "f" || r.Request == nil || r.Response == nil || r.Needs == nil || r.Routing == nil {
			t.Errorf("event %#x: answer lacks what a foreign proxy needs: %s", byte(event.t), payload)
		}
	}
}

// brokenPeers sends what no proxy may; each loses its connection, and an innocent peer is served all the same.
func brokenPeers(t *testing.T, fresh func() agent.Agent) {
	path, _ := Serve(t, fresh())
	innocent := Dial(t, path)
	innocent.Handshake(Hello(protocol.MsgPack))
	for name, attack := range map[string]func(*Conn){
		"garbage":     func(c *Conn) { c.SendBytes([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) },
		"length zero": func(c *Conn) { c.SendBytes([]byte{0, 0, 0, 0, 0}) },
		"no length":   func(c *Conn) { c.SendBytes([]byte{0, 0, 0, 0}) },
		"no length, later": func(c *Conn) {
			c.Handshake(Hello())
			c.SendBytes([]byte{0, 0, 0, 0})
		},
		"no version": func(c *Conn) {
			hello := Hello()
			hello.SupportedVersions = nil
			c.Send(hello)
			if ft, _ := c.Next(); ft != protocol.TypeHandshakeResponse {
				t.Errorf("handshake answered with type %#x", byte(ft))
			}
		},
		"length beyond":       func(c *Conn) { c.SendBytes([]byte{1, 0, 0, 1, 1}) },
		"event first":         func(c *Conn) { c.Send(Request("x")) },
		"empty handshake":     func(c *Conn) { c.SendFrame(protocol.TypeHandshakeRequest, nil) },
		"handshake no object": func(c *Conn) { c.SendFrame(protocol.TypeHandshakeRequest, []byte(`[]`)) },
		"unknown type":        func(c *Conn) { c.Handshake(Hello()); c.SendFrame(0x7f, []byte(`{}`)) },
		"answer from proxy":   func(c *Conn) { c.Handshake(Hello()); c.SendFrame(protocol.TypeResponse, []byte(`{}`)) },
		"second handshake":    func(c *Conn) { c.Handshake(Hello()); c.Send(Hello()) },
		"no correlation id": func(c *Conn) {
			c.Handshake(Hello())
			c.SendFrame(protocol.TypeRequestComplete, []byte(`{"status":200}`))
		},
		"broken JSON": func(c *Conn) {
			c.Handshake(Hello())
			c.SendFrame(protocol.TypeRequestHeaders, []byte(`{"correlation_id":"x",`))
		},
		"claimed map": func(c *Conn) {
			c.Handshake(Hello(protocol.MsgPack))
			c.SendFrame(protocol.TypeRequestHeaders, []byte{0xdf, 0xff, 0xff, 0xff, 0xff})
		},
		"claimed list": func(c *Conn) {
			c.Handshake(Hello(protocol.MsgPack))
			c.SendFrame(protocol.TypeRequestHeaders, []byte{0x81, 0xa1, 'x', 0xdd, 0x00, 0xff, 0xff, 0xff})
		},
		"deep nesting": func(c *Conn) {
			c.Handshake(Hello())
			c.SendFrame(protocol.TypeRequestHeaders, append([]byte(`{"x":`), bytes.Repeat([]byte("["), 100_000)...))
		},
		"long id": func(c *Conn) {
			c.Handshake(Hello())
			c.SendFrame(protocol.TypeRequestComplete, fmt.Appendf(nil, `{"correlation_id":"%0*d","status":200}`, protocol.MaxCorrelationID+1, 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := Dial(t, path)
			attack(c)
			c.MustClose()
			decided(t, innocent.Ask(Request("innocent")), "innocent", "innocent peer")
		})
	}
}

func silentPeer(t *testing.T, fresh func() agent.Agent) {
	path, _ := Serve(t, fresh())
	c := Dial(t, path)
	c.MustClose() // by the handshake's deadline
}

func ping(t *testing.T, fresh func() agent.Agent) {
	c, _ := open(t, fresh, protocol.MsgPack)
	payload := []byte(`{"sequence":7,"timestamp_ms":1,"extra":"kept"}`)
	c.SendFrame(protocol.TypePing, payload)
	if ft, got := c.Next(); ft != protocol.TypePong || !bytes.Equal(got, payload) {
		t.Errorf("ping answered with type %#x, %q", byte(ft), got)
	}
}

func cancel(t *testing.T, fresh func() agent.Agent) {
	c, _ := open(t, fresh, protocol.MsgPack)
	c.Send(&protocol.Cancel{CorrelationID: "never heard of", Reason: protocol.CancelTimeout})
	decided(t, c.Ask(Request("after")), "after", "event after a cancel for an unknown id")
}

// refused checks the answer to an event that the agent cannot handle.
func refused(t *testing.T, r *protocol.Response, id string) {
	t.Helper()
	if r.CorrelationID != id || r.Error == "" || r.Verdict.Action == protocol.ActionAllow {
		t.Errorf("%+v, want an error and no allow", r)
	}
}

// websocketFrames checks that an agent that judges messages does so without having seen a request, and one that does not says so.
func websocketFrames(t *testing.T, fresh func() agent.Agent) {
	encodings(t, func(t *testing.T, enc protocol.Encoding) {
		path, s := Serve(t, fresh())
		c := Dial(t, path)
		c.Handshake(Hello(enc))
		for i, op := range []protocol.Opcode{protocol.OpText, protocol.OpBinary, protocol.OpPing, protocol.OpPong, protocol.OpClose} {
			for _, fromClient := range []bool{true, false} {
				f := &protocol.WebSocketFrame{CorrelationID: fmt.Sprint("w", i, fromClient), Opcode: op, Data: []byte{}, FromClient: fromClient, RouteID: "test", ClientIP: "192.0.2.1"}
				r := c.Ask(f)
				if !s.Capabilities().Features.WebSocket {
					refused(t, r, f.CorrelationID)
					continue
				}
				decided(t, r, f.CorrelationID, "an empty "+op.String())
				if v := r.Verdict.Socket; v != nil {
					if err := f.Check(v); err != nil {
						t.Error(err)
					}
				}
			}
		}
		c.Send(&protocol.WebSocketFrame{CorrelationID: "part", Opcode: protocol.OpText, Fragment: true})
		refused(t, c.Response(), "part")
	})
}

func reservedEvents(t *testing.T, fresh func() agent.Agent) {
	c, _ := open(t, fresh, protocol.JSON)
	c.SendFrame(protocol.TypeGuardrailInspect, []byte(`{"correlation_id":"w","content":"x"}`))
	refused(t, c.Response(), "w")
}

func wrongVersion(t *testing.T, fresh func() agent.Agent) {
	path, _ := Serve(t, fresh())
	c := Dial(t, path)
	hello := Hello()
	hello.SupportedVersions = []int{1, 99}
	if r := c.Handshake(hello); r.Success || r.Error == "" {
		t.Errorf("handshake with versions 1 and 99: %+v", r)
	}
	c.MustClose()
}

// configuration checks that an agent refuses a key it does not know, and works on.
func configuration(t *testing.T, fresh func() agent.Agent) {
	c, path := open(t, fresh, protocol.MsgPack)
	unknown := []byte(`{"grease-no-such-key":[1,{"a":null}]}`)
	r := c.Ask(&protocol.Configure{CorrelationID: "c", Config: unknown})
	if r.CorrelationID != "c" || r.Error != "" || r.Verdict.Action != protocol.ActionBlock || len(r.Verdict.Body) == 0 {
		t.Errorf("unknown key: %+v, want a block with the reason", r)
	}
	decided(t, c.Ask(Request("then")), "then", "event after a refused configuration")
	hello := Hello()
	hello.Config = unknown
	if r := Dial(t, path).Handshake(hello); r.Success || r.Error == "" {
		t.Errorf("unknown key in the handshake: %+v, want a refusal with the reason", r)
	}
	if r := c.Ask(&protocol.Configure{CorrelationID: "n"}); r.Verdict.Action != protocol.ActionAllow {
		t.Errorf("null configuration: %+v, want allow: the agent keeps its own", r)
	}
}

func drain(t *testing.T, fresh func() agent.Agent) {
	path, s := Serve(t, fresh())
	c := Dial(t, path)
	c.Handshake(Hello(protocol.JSON))
	decided(t, c.Ask(Request("before")), "before", "event before the drain")
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- s.Shutdown(ctx)
	}()
	for {
		ft, payload := c.Next()
		var h protocol.HealthStatus
		if ft != protocol.TypeHealthStatus || wire.Decode(c.Encoding, payload, &h) != nil || h.State != protocol.Draining {
			continue
		}
		break
	}
	decided(t, c.Ask(Request("during")), "during", "event of an exchange that began before the drain")
	c.MustClose()
	if err := <-done; err != nil {
		t.Errorf("drain: %v", err)
	}
}
