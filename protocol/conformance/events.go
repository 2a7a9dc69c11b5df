package conformance

import (
	"bytes"
	"fmt"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

var eventChecks = []Check{
	{Name: "every event", Section: "6", About: "each kind of event is answered with a verdict, in both encodings", run: everyEvent},
	{Name: "one answer", Section: "1", About: "an event has one answer and not two, also when it is cancelled", run: oneAnswer},
	{Name: "many at once", Section: "8", About: "as many events as the agent says it can hold, of different exchanges", run: manyAtOnce},
	{Name: "order", Section: "8", About: "events of one exchange that come without waiting are all answered, while those of others come between", run: pipelined},
	{Name: "beyond the limit", Section: "8", About: "more events than the agent holds are answered, with a verdict or an error, and none is dropped", run: beyondLimit},
	{Name: "websocket frames", Section: "6", About: "messages of WebSockets are judged without their request, or refused by an agent that cannot", run: websocketFrames},
	{Name: "reserved events", Section: "13", About: "a guardrail event is answered with an error", run: reservedEvents},
	{Name: "ping", Section: "9", About: "a ping comes back byte for byte", run: ping},
	{Name: "cancel", Section: "9", About: "a cancel, known or not, harms nothing", run: cancel},
	{Name: "greatest chunk", Section: "11", About: "a chunk of 8 MiB is taken", run: greatestChunk},
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

func everyEvent(v *visit) {
	v.encodings(func(c *Conn, _ *protocol.HandshakeResponse) {
		for i, m := range Events("one") {
			v.decided(c.Ask(m), "one", fmt.Sprintf("%s, event %d (%T)", c.Encoding, i, m))
		}
	})
}

// oneAnswer counts the answers up to a moment of silence. The one to a cancelled event may be missing.
func oneAnswer(v *visit) {
	c, _ := v.open(protocol.MsgPack, protocol.JSON)
	c.Send(Request("cancelled"))
	c.Send(&protocol.Cancel{CorrelationID: "cancelled", Reason: protocol.CancelClientGone})
	c.Send(Request("once"))
	answers := map[string]int{}
	for answers["once"] == 0 {
		answers[c.Response().CorrelationID]++
	}
	for r := c.responseWithin(quiet); r != nil; r = c.responseWithin(quiet) {
		answers[r.CorrelationID]++
	}
	if answers["once"] != 1 || answers["cancelled"] > 1 || len(answers) > 2 {
		v.Errorf("answers %v, want one for each event", answers)
	}
}

func manyAtOnce(v *visit) {
	v.encodings(func(c *Conn, hello *protocol.HandshakeResponse) {
		n := 64
		if most := hello.Capabilities.Limits.MaxConcurrency; most > 0 {
			n = min(n, most)
		}
		for i := range n {
			c.Send(Request(fmt.Sprint("m", i)))
		}
		for id, answers := range v.collect(c, n, func(r *protocol.Response) { v.decided(r, r.CorrelationID, r.CorrelationID) }) {
			if answers != 1 {
				v.Errorf("%q was answered %d times", id, answers)
			}
		}
	})
}

// collect reads n answers and counts them by exchange.
func (v *visit) collect(c *Conn, n int, each func(*protocol.Response)) map[string]int {
	v.Helper()
	seen := map[string]int{}
	for range n {
		r := c.Response()
		seen[r.CorrelationID]++
		each(r)
	}
	return seen
}

func pipelined(v *visit) {
	c, _ := v.open(protocol.MsgPack, protocol.JSON)
	const n = 20
	ids := []string{"p", "q", "r"}
	for _, id := range ids {
		c.Send(Request(id))
	}
	for i := range n {
		for _, id := range ids {
			c.Send(&wire.RequestBody{CorrelationID: id, Data: bytes.Repeat([]byte{byte(i)}, 1000), Index: uint32(i), Last: i == n-1, TotalSize: -1, Transferred: int64(i+1) * 1000})
		}
	}
	seen := v.collect(c, len(ids)*(n+1), func(r *protocol.Response) { v.decided(r, r.CorrelationID, "chunk of "+r.CorrelationID) })
	for _, id := range ids {
		if seen[id] != n+1 {
			v.Errorf("%d answers for %q, want %d", seen[id], id, n+1)
		}
	}
}

func beyondLimit(v *visit) {
	c, hello := v.open(protocol.MsgPack, protocol.JSON)
	n := min(max(5*hello.Capabilities.Limits.MaxConcurrency, 200), 2000)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		var all []byte
		for i := range n {
			all, _ = wire.AppendFrame(all, wire.Format{Encoding: c.Encoding}, Request(fmt.Sprint("b", i)))
		}
		_ = c.write(all)
	}()
	v.Cleanup(func() { c.Close(); <-sent })
	seen := v.collect(c, n, func(r *protocol.Response) { // with a verdict or with an error, but every one is answered
		if r.Error == "" && r.Verdict.Action == protocol.Undecided {
			v.Errorf("%s: neither verdict nor error", r.CorrelationID)
		}
	})
	if len(seen) != n {
		v.Errorf("%d of %d events answered", len(seen), n)
	}
}

// websocketFrames checks that an agent that judges messages does so without having seen a request, and one that does not says so.
func websocketFrames(v *visit) {
	v.encodings(func(c *Conn, hello *protocol.HandshakeResponse) {
		for i, op := range []protocol.Opcode{protocol.OpText, protocol.OpBinary, protocol.OpPing, protocol.OpPong, protocol.OpClose} {
			for _, fromClient := range []bool{true, false} {
				f := &protocol.WebSocketFrame{CorrelationID: fmt.Sprint("w", i, fromClient), Opcode: op, Data: []byte{}, FromClient: fromClient, RouteID: "test", ClientIP: "192.0.2.1"}
				r := c.Ask(f)
				if !hello.Capabilities.Features.WebSocket {
					v.refused(r, f.CorrelationID)
					continue
				}
				v.decided(r, f.CorrelationID, "an empty "+op.String())
				if s := r.Verdict.Socket; s != nil {
					if err := f.Check(s); err != nil {
						v.Errorf("%v", err)
					}
				}
			}
		}
		c.Send(&protocol.WebSocketFrame{CorrelationID: "part", Opcode: protocol.OpText, Fragment: true})
		v.refused(c.Response(), "part")
	})
}

func reservedEvents(v *visit) {
	c, _ := v.open(protocol.JSON)
	c.SendFrame(protocol.TypeGuardrailInspect, []byte(`{"correlation_id":"w","content":"x"}`))
	v.refused(c.Response(), "w")
}

func ping(v *visit) {
	c, _ := v.open(protocol.MsgPack, protocol.JSON)
	for _, payload := range []string{`{"sequence":7,"timestamp_ms":1,"extra":"kept"}`, `{ "timestamp_ms" : 2, "sequence":8 }`} {
		c.SendFrame(protocol.TypePing, []byte(payload))
		if ft, got := c.Next(); ft != protocol.TypePong || string(got) != payload {
			v.Errorf("ping answered with type %#x, %q", byte(ft), got)
		}
	}
}

func cancel(v *visit) {
	c, _ := v.open(protocol.MsgPack, protocol.JSON)
	c.Send(&protocol.Cancel{CorrelationID: "never heard of", Reason: protocol.CancelTimeout})
	v.decided(c.Ask(Request("after")), "after", "event after a cancel for an unknown id")
}

// greatestChunk looks at the bounds from inside: the agent may say that it cannot judge so much, but it has to live with it.
func greatestChunk(v *visit) {
	v.encodings(func(c *Conn, _ *protocol.HandshakeResponse) {
		v.decided(c.Ask(Request("big")), "big", "head")
		if r := c.Ask(&wire.RequestBody{CorrelationID: "big", Data: make([]byte, protocol.MaxChunk), Last: true, TotalSize: -1, Transferred: protocol.MaxChunk}); r.CorrelationID != "big" {
			v.Errorf("answer for %q", r.CorrelationID)
		}
		v.decided(c.Ask(Request("next")), "next", "head after a chunk of 8 MiB")
	})
}
