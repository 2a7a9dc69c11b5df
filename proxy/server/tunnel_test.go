package server_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	peer "github.com/coder/websocket"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// tunnels makes the upstream of a configuration one that speaks HTTP/2 only, and its route one for WebSockets.
func tunnels(addresses ...string) config.Config {
	cfg := overHTTP2(addresses...)
	cfg.Routes[0].WebSocket = &config.WebSocket{Enabled: true}
	return cfg
}

var handshake = proxytest.Head("GET /ws?q=1 HTTP/1.1", "Host: t", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: chat", "Origin: http://t")

// serveTunnels is a server of HTTP/2 that others wrote. Its support of extended CONNECT (RFC 8441) is switched on by the environment of the whole process, so it is a process of its own: this
// test's program. It tells its address, and ends with its input. To a CONNECT it tells what it was asked, then it sends everything back, and a word after the end.
func serveTunnels() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		switch {
		case r.Method != http.MethodConnect:
			fmt.Fprint(w, "plain")
			return
		case r.URL.Path == "/no":
			w.WriteHeader(403)
			fmt.Fprint(w, "go away")
			return
		}
		r.Header.Set("Uri", r.URL.RequestURI())
		r.Header.Set("Host", r.Host)
		w.Header().Set("Sec-WebSocket-Protocol", "chat")
		_ = json.NewEncoder(w).Encode(r.Header)
		buf := make([]byte, 4096)
		for {
			_ = c.Flush()
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			if err != nil {
				break
			}
		}
		fmt.Fprint(w, "bye")
	})}
	srv.Protocols.SetUnencryptedHTTP2(true)
	fmt.Println(ln.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	_ = srv.Serve(ln)
}

// tunnelServer starts serveTunnels.
func tunnelServer(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GODEBUG=http2xconnect=1", "SERVE_TUNNELS=1")
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// The target gets an extended CONNECT, with everything that belongs to it and nothing that does not; bytes pass both ways, also when one side has ended.
func TestTunnelOverHTTP2(t *testing.T) {
	t.Parallel()
	addr := tunnelServer(t)
	p := proxytest.Proxy(t, tunnels(addr), proxytest.Options{})
	c := p.Dial(t)
	c.Send(handshake)
	r, _ := c.Answer("GET")
	if r.StatusCode != 101 || r.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || r.Header.Get("Sec-WebSocket-Protocol") != "chat" || r.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("%s %v", r.Status, r.Header)
	}
	var h http.Header
	line, err := c.R.ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &h) != nil {
		t.Fatalf("%q, %v", line, err)
	}
	if h[":protocol"][0] != "websocket" || h.Get("Uri") != "/ws?q=1" || h.Get("Host") != "t" || h.Get("Sec-WebSocket-Version") != "13" || h.Get("Origin") != "http://t" ||
		h["Sec-Websocket-Key"] != nil || h["Upgrade"] != nil || h["Connection"] != nil {
		t.Errorf("%v", h)
	}
	if r, body := p.Dial(t).Get("/"); r.StatusCode != 200 || body != "plain" {
		t.Error("a request beside it:", r.Status, body)
	}
	sent := strings.Repeat("\x82\x04abcd", 50_000) // more than any window
	go c.Send(sent)
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c.R, got); err != nil || string(got) != sent {
		t.Fatal("what came back is not what was sent:", err)
	}
	_ = c.CloseWrite()
	if rest, err := io.ReadAll(c.R); err != nil || string(rest) != "bye" {
		t.Errorf("after the end: %q, %v", rest, err)
	}
	c = p.Dial(t)
	c.Send(strings.Replace(handshake, "/ws", "/no", 1))
	if r, body := c.Answer("GET"); r.StatusCode != 403 || body != "go away" {
		t.Error("a refusal:", r.Status, body)
	}
	proxytest.Eventually(t, "nothing is at work", func() bool { return p.Metrics.Target("backend", addr).Active.Load() == 0 })
}

// Real WebSockets through two proxies with HTTP/2 between them: messages of all sizes, inspected on the way, and the close of a drain.
func TestSocketThroughTwoProxies(t *testing.T) {
	t.Parallel()
	for name, j := range map[string]judge{"passed": nil, "inspected": byWord} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner := withHTTP2(proxytest.ToBackends(echoSocket(t, nil, "hello")))
			inner.Routes[0].WebSocket = &config.WebSocket{Enabled: true}
			second := proxytest.Proxy(t, inner, proxytest.Options{})
			cfg := tunnels(second.Addr)
			cfg.Routes[0].WebSocket.Drain = time.Millisecond
			o := proxytest.Options{}
			if j != nil {
				cfg.Routes[0].Filters = []string{"judge"}
				o.Filters = append(o.Filters, j)
			}
			first := proxytest.Proxy(t, cfg, o)
			c := dialSocket(t, first, compressed)
			if _, p, err := c.Read(t.Context()); err != nil || string(p) != "hello" {
				t.Fatal(string(p), err)
			}
			for _, n := range []int{1, 126, 70_000, 1_000_000} {
				text := strings.Repeat("x", n)
				say(t, c, text, text)
			}
			if j != nil {
				say(t, c, "mask", "****")
			}
			go func() { _ = first.Server.Shutdown(t.Context()) }()
			wantClose(t, c, int(peer.StatusGoingAway))
		})
	}
}

// What does not go: a target that has not said that it takes WebSockets, one that agrees with a length, and one that breaks off. Its other requests are served.
func TestTunnelRefused(t *testing.T) {
	t.Parallel()
	capable := http2.AppendSettings(nil, http2.Setting{ID: http2.EnableConnectProtocol, Value: 1})
	for name, tt := range map[string]struct {
		settings []byte
		answer   []byte
		status   int
	}{
		"not capable":         {nil, fine(), 502},
		"with a length":       {capable, http2.AppendHeaders(nil, 1, http2.AppendField(http2.AppendStatus(nil, 200), []byte("content-length"), []byte("5")), false), 502},
		"reset":               {capable, http2.AppendRST(nil, 1, http2.InternalError), 502},
		"ends at once":        {capable, http2.AppendHeaders(nil, 1, http2.AppendStatus(nil, 200), true), 101},
		"takes its word back": {append(capable, http2.AppendSettings(nil, http2.Setting{ID: http2.EnableConnectProtocol})...), nil, 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := framesBackend(t, func(_ int64, c net.Conn) { _, _ = c.Write(tt.answer) }, tt.settings...)
			cfg := tunnels(addr)
			cfg.Routes[0].Retry.MaxAttempts = 1
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			c := p.Dial(t)
			c.Send(handshake)
			if r, _ := c.Answer("GET"); r.StatusCode != tt.status {
				t.Errorf("%s, want %d", r.Status, tt.status)
			}
			if tt.status == 101 {
				c.WantClosed()
			}
			if tt.settings == nil {
				if r, body := p.Dial(t).Get("/"); r.StatusCode != 200 || body != "fine" {
					t.Error("the twin that is no WebSocket:", r.Status, body)
				}
			}
		})
	}
}
