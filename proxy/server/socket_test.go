package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	peer "github.com/coder/websocket"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

// judge is a filter of WebSocket messages.
type judge func(x *filter.Exchange, m *filter.Message) filter.MessageDecision

func (judge) Name() string                                                           { return "judge" }
func (judge) Phases() filter.Phase                                                   { return filter.OnMessage }
func (j judge) Message(x *filter.Exchange, m *filter.Message) filter.MessageDecision { return j(x, m) }

// byWord judges by words in the message, of either side.
func byWord(_ *filter.Exchange, m *filter.Message) filter.MessageDecision {
	has := func(s string) bool { return bytes.Contains(m.Data, []byte(s)) }
	switch {
	case m.Opcode.IsControl():
	case has("drop"):
		return filter.Drop()
	case has("close"):
		d := filter.CloseWith(4001, "not here")
		d.Verdict = filter.Verdict{Agent: "judge", Event: "websocket_frame", Action: "close", Reason: "word"}
		return d
	case has("mask"):
		m.Replace(bytes.ReplaceAll(m.Data, []byte("mask"), []byte("****")))
	case has("forget"):
		return filter.MessageDecision{}
	}
	return filter.Pass()
}

// echoSocket is a backend that sends every message back, after those that it is told to send first. heads gets the requests it saw.
func echoSocket(t *testing.T, heads chan http.Header, first ...string) string {
	t.Helper()
	return proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if heads != nil {
			heads <- r.Header
		}
		c, err := peer.Accept(w, r, &peer.AcceptOptions{InsecureSkipVerify: true, CompressionMode: peer.CompressionContextTakeover, CompressionThreshold: 1, Subprotocols: []string{"v2", "chat"}})
		if err != nil {
			return
		}
		c.SetReadLimit(-1)
		defer c.CloseNow()
		for _, s := range first {
			_ = c.Write(r.Context(), peer.MessageText, []byte(s))
		}
		for {
			kind, p, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if c.Write(r.Context(), kind, p) != nil {
				return
			}
		}
	}))
}

// socketRoute is a proxy in front of a WebSocket backend.
func socketRoute(t *testing.T, backend string, ws config.WebSocket, j judge, o proxytest.Options) *proxytest.Instance {
	t.Helper()
	cfg := proxytest.ToBackends(backend)
	ws.Enabled = true
	cfg.Routes[0].WebSocket = &ws
	if j != nil {
		cfg.Routes[0].Filters = []string{"judge"}
		o.Filters = []filter.Filter{j}
	}
	return proxytest.Proxy(t, cfg, o)
}

func dialSocket(t *testing.T, p *proxytest.Instance, o *peer.DialOptions) *peer.Conn {
	t.Helper()
	c, _, err := peer.Dial(t.Context(), "ws://"+p.Addr+"/ws", o)
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { c.CloseNow() })
	return c
}

// say sends a text and expects another, "" = none.
func say(t *testing.T, c *peer.Conn, text, want string) {
	t.Helper()
	if err := c.Write(t.Context(), peer.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if want == "" {
		return
	}
	if _, p, err := c.Read(t.Context()); err != nil || string(p) != want {
		t.Fatalf("%.60q, %v, want %.60q", p, err, want)
	}
}

// wantClose expects the close code.
func wantClose(t *testing.T, c *peer.Conn, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, _, err := c.Read(ctx)
		if err == nil {
			continue
		}
		if got := int(peer.CloseStatus(err)); got != code {
			t.Errorf("close %d (%v), want %d", got, err, code)
		}
		return
	}
}

var compressed = &peer.DialOptions{CompressionMode: peer.CompressionContextTakeover, CompressionThreshold: 1}

// TestSocketPassthrough: without a reason to look at messages every byte passes as it is, extensions included, and closes keep their code.
func TestSocketPassthrough(t *testing.T) {
	t.Parallel()
	heads := make(chan http.Header, 1)
	p := socketRoute(t, echoSocket(t, heads, "hello"), config.WebSocket{}, nil, proxytest.Options{})
	c := dialSocket(t, p, compressed)
	if h := <-heads; !strings.Contains(h.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
		t.Errorf("the upstream was offered %q", h.Get("Sec-WebSocket-Extensions"))
	}
	if _, m, err := c.Read(t.Context()); err != nil || string(m) != "hello" {
		t.Fatal(string(m), err)
	}
	for _, n := range []int{1, 125, 126, 70_000, 3 << 20} {
		text := strings.Repeat("drop close mask ", n/16+1)
		say(t, c, text, text)
	}
	if err := c.Close(4321, "enough"); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestSocketInspection: filters decide over every message of both sides, and nothing is compressed.
func TestSocketInspection(t *testing.T) {
	t.Parallel()
	heads := make(chan http.Header, 10)
	audit := &proxytest.Log{}
	p := socketRoute(t, echoSocket(t, heads, "hello, mask", "drop me", "second"), config.WebSocket{MaxMessage: 4 << 20}, byWord, proxytest.Options{AuditLog: audit})
	c := dialSocket(t, p, compressed)
	if h := <-heads; h.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("the upstream was offered %q", h.Get("Sec-WebSocket-Extensions"))
	}
	greeted := func(c *peer.Conn) {
		for _, want := range []string{"hello, ****", "second"} {
			if _, m, err := c.Read(t.Context()); err != nil || string(m) != want {
				t.Fatalf("%q, %v, want %q", m, err, want)
			}
		}
	}
	greeted(c)
	say(t, c, "fine", "fine")
	say(t, c, "drop this", "")
	say(t, c, "after", "after")
	say(t, c, "a mask", "a ****")
	big := strings.Repeat("x", 3<<20)
	say(t, c, big, big)
	go c.Read(t.Context()) // which also takes the pong
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	for text, code := range map[string]int{"please close": 4001, "forget it": 1011} {
		c := dialSocket(t, p, nil)
		<-heads
		greeted(c) // so that what was to be dropped was
		say(t, c, text, "")
		wantClose(t, c, code)
	}
	var out strings.Builder
	proxytest.Eventually(t, "the metrics of it", func() bool {
		out.Reset()
		_, _ = p.Metrics.WriteText(&out)
		return strings.Contains(out.String(), `sentinel_websocket_closes_total{reason="filter",route="all"} 2`)
	})
	for _, want := range []string{`sentinel_websocket_decisions_total{decision="drop",route="all"} 4`, `sentinel_websocket_decisions_total{decision="close",route="all"} 2`,
		`sentinel_websockets_total{route="all"} 3`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, grep(out.String(), "websocket"))
		}
	}
	proxytest.Eventually(t, "the audit log", func() bool {
		return strings.Contains(audit.String(), `"reason":"word"`) && strings.Contains(audit.String(), `unusable decision`)
	})
}

func grep(text, word string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// rawSocket is a client that writes frames by itself.
type rawSocket struct {
	*proxytest.Client
	t *testing.T
}

func dialFramed(t *testing.T, p *proxytest.Instance) *rawSocket {
	t.Helper()
	c := p.Dial(t)
	c.Send(proxytest.Head("GET /ws HTTP/1.1", "Host: t", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
	if r, err := http.ReadResponse(c.R, nil); err != nil || r.StatusCode != 101 {
		t.Fatal(r, err)
	}
	return &rawSocket{c, t}
}

// next reads one frame of the proxy.
func (c *rawSocket) next() (first byte, payload []byte, err error) {
	head := make([]byte, 2)
	if _, err = io.ReadFull(c.R, head); err != nil {
		return 0, nil, err
	}
	n := int(head[1])
	switch n {
	case 126:
		ext := make([]byte, 2)
		_, err = io.ReadFull(c.R, ext)
		n = int(binary.BigEndian.Uint16(ext))
	case 127:
		ext := make([]byte, 8)
		_, err = io.ReadFull(c.R, ext)
		n = int(binary.BigEndian.Uint64(ext))
	}
	payload = make([]byte, n)
	if err == nil {
		_, err = io.ReadFull(c.R, payload)
	}
	return head[0], payload, err
}

// wantCode reads up to a close and expects its code; 0 = the connection ends without one.
func (c *rawSocket) wantCode(code int) {
	c.t.Helper()
	for {
		first, payload, err := c.next()
		if err != nil {
			if code != 0 {
				c.t.Errorf("%v, want close %d", err, code)
			}
			return
		}
		if first == 0x88 {
			if got := int(binary.BigEndian.Uint16(payload)); got != code {
				c.t.Errorf("close %d %q, want %d", got, payload[2:], code)
			}
			return
		}
	}
}

// frame is a masked frame; first is its first byte.
func frame(first byte, payload string) string {
	b := websocket.AppendFrame(nil, true, websocket.Text, &[4]byte{1, 2, 3, 4}, []byte(payload))
	b[0] = first
	return string(b)
}

// TestSocketNoBypass: no way to cut, flag or mask a message gets it past a filter; what is no WebSocket is refused with its code. The twin of each passes.
func TestSocketNoBypass(t *testing.T) {
	t.Parallel()
	p := socketRoute(t, echoSocket(t, nil), config.WebSocket{MaxMessage: 1000}, byWord, proxytest.Options{})
	for _, c := range []struct {
		name, send string
		code       int
	}{
		{"word over fragments", frame(0x01, "cl") + frame(0x00, "o") + frame(0x80, "se"), 4001},
		{"word over fragments, with a ping between", frame(0x01, "clo") + frame(0x89, "p") + frame(0x80, "se"), 4001},
		{"word in binary", frame(0x82, "close"), 4001},
		{"compressed", frame(0xc1, "\xca\x48\xcd\xc9\xc9\x07\x00"), 1002},
		{"second reserved bit", frame(0xa1, "x"), 1002},
		{"third reserved bit", frame(0x91, "x"), 1002},
		{"unmasked", "\x81\x05close", 1002},
		{"unknown opcode", frame(0x83, "x"), 1002},
		{"unknown control", frame(0x8b, "x"), 1002},
		{"continuation of nothing", frame(0x80, "close"), 1002},
		{"message within a message", frame(0x01, "a") + frame(0x81, "close"), 1002},
		{"ping in fragments", frame(0x09, "a"), 1002},
		{"long ping", frame(0x89, strings.Repeat("p", 126)), 1002},
		{"long way to say a length", "\x82\xfe\x00\x05\x01\x02\x03\x04close", 1002},
		{"text that is none", frame(0x81, "\xff"), 1007},
		{"too long", frame(0x81, strings.Repeat("x", 1001)), 1009},
		{"too long in fragments", frame(0x01, strings.Repeat("x", 600)) + frame(0x80, strings.Repeat("x", 401)), 1009},
		{"announced too long", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", 1009},
		{"close with a bad code", frame(0x88, "\x03\xed"), 1002},
		{"close with half a code", frame(0x88, "\x03"), 1002},
		{"after a close", frame(0x88, "\x03\xe8") + frame(0x81, "x"), 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := dialFramed(t, p)
			r.Send(c.send)
			r.wantCode(c.code)
			r.Close()
		})
	}
	for name, send := range map[string][]string{
		"fragments":      {frame(0x01, "cl"), frame(0x00, ""), frame(0x80, "ouse")},
		"ping between":   {frame(0x01, "clo"), frame(0x89, "p"), frame(0x80, "use")},
		"binary":         {frame(0x82, "\xff\x00")},
		"as long as can": {frame(0x81, strings.Repeat("x", 1000))},
		"byte by byte":   strings.Split(frame(0x81, "slow"), ""),
	} {
		t.Run("twin: "+name, func(t *testing.T) {
			t.Parallel()
			r := dialFramed(t, p)
			r.Send(send...)
			for {
				first, payload, err := r.next()
				if err != nil {
					t.Fatal(err)
				}
				if first == 0x8a {
					continue
				}
				if len(payload) == 0 || first&0xf0 != 0x80 {
					t.Errorf("%#x %q", first, payload)
				}
				break
			}
			r.Send(frame(0x88, "\x03\xe8"))
			r.wantCode(1000)
			r.Close()
		})
	}
}

// TestSocketLimits: rate, age and idle time end a WebSocket with their code.
func TestSocketLimits(t *testing.T) {
	t.Parallel()
	backend := echoSocket(t, nil)
	t.Run("rate", func(t *testing.T) {
		t.Parallel()
		c := dialSocket(t, socketRoute(t, backend, config.WebSocket{Rate: 1, Burst: 5}, nil, proxytest.Options{}), nil)
		for range 5 {
			say(t, c, "x", "x")
		}
		say(t, c, "x", "")
		wantClose(t, c, 1008)
	})
	t.Run("age", func(t *testing.T) {
		t.Parallel()
		for _, j := range []judge{nil, byWord} {
			c := dialSocket(t, socketRoute(t, backend, config.WebSocket{MaxAge: 300 * time.Millisecond}, j, proxytest.Options{}), nil)
			for begun := time.Now(); ; {
				if c.Write(t.Context(), peer.MessageText, []byte("x")) != nil {
					break
				}
				if _, _, err := c.Read(t.Context()); err != nil {
					if code := peer.CloseStatus(err); code != 1001 || time.Since(begun) < 300*time.Millisecond {
						t.Errorf("%v after %v", err, time.Since(begun))
					}
					break
				}
			}
		}
	})
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		for _, j := range []judge{nil, byWord} {
			p := socketRoute(t, backend, config.WebSocket{Idle: 200 * time.Millisecond}, j, proxytest.Options{})
			c := dialSocket(t, p, nil)
			say(t, c, "x", "x")
			wantClose(t, c, 1001)
			proxytest.Eventually(t, "the end of it", func() bool { return p.Metrics.Route("all").Sockets.Open.Load() == 0 })
		}
	})
	t.Run("connections", func(t *testing.T) {
		t.Parallel()
		for _, ws := range []config.WebSocket{{MaxOpen: 2}, {MaxPerClient: 2}} {
			p := socketRoute(t, backend, ws, nil, proxytest.Options{})
			var held []*peer.Conn
			for range 2 {
				held = append(held, dialSocket(t, p, nil))
			}
			_, r, err := peer.Dial(t.Context(), "ws://"+p.Addr+"/ws", nil)
			if err == nil || r == nil || r.StatusCode != 503 {
				t.Fatalf("the third: %v", err)
			}
			if r, err := http.Get("http://" + p.Addr + "/"); err != nil || r.StatusCode == 503 {
				t.Errorf("an ordinary request: %v, %v", r, err)
			} else {
				r.Body.Close()
			}
			held[0].Close(1000, "")
			proxytest.Eventually(t, "room for another", func() bool { return p.Metrics.Route("all").Sockets.Open.Load() < 2 })
			dialSocket(t, p, nil)
		}
	})
}

// TestSocketOrigin: only the pages that may, and those who are none.
func TestSocketOrigin(t *testing.T) {
	t.Parallel()
	p := socketRoute(t, echoSocket(t, nil), config.WebSocket{Origins: []string{"self", "https://app.example"}}, nil, proxytest.Options{})
	for origin, want := range map[string]int{
		"": 101, "https://app.example": 101, "HTTPS://App.Example": 101, "http://" + p.Addr: 101, "https://" + p.Addr: 403, "https://evil.example": 403, "null": 403,
		"https://app.example.evil.example": 403, "https://app.example:444": 403, "http://app.example": 403, "https://app.example, https://evil.example": 403, "://": 403, "http://": 403,
	} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		c, r, err := peer.Dial(t.Context(), "ws://"+p.Addr+"/ws", &peer.DialOptions{HTTPHeader: h})
		if r == nil || r.StatusCode != want {
			t.Errorf("%q: %v, want %d", origin, err, want)
		}
		if err == nil {
			c.CloseNow()
		}
	}
}

// TestSocketSubprotocols: the upstream is offered those that are allowed.
func TestSocketSubprotocols(t *testing.T) {
	t.Parallel()
	heads := make(chan http.Header, 10)
	p := socketRoute(t, echoSocket(t, heads), config.WebSocket{Subprotocols: []string{"chat", "x"}}, nil, proxytest.Options{})
	for _, c := range []struct {
		offer        []string
		status       int
		seen, chosen string
	}{
		{nil, 101, "", ""}, {[]string{"v2", "chat"}, 101, "chat", "chat"}, {[]string{"chat", "v2", "x"}, 101, "chat, x", "chat"}, {[]string{"v2"}, 400, "", ""}, {[]string{"Chat"}, 400, "", ""},
	} {
		conn, r, err := peer.Dial(t.Context(), "ws://"+p.Addr+"/ws", &peer.DialOptions{Subprotocols: c.offer})
		if r == nil || r.StatusCode != c.status {
			t.Errorf("%v: %v", c.offer, err)
			continue
		}
		if c.status != 101 {
			continue
		}
		if got := (<-heads).Get("Sec-WebSocket-Protocol"); got != c.seen || conn.Subprotocol() != c.chosen {
			t.Errorf("%v: the upstream saw %q, %q was chosen", c.offer, got, conn.Subprotocol())
		}
		conn.CloseNow()
	}
	if len(heads) > 0 {
		t.Error("the upstream heard of a handshake that was refused")
	}
}

// TestSocketDrain: a drain tells both sides, within the time that is set, and between two frames even when one is on its way.
func TestSocketDrain(t *testing.T) {
	t.Parallel()
	for name, j := range map[string]judge{"passthrough": nil, "inspected": byWord} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ends := make(chan error, 50)
			backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := peer.Accept(w, r, nil)
				if err != nil {
					return
				}
				_ = c.Write(r.Context(), peer.MessageText, []byte("ready"))
				_, _, err = c.Read(r.Context())
				ends <- err
			}))
			p := socketRoute(t, backend, config.WebSocket{Drain: 500 * time.Millisecond}, j, proxytest.Options{})
			var all []*peer.Conn
			for range 20 {
				c := dialSocket(t, p, nil)
				if _, _, err := c.Read(t.Context()); err != nil {
					t.Fatal(err)
				}
				all = append(all, c)
			}
			p.Server.Drain()
			for _, c := range all {
				wantClose(t, c, 1001)
			}
			for range all {
				if err := <-ends; peer.CloseStatus(err) != 1001 {
					t.Errorf("the backend: %v", err)
				}
			}
			proxytest.Eventually(t, "the end of all", func() bool { return p.Metrics.Route("all").Sockets.Open.Load() == 0 })
		})
	}
	t.Run("in a frame", func(t *testing.T) {
		t.Parallel()
		rest := make(chan struct{})
		half := strings.Repeat("x", 1000)
		backend := proxytest.RawBackend(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", websocket.AppendAccept(nil, []byte(req.Header.Get("Sec-WebSocket-Key"))))
			io.WriteString(c, "\x81\x7e\x07\xd0"+half)
			<-rest
			io.WriteString(c, half+"\x81\x04late")
			io.Copy(io.Discard, r)
		})
		p := socketRoute(t, backend, config.WebSocket{}, nil, proxytest.Options{})
		c := dialFramed(t, p)
		if _, err := io.ReadFull(c.R, make([]byte, 1004)); err != nil {
			t.Fatal(err)
		}
		p.Server.Drain()
		proxytest.Eventually(t, "the goodbye", func() bool {
			n := 0
			p.Metrics.Route("all").Sockets.Closes.Each(func(string, uint64) { n++ })
			return n == 1
		})
		close(rest)
		got, err := io.ReadAll(c.R)
		if want := half + "\x88\x02\x03\xe9"; err != nil || string(got) != want {
			t.Errorf("%d bytes, %q, %v", len(got), got[max(0, len(got)-20):], err)
		}
	})
}

// TestSocketDeafPeer: a side that takes nothing does not hold the other, nor the end.
func TestSocketDeafPeer(t *testing.T) {
	t.Parallel()
	p := socketRoute(t, echoSocket(t, nil), config.WebSocket{Idle: 300 * time.Millisecond}, byWord, proxytest.Options{})
	c := dialFramed(t, p)
	payload := frame(0x82, strings.Repeat("x", 100_000))
	_ = c.SetWriteDeadline(time.Now().Add(20 * time.Second))
	for { // the echoes are not read, so at some time nothing moves any more
		if _, err := c.Write([]byte(payload)); err != nil {
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				t.Error("it goes on for ever")
			}
			break
		}
	}
	proxytest.Eventually(t, "the end of it", func() bool { return p.Metrics.Route("all").Sockets.Open.Load() == 0 })
}

// TestSocketSides: a filter knows who sent what, in which order.
func TestSocketSides(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 100)
	p := socketRoute(t, echoSocket(t, nil), config.WebSocket{}, func(x *filter.Exchange, m *filter.Message) filter.MessageDecision {
		seen <- fmt.Sprint(m.FromClient, m.Opcode, m.Index, string(m.Data), string(x.RequestID()) != "", x.Route())
		return filter.Pass()
	}, proxytest.Options{})
	c := dialSocket(t, p, nil)
	say(t, c, "a", "a")
	say(t, c, "b", "b")
	c.Close(1000, "end")
	var got []string
	for range 6 {
		got = append(got, <-seen)
	}
	end := string(websocket.AppendClose(nil, 1000, "end"))
	for _, want := range []string{"true 1 0 a true all", "false 1 0 a true all", "true 1 1 b true all", "false 1 1 b true all", "true 8 2 " + end + " true all"} {
		want = strings.ReplaceAll(want, " ", "")
		if !slices.ContainsFunc(got, func(s string) bool { return strings.ReplaceAll(s, " ", "") == want }) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}
