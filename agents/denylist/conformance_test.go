package main

import (
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
)

func TestConformance(t *testing.T) {
	protocoltest.Conformance(t, func() agent.Agent { return newDenylist("test") })
}

// TestOverTheWire asks the agent as a proxy does, in both encodings.
func TestOverTheWire(t *testing.T) {
	t.Parallel()
	for _, enc := range []protocol.Encoding{protocol.JSON, protocol.MsgPack} {
		t.Run(string(enc), func(t *testing.T) {
			t.Parallel()
			path, _ := protocoltest.Serve(t, newDenylist("test"))
			hello := protocoltest.Hello(enc)
			hello.Config = []byte(`{"block-paths": "/forbidden", "body": "No entry.\n", "tags": "wire"}`)
			c := protocoltest.Dial(t, path)
			if answer := c.Handshake(hello); !answer.Success {
				t.Fatalf("handshake refused: %s", answer.Error)
			}
			r := protocoltest.Request("a")
			r.URI = "/forbidden/x"
			v := c.Ask(r).Verdict
			if v.Action != protocol.ActionBlock || v.Status != 403 || string(v.Body) != "No entry.\n" || !strings.Contains(strings.Join(v.Audit.Tags, " "), "wire") || v.Audit.RuleIDs[0] != "block-paths:/forbidden" {
				t.Errorf("verdict %+v", v)
			}
			r = protocoltest.Request("b")
			r.URI = "/forbidden-not"
			if v := c.Ask(r).Verdict; v.Action != protocol.ActionAllow {
				t.Errorf("the innocent twin: %+v", v)
			}
			refused := c.Ask(&protocol.Configure{CorrelationID: "c", Config: []byte(`{"block-paths": 7}`)})
			if refused.Verdict.Action == protocol.ActionAllow {
				t.Error("a wrong configuration was accepted")
			}
			r = protocoltest.Request("d")
			r.URI = "/forbidden"
			if v := c.Ask(r).Verdict; v.Action != protocol.ActionBlock {
				t.Error("a refused configuration changed something")
			}
		})
	}
}

func TestHandshakeNamesTheKey(t *testing.T) {
	t.Parallel()
	path, _ := protocoltest.Serve(t, newDenylist("test"))
	hello := protocoltest.Hello()
	hello.Config = []byte(`{"block-ips": "10.0.0.0/40"}`)
	answer := protocoltest.Dial(t, path).Handshake(hello)
	if answer.Success || !strings.Contains(answer.Error, "block-ips: ") {
		t.Errorf("success %v, error %q", answer.Success, answer.Error)
	}
}
