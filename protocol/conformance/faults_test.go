package conformance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faults names, for every check, an agent that it must find. "hangs" is one that keeps the connection of whoever breaks a rule.
var faults = map[string]string{
	"handshake": "no limits", "encoding": "always json", "wrong version": "any version", "no version": "any version", "silent peer": "hangs",
	"foreign proxy": "sparse", "configuration": "takes any configuration", "every event": "errs on chunks", "one answer": "answers twice", "many at once": "first id",
	"order": "errs on chunks", "beyond the limit": "forgets", "websocket frames": "allows messages", "reserved events": "allows guardrails", "ping": "own pong",
	"cancel": "ends on cancel", "greatest chunk": "small frames", "grease": "no grease", "nesting within bounds": "shallow", "longest id": "short ids", "bytes as text": "only UTF-8",
	"byte by byte": "whole frames", "truncated frame": "dies of a cut", "reconnect": "few connections", "many connections": "few connections", "drain": "no drain",
}

func TestEveryCheckFindsItsFault(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, c := range Checks() {
		fault := faults[c.Name]
		if strings.HasPrefix(c.Name, "broken: ") {
			fault = "hangs"
		}
		if fault == "" {
			t.Errorf("%s: no faulty agent for this check", c.Name)
			continue
		}
		a := newMini(t, fault).agent(3 * time.Second)
		all.Go(func() { // most of them wait until their patience ends
			if r := c.Try(a); r.Outcome != Failed {
				t.Errorf("%s: an agent with the fault %q passes", c.Name, fault)
			}
		})
	}
	all.Wait()
}

// The twin without a fault passes, so what was found was the fault.
func TestFaultlessPasses(t *testing.T) {
	t.Parallel()
	m := newMini(t, "")
	for _, c := range Checks() {
		if r := c.Try(m.agent(10 * time.Second)); r.Outcome != Passed {
			t.Errorf("%s: %s %q", c.Name, r.Outcome, r.Problems)
		}
	}
}

// mini is an agent of the simplest kind, one event after the other, with at most one fault.
type mini struct {
	fault  string
	socket string
	ln     net.Listener

	mu    sync.Mutex
	conns []net.Conn
	work  sync.WaitGroup
}

func newMini(t *testing.T, fault string) *mini {
	m := &mini{fault: fault, socket: filepath.Join(t.TempDir(), "s")}
	ln, err := net.Listen("unix", m.socket)
	if err != nil {
		t.Fatal(err)
	}
	m.ln = ln
	m.work.Go(m.accept)
	t.Cleanup(func() { m.die(); m.work.Wait() })
	return m
}

func (m *mini) agent(patience time.Duration) *Agent {
	return &Agent{Socket: m.socket, Patience: patience, Stop: m.stop}
}

func (m *mini) accept() {
	for n := 0; ; n++ {
		nc, err := m.ln.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.conns = append(m.conns, nc)
		m.mu.Unlock()
		if m.fault == "few connections" && n >= 8 {
			continue // it is never served
		}
		m.work.Go(func() { m.serve(nc) })
	}
}

func (m *mini) die() {
	m.ln.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, nc := range m.conns {
		nc.Close()
	}
}

// stop drains: what comes within a moment is still answered.
func (m *mini) stop() error {
	if m.fault != "no drain" {
		m.mu.Lock()
		for _, nc := range m.conns {
			b, _ := wire.AppendFrame(nil, wire.Format{}, &protocol.HealthStatus{AgentID: "mini", State: protocol.Draining})
			_, _ = nc.Write(b)
		}
		m.mu.Unlock()
		time.Sleep(300 * time.Millisecond) // the time it leaves for what was sent before the word came
	}
	m.die()
	return nil
}

// pieces ends a connection whose frames do not come in one piece.
type pieces struct{ net.Conn }

func (p pieces) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if n > 0 && (n < wire.HeaderLen || n < 4+int(binary.BigEndian.Uint32(b))) {
		return 0, errors.New("a piece")
	}
	return n, err
}

func (m *mini) serve(nc net.Conn) {
	c := NewConn(nil, nc)
	if m.fault == "whole frames" {
		c = NewConn(nil, pieces{nc})
	}
	err := m.greet(c)
	for err == nil {
		var t protocol.FrameType
		var payload []byte
		if t, payload, err = c.r.Next(); err == nil {
			err = m.frame(c, t, payload)
		}
	}
	switch {
	case m.fault == "hangs":
		return // until the test ends
	case m.fault == "dies of a cut" && strings.Contains(err.Error(), "unexpected EOF"):
		m.die()
	}
	nc.Close()
}

func (m *mini) greet(c *Conn) error {
	if m.fault != "hangs" {
		_ = c.SetReadDeadline(time.Now().Add(protocol.HandshakeTimeout))
	}
	c.r.Limit = protocol.MaxHandshake
	t, payload, err := c.r.Next()
	if err != nil {
		return err
	}
	if t != protocol.TypeHandshakeRequest || m.fault == "no grease" && bytes.Contains(payload, []byte("grease_a7")) {
		return errors.New("no handshake")
	}
	hello := new(protocol.HandshakeRequest)
	if err := wire.Decode(protocol.JSON, payload, hello); err != nil {
		return err
	}
	r := &protocol.HandshakeResponse{Version: protocol.Version, Success: true, Encoding: protocol.JSON, Capabilities: protocol.Capabilities{AgentID: "mini", Name: "mini", Version: "1",
		Events: []protocol.EventType{protocol.EventRequestHeaders}, Limits: protocol.DefaultLimits()}}
	for _, enc := range slices.Backward(hello.SupportedEncodings) {
		if enc == protocol.JSON || enc == protocol.MsgPack && m.fault != "always json" {
			r.Encoding = enc
		}
	}
	switch {
	case m.fault != "any version" && !slices.Contains(hello.SupportedVersions, protocol.Version):
		r.Success, r.Error = false, "version 2 is needed"
	case m.fault != "takes any configuration" && m.refuses(hello.Config):
		r.Success, r.Error = false, "takes no configuration"
	}
	m.say(c, r)
	if !r.Success {
		return errors.New(r.Error)
	}
	c.Encoding, c.r.Limit = r.Encoding, protocol.MaxFrame
	if m.fault == "small frames" {
		c.r.Limit = 1 << 20
	}
	return c.SetReadDeadline(time.Time{})
}

func (m *mini) refuses(config []byte) bool {
	return len(config) > 0 && string(config) != "null" && string(config) != "{}"
}

// say writes a message; what the fault of this agent spoils in it is spoiled here.
func (m *mini) say(c *Conn, message any) {
	b, err := wire.AppendFrame(nil, wire.Format{Encoding: c.Encoding}, message)
	if err != nil {
		return
	}
	if _, ok := message.(*protocol.HandshakeResponse); ok && m.fault == "no limits" {
		b = bytes.Replace(b, []byte(`"limits"`), []byte(`"bounds"`), 1)
	}
	if r, ok := message.(*protocol.Response); ok && m.fault == "sparse" {
		b = wire.AppendRaw(nil, protocol.TypeResponse, fmt.Appendf(nil, `{"correlation_id":%q,"decision":"allow"}`, r.CorrelationID))
	}
	_, _ = c.Write(b)
}

// frame answers one frame; an error ends the connection.
func (m *mini) frame(c *Conn, t protocol.FrameType, payload []byte) error {
	for fault, mark := range map[string]string{"no grease": "grease_a7", "shallow": "[[[[", "only UTF-8": "caf\xe9"} {
		if m.fault == fault && bytes.Contains(payload, []byte(mark)) {
			return errors.New(fault)
		}
	}
	var message any
	switch t {
	case protocol.TypePing:
		if m.fault == "own pong" {
			payload = []byte(`{"sequence":7}`)
		}
		_, err := c.Write(wire.AppendRaw(nil, protocol.TypePong, payload))
		return err
	case protocol.TypeCancel:
		message = new(protocol.Cancel)
		if m.fault == "ends on cancel" {
			return errors.New("cancel")
		}
	case protocol.TypeRequestHeaders:
		message = new(protocol.RequestHeaders)
	case protocol.TypeRequestBodyChunk, protocol.TypeResponseBodyChunk:
		message = new(protocol.BodyChunk)
	case protocol.TypeResponseHeaders:
		message = new(protocol.ResponseHeaders)
	case protocol.TypeRequestComplete:
		message = new(protocol.RequestComplete)
	case protocol.TypeWebSocketFrame:
		message = new(protocol.WebSocketFrame)
	case protocol.TypeConfigure:
		message = new(protocol.Configure)
	case protocol.TypeGuardrailInspect:
	default:
		return errors.New("unexpected type")
	}
	if message != nil {
		if err := wire.Decode(c.Encoding, payload, message); err != nil {
			return err
		}
	}
	if t != protocol.TypeCancel {
		m.answer(c, t, message, string(wire.EventID(c.Encoding, payload)))
	}
	return nil
}

func (m *mini) answer(c *Conn, t protocol.FrameType, message any, id string) {
	r := &protocol.Response{CorrelationID: id, Verdict: protocol.Allow()}
	switch {
	case t == protocol.TypeWebSocketFrame && m.fault != "allows messages", t == protocol.TypeGuardrailInspect && m.fault != "allows guardrails",
		t == protocol.TypeRequestBodyChunk && m.fault == "errs on chunks":
		r.Error = "cannot judge this"
	case m.fault == "short ids" && len(id) > 64:
		r.CorrelationID = id[:64]
	case m.fault == "first id" && strings.HasPrefix(id, "m"):
		r.CorrelationID = "m0"
	case m.fault == "forgets" && strings.HasPrefix(id, "b1"):
		return
	}
	if configure, ok := message.(*protocol.Configure); ok && m.fault != "takes any configuration" && m.refuses(configure.Config) {
		r.Verdict = protocol.Block(500, nil, []byte("takes no configuration"))
	}
	m.say(c, r)
	if m.fault == "answers twice" {
		m.say(c, r)
	}
}
