package conformance

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// tolerance: additions, and what is unusual but allowed, are no reason to stumble.
var tolerance = []Check{
	{Name: "grease", Section: "12", About: "keys, values and encodings that nobody knows are skipped", run: grease},
	{Name: "nesting within bounds", Section: "4", About: "an unknown key may hold anything, sixty levels deep", run: nesting},
	{Name: "longest id", Section: "11", About: "a correlation id of 128 bytes comes back whole", run: longestID},
	{Name: "bytes as text", Section: "4", About: "header values that are no UTF-8 come as bin in msgpack", run: bytesAsText},
	{Name: "byte by byte", Section: "3", About: "a frame may arrive in pieces of any size", run: byteByByte},
}

var connectionChecks = []Check{
	{Name: "truncated frame", Section: "3", About: "a stream that ends within a frame harms nobody else", run: truncated},
	{Name: "reconnect", Section: "8", About: "proxies that come and go with events under way leave nothing behind", run: reconnect},
	{Name: "many connections", Section: "2", About: "thirty-two connections at once, with the same correlation ids, are all served", run: manyConnections},
}

// stopping is the last check.
var stopping = []Check{{Name: "drain", Section: "9", About: "an agent that stops says draining, answers what it has and ends", Stops: true, run: drain}}

func grease(v *visit) {
	for _, enc := range []protocol.Encoding{protocol.JSON, protocol.MsgPack} {
		c := v.dial()
		c.SendGreased(Hello(enc, "grease-encoding"))
		ft, payload := c.Next()
		var r protocol.HandshakeResponse
		if err := wire.Decode(protocol.JSON, payload, &r); ft != protocol.TypeHandshakeResponse || err != nil || !r.Success {
			v.Fatalf("greased handshake: type %#x, error %v, answer %s", byte(ft), err, payload)
		}
		c.choose(r.Encoding)
		for _, m := range Events("g") {
			c.SendGreased(m)
			v.decided(c.Response(), "g", fmt.Sprintf("greased %T", m))
		}
	}
}

func nesting(v *visit) {
	c, _ := v.open(protocol.JSON)
	deep := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	c.SendFrame(protocol.TypeRequestComplete, []byte(`{"deep":`+deep+`,"odd":{"a":[1,null,true,-2.5e3,"\u00e9"]},"correlation_id":"d","status":200}`))
	v.decided(c.Response(), "d", "event with an unknown key")
}

func longestID(v *visit) {
	id := strings.Repeat("i", protocol.MaxCorrelationID)
	v.encodings(func(c *Conn, _ *protocol.HandshakeResponse) { v.decided(c.Ask(Request(id)), id, "event") })
}

func bytesAsText(v *visit) {
	v.encodings(func(c *Conn, _ *protocol.HandshakeResponse) {
		r := Request("u")
		r.Headers = append(r.Headers, protocol.Header{Name: "x-bytes", Value: "caf\xe9"})
		v.decided(c.Ask(r), "u", "event")
	})
}

func byteByByte(v *visit) {
	c, _ := v.open(protocol.MsgPack, protocol.JSON)
	frame, err := wire.AppendFrame(nil, wire.Format{Encoding: c.Encoding}, Request("slow"))
	if err != nil {
		v.Fatal(err)
	}
	for i := range frame {
		c.SendBytes(frame[i : i+1])
		if i < wire.HeaderLen {
			time.Sleep(20 * time.Millisecond) // so that the agent reads them one by one
		}
	}
	v.decided(c.Response(), "slow", "event in pieces")
}

func truncated(v *visit) {
	innocent, _ := v.open(protocol.MsgPack, protocol.JSON)
	frame, err := wire.AppendFrame(nil, wire.Format{Encoding: innocent.Encoding}, Request("cut"))
	if err != nil {
		v.Fatal(err)
	}
	for _, n := range []int{1, 4, 5, len(frame) / 2, len(frame) - 1} {
		c, _ := v.open(innocent.Encoding)
		c.SendBytes(frame[:n])
		c.Close()
		v.decided(innocent.Ask(Request("innocent")), "innocent", fmt.Sprintf("innocent peer, beside a frame cut after %d bytes", n))
	}
}

func reconnect(v *visit) {
	for i := range 50 {
		c, _ := v.open(protocol.MsgPack, protocol.JSON)
		c.SendBytes(bytes.Join(v.frames(c.Encoding, fmt.Sprint("gone", i)), nil))
		c.Close()
	}
	v.served("stays")
}

func (v *visit) frames(enc protocol.Encoding, id string) (all [][]byte) {
	for _, m := range Events(id) {
		frame, err := wire.AppendFrame(nil, wire.Format{Encoding: enc}, m)
		if err != nil {
			v.Fatal(err)
		}
		all = append(all, frame)
	}
	return all
}

func manyConnections(v *visit) {
	conns := make([]*Conn, 32)
	for i := range conns {
		conns[i], _ = v.open(protocol.MsgPack, protocol.JSON)
	}
	for round := range 3 {
		for _, c := range conns {
			c.Send(Request(fmt.Sprint("same", round)))
		}
		for i, c := range conns {
			v.decided(c.Response(), fmt.Sprint("same", round), fmt.Sprint("connection ", i))
		}
	}
}

func drain(v *visit) {
	c, _ := v.open(protocol.JSON)
	v.decided(c.Ask(Request("before")), "before", "event before the drain")
	done := make(chan error, 1)
	go func() { done <- v.agent.Stop() }()
	for {
		ft, payload := c.Next()
		var h protocol.HealthStatus
		if ft == protocol.TypeHealthStatus && wire.Decode(c.Encoding, payload, &h) == nil && h.State == protocol.Draining {
			break
		}
	}
	v.decided(c.Ask(Request("during")), "during", "event of an exchange that began before the drain")
	c.MustClose()
	if err := <-done; err != nil {
		v.Errorf("drain: %v", err)
	}
}
