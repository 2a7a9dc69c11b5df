package conformance

import (
	"bytes"
	"encoding/json"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

var handshakeChecks = []Check{
	{Name: "handshake", Section: "5", About: "the answer has every key that it must have", run: handshake},
	{Name: "encoding", Section: "5", About: "the first encoding offered that the agent knows is chosen, json when none is offered", run: encodingChoice},
	{Name: "wrong version", Section: "5", About: "a proxy that does not speak version 2 is refused with a reason", run: wrongVersion},
	{Name: "no version", Section: "5", About: "a proxy that speaks no version at all is refused", run: noVersion},
	{Name: "silent peer", Section: "5", About: "a connection without a handshake is closed after two seconds", run: silentPeer},
	{Name: "foreign proxy", Section: "7", About: "an older proxy that speaks JSON finds everything it needs", run: foreignProxy},
	{Name: "configuration", Section: "6", About: "a configuration with an unknown key is refused with a reason and changes nothing", run: configuration},
}

func handshake(v *visit) {
	c := v.dial()
	c.Send(Hello(protocol.MsgPack, protocol.JSON))
	ft, payload := c.Next()
	if ft != protocol.TypeHandshakeResponse {
		v.Fatalf("first frame has type %#x", byte(ft))
	}
	var r map[string]any
	if err := json.Unmarshal(payload, &r); err != nil {
		v.Fatal(err)
	}
	for key, ok := range map[string]bool{"protocol_version": r["protocol_version"] == 2.0, "success": r["success"] == true} {
		if !ok {
			v.Errorf("%s: %v", key, r[key])
		}
	}
	caps, _ := r["capabilities"].(map[string]any)
	v.need(caps, "agent_id", "name", "version", "supported_events", "features", "limits")
	features, _ := caps["features"].(map[string]any)
	v.need(features, "streaming_body", "websocket", "guardrails", "config_push", "metrics_export", "concurrent_requests", "cancellation", "flow_control", "health_reporting")
	limits, _ := caps["limits"].(map[string]any)
	v.need(limits, "max_body_size", "max_concurrency", "preferred_chunk_size")
	if events, _ := caps["supported_events"].([]any); len(events) == 0 || events[0] != 1.0 {
		v.Errorf("supported_events: %v, want 1 first", events)
	}
}

func (v *visit) need(m map[string]any, keys ...string) {
	v.Helper()
	for _, k := range keys {
		if value, ok := m[k]; !ok || value == nil {
			v.Errorf("key %q is missing", k)
		}
	}
}

func encodingChoice(v *visit) {
	for _, c := range []struct {
		offer []protocol.Encoding
		want  protocol.Encoding
	}{
		{nil, protocol.JSON}, {[]protocol.Encoding{protocol.JSON}, protocol.JSON}, {[]protocol.Encoding{protocol.MsgPack, protocol.JSON}, protocol.MsgPack},
		{[]protocol.Encoding{protocol.JSON, protocol.MsgPack}, protocol.JSON}, {[]protocol.Encoding{"nobody-knows-this"}, protocol.JSON},
		{[]protocol.Encoding{"nobody-knows-this", protocol.MsgPack}, protocol.MsgPack},
	} {
		conn, _ := v.open(c.offer...)
		if conn.Encoding != c.want {
			v.Errorf("offered %q, the agent chose %q, want %q", c.offer, conn.Encoding, c.want)
		}
		conn.Close()
	}
}

func wrongVersion(v *visit) {
	c := v.dial()
	hello := Hello()
	hello.SupportedVersions = []int{1, 99}
	if r := c.Handshake(hello); r.Success || r.Error == "" {
		v.Errorf("handshake with versions 1 and 99: success %v, error %q", r.Success, r.Error)
	}
	c.MustClose()
}

func noVersion(v *visit) {
	c := v.dial()
	c.SendFrame(protocol.TypeHandshakeRequest, []byte(`{"supported_versions":[],"proxy_id":"p","proxy_version":"0"}`))
	ft, payload := c.Next()
	var r protocol.HandshakeResponse
	if err := wire.Decode(protocol.JSON, payload, &r); ft != protocol.TypeHandshakeResponse || err != nil || r.Success {
		v.Errorf("handshake without versions: type %#x, error %v, success %v", byte(ft), err, r.Success)
	}
	c.MustClose()
}

func silentPeer(v *visit) { v.dial().MustClose() }

// foreignEvents are events as existing proxies write them: JSON, nulls, no list of encodings before.
var foreignEvents = []struct {
	t       protocol.FrameType
	payload string
}{
	{protocol.TypeRequestHeaders, `{"correlation_id":"f","metadata":{"correlation_id":"f","request_id":"r","client_ip":"10.0.0.9","client_port":51234,"server_name":null,` +
		`"protocol":"HTTP/1.1","tls_version":null,"tls_cipher":null,"route_id":"api","upstream_id":null,"timestamp":"2026-01-01T00:00:00+00:00"},` +
		`"method":"POST","uri":"/a?b=c","headers":{"host":["x"],"accept":["a","b"]}}`},
	{protocol.TypeRequestBodyChunk, `{"correlation_id":"f","data":"aGVsbG8=","is_last":true,"total_size":null,"chunk_index":0,"bytes_received":5}`},
	{protocol.TypeResponseHeaders, `{"correlation_id":"f","status":200,"headers":{"content-type":["text/html"]}}`},
	{protocol.TypeResponseBodyChunk, `{"correlation_id":"f","data":"","is_last":true,"total_size":null,"chunk_index":0,"bytes_sent":0}`},
	{protocol.TypeRequestComplete, `{"correlation_id":"f","status":200,"duration_ms":1,"request_body_size":5,"response_body_size":0,"upstream_attempts":1,"error":null}`},
}

func foreignProxy(v *visit) {
	c := v.dial()
	c.SendFrame(protocol.TypeHandshakeRequest, []byte(`{"supported_versions":[2],"proxy_id":"other","proxy_version":"0.6.20","config":null}`))
	ft, payload := c.Next()
	var hello struct{ Encoding *string }
	if err := json.Unmarshal(payload, &hello); ft != protocol.TypeHandshakeResponse || err != nil || hello.Encoding != nil && *hello.Encoding != "json" {
		v.Fatalf("handshake: type %#x, %s", byte(ft), payload)
	}
	for _, event := range foreignEvents {
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
			v.Fatalf("event %#x: type %#x, error %v", byte(event.t), byte(ft), err)
		}
		if r.Version != 2 || r.Decision == nil || r.Audit.Custom["correlation_id"] != "f" || r.Request == nil || r.Response == nil || r.Needs == nil || r.Routing == nil {
			v.Errorf("event %#x: answer lacks what a foreign proxy needs: %s", byte(event.t), payload)
		}
	}
}

func configuration(v *visit) {
	c, _ := v.open(protocol.MsgPack, protocol.JSON)
	unknown := []byte(`{"grease-no-such-key":[1,{"a":null}]}`)
	r := c.Ask(&protocol.Configure{CorrelationID: "c", Config: unknown})
	if r.CorrelationID != "c" || r.Error != "" || r.Verdict.Action != protocol.ActionBlock || len(bytes.TrimSpace(r.Verdict.Body)) == 0 {
		v.Errorf("unknown key: decision %s, body %q, error %q, want a block with the reason", r.Verdict.Action, r.Verdict.Body, r.Error)
	}
	v.decided(c.Ask(Request("then")), "then", "event after a refused configuration")
	hello := Hello()
	hello.Config = unknown
	if r := v.dial().Handshake(hello); r.Success || r.Error == "" {
		v.Errorf("unknown key in the handshake: success %v, error %q, want a refusal with the reason", r.Success, r.Error)
	}
	if r := c.Ask(&protocol.Configure{CorrelationID: "n"}); r.Verdict.Action != protocol.ActionAllow {
		v.Errorf("null configuration: decision %s, want allow: the agent keeps its own", r.Verdict.Action)
	}
}
