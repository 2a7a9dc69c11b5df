package conformance

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// T is what a check reports to; a *testing.T is one, and so is the recorder of the program. Fatal and Fatalf end the check.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Conn is one end of a connection, used frame by frame. Its methods end the test when something is wrong, except where they say otherwise.
type Conn struct {
	net.Conn
	Encoding protocol.Encoding
	tb       T
	r        *wire.Reader
	patience time.Duration
}

// Dial connects to an agent's socket. The connection is closed when the test ends.
func Dial(tb T, path string) *Conn {
	tb.Helper()
	nc, err := net.Dial("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	return NewConn(tb, nc)
}

// NewConn makes a Conn of a connection that its caller closes.
func NewConn(tb T, nc net.Conn) *Conn {
	return &Conn{Conn: nc, Encoding: protocol.JSON, tb: tb, r: wire.NewReader(nc), patience: patience}
}

// Hello is the handshake of a proxy that offers these encodings.
func Hello(offer ...protocol.Encoding) *protocol.HandshakeRequest {
	return &protocol.HandshakeRequest{SupportedVersions: []int{protocol.Version}, ProxyID: "test-proxy", ProxyVersion: "0", SupportedEncodings: offer}
}

// Handshake does the proxy's part and uses the encoding the agent chose.
func (c *Conn) Handshake(hello *protocol.HandshakeRequest) *protocol.HandshakeResponse {
	c.tb.Helper()
	c.Send(hello)
	t, payload := c.Next()
	if t != protocol.TypeHandshakeResponse {
		c.tb.Fatalf("handshake answered with frame type %#x", byte(t))
	}
	var r protocol.HandshakeResponse
	if err := wire.Decode(protocol.JSON, payload, &r); err != nil {
		c.tb.Fatal(err)
	}
	c.choose(r.Encoding)
	return &r
}

// Send sends one message.
func (c *Conn) Send(m any) { c.tb.Helper(); c.send(m, false) }

// SendGreased sends one message with a key nobody knows.
func (c *Conn) SendGreased(m any) { c.tb.Helper(); c.send(m, true) }

func (c *Conn) send(m any, grease bool) {
	c.tb.Helper()
	b, err := wire.AppendFrame(nil, wire.Format{Encoding: c.Encoding, Grease: grease}, m)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.SendBytes(b)
}

// SendFrame sends a frame with a payload as it is.
func (c *Conn) SendFrame(t protocol.FrameType, payload []byte) {
	c.tb.Helper()
	c.SendBytes(wire.AppendRaw(nil, t, payload))
}

// SendBytes sends bytes as they are. A peer that has closed the connection is no failure: what it makes of the bytes is.
func (c *Conn) SendBytes(b []byte) {
	c.tb.Helper()
	if errors.Is(c.write(b), os.ErrDeadlineExceeded) {
		c.tb.Fatal("peer takes no bytes")
	}
}

func (c *Conn) write(b []byte) error {
	_ = c.SetWriteDeadline(time.Now().Add(c.patience))
	_, err := c.Write(b)
	return err
}

// choose takes the encoding that an agent chose.
func (c *Conn) choose(enc protocol.Encoding) {
	if enc != "" {
		c.Encoding = enc
	}
}

// Next returns the next frame; the payload is good until the next call.
func (c *Conn) Next() (protocol.FrameType, []byte) {
	c.tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(c.patience))
	t, payload, err := c.r.Next()
	if err != nil {
		c.tb.Fatalf("no frame: %v", err)
	}
	return t, payload
}

// Response returns the next response and skips everything else.
func (c *Conn) Response() *protocol.Response {
	c.tb.Helper()
	for {
		t, payload := c.Next()
		if t != protocol.TypeResponse {
			continue
		}
		r := new(protocol.Response)
		if err := wire.Decode(c.Encoding, payload, r); err != nil {
			c.tb.Fatal(err)
		}
		return r
	}
}

// responseWithin is Response that returns nil when none comes in time.
func (c *Conn) responseWithin(d time.Duration) *protocol.Response {
	_ = c.SetReadDeadline(time.Now().Add(d))
	for {
		t, payload, err := c.r.Next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			c.tb.Fatalf("the connection ended: %v", err)
		case t == protocol.TypeResponse:
			r := new(protocol.Response)
			if err := wire.Decode(c.Encoding, payload, r); err != nil {
				c.tb.Fatal(err)
			}
			return r
		}
	}
}

// MustClose waits until the peer ends the connection; frames before that are skipped.
func (c *Conn) MustClose() {
	c.tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(c.patience))
	for {
		_, _, err := c.r.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.tb.Fatal("peer keeps the connection")
		}
		if err != nil {
			return
		}
	}
}

// Ask sends an event and returns its answer.
func (c *Conn) Ask(m any) *protocol.Response {
	c.tb.Helper()
	c.Send(m)
	return c.Response()
}

// Accept does the agent's part of the handshake of a Fake, with the encoding given, and reports whether there was one.
func (c *Conn) Accept(enc protocol.Encoding) (*protocol.HandshakeRequest, bool) {
	t, payload, err := c.r.Next()
	if err != nil || t != protocol.TypeHandshakeRequest {
		return nil, false
	}
	hello := new(protocol.HandshakeRequest)
	if wire.Decode(protocol.JSON, payload, hello) != nil {
		return nil, false
	}
	ok := c.TrySend(&protocol.HandshakeResponse{Version: protocol.Version, Success: true, Encoding: enc,
		Capabilities: protocol.Capabilities{AgentID: "fake", Name: "fake", Version: "1", Events: []protocol.EventType{protocol.EventRequestHeaders}, Limits: protocol.DefaultLimits()}})
	c.Encoding = enc
	return hello, ok
}

// TrySend sends a message and reports whether it left; unlike Send it never ends the test.
func (c *Conn) TrySend(m any) bool {
	b, err := wire.AppendFrame(nil, wire.Format{Encoding: c.Encoding}, m)
	if err != nil {
		return false
	}
	_, err = c.Write(b)
	return err == nil
}

// TryNext is Next that reports the end of the connection instead of ending the test; Fakes use it.
func (c *Conn) TryNext() (t protocol.FrameType, payload []byte, ok bool) {
	t, payload, err := c.r.Next()
	return t, payload, err == nil
}

// NextEvent returns the type and correlation id of the next frame, and false at the end of the connection; unlike Next it never ends the test.
func (c *Conn) NextEvent() (t protocol.FrameType, id string, ok bool) {
	t, payload, err := c.r.Next()
	if err != nil {
		return 0, "", false
	}
	enc := c.Encoding
	if t == protocol.TypeCancel || t == protocol.TypePing {
		enc = protocol.JSON
	}
	return t, string(wire.EventID(enc, payload)), true
}

// Discard reads and forgets everything.
func (c *Conn) Discard() { _, _ = io.Copy(io.Discard, c.Conn) }
