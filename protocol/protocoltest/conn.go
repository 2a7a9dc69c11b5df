// Package protocoltest tests agents and clients over real sockets. Conformance is the test every agent runs; Conn plays a proxy, Fake plays an agent that
// behaves, or does not, as a test wants.
package protocoltest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// Conn is one end of a connection, used frame by frame. Its methods end the test when something is wrong, except where they say otherwise.
type Conn struct {
	net.Conn
	Encoding protocol.Encoding
	tb       testing.TB
	r        *wire.Reader
}

// Dial connects to an agent's socket. The connection is closed when the test ends.
func Dial(tb testing.TB, path string) *Conn {
	tb.Helper()
	nc, err := net.Dial("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	return newConn(tb, nc)
}

func newConn(tb testing.TB, nc net.Conn) *Conn {
	tb.Cleanup(func() { nc.Close() })
	return &Conn{Conn: nc, Encoding: protocol.JSON, tb: tb, r: wire.NewReader(nc)}
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
	if r.Encoding != "" {
		c.Encoding = r.Encoding
	}
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
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write(b); errors.Is(err, os.ErrDeadlineExceeded) {
		c.tb.Fatal("peer takes no bytes")
	}
}

// Next returns the next frame; the payload is good until the next call.
func (c *Conn) Next() (protocol.FrameType, []byte) {
	c.tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
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

// MustClose waits until the peer ends the connection; frames before that are skipped.
func (c *Conn) MustClose() {
	c.tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
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

// Serve serves an agent on a socket of its own and returns the path and the server. The agent is started as Main would, and shut down when the test ends.
func Serve(tb testing.TB, a agent.Agent) (path string, s *agent.Server) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "agent.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	if st, ok := a.(agent.Starter); ok {
		if err := st.Start(ctx, log); err != nil {
			tb.Fatal(err)
		}
	}
	s = agent.NewServer(a, log)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	tb.Cleanup(func() {
		stop, cancelStop := context.WithTimeout(context.Background(), patience)
		defer cancelStop()
		if err := s.Shutdown(stop); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
		cancel()
		if err := <-served; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	return path, s
}

// Fake is an agent that does what a test wants. behave is called for every connection, in its own goroutine; the connection is closed when it returns, and
// its reads fail when the test ends. It returns the socket's path.
func Fake(tb testing.TB, behave func(*Conn)) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "fake.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[nc] = true
			mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				behave(&Conn{Conn: nc, Encoding: protocol.JSON, tb: tb, r: wire.NewReader(nc)})
			})
		}
	})
	tb.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for nc := range open {
			nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return path
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
