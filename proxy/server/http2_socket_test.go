package server_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

// A WebSocket over HTTP/2 (RFC 8441) reaches the backend as an upgrade, on routes that allow it, beside other streams of its connection.
func TestHTTP2WebSocket(t *testing.T) {
	t.Parallel()
	heads := make(chan *http.Request, 1)
	backend := proxytest.RawBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if req.Header.Get("Upgrade") == "" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		heads <- req
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+string(websocket.AppendAccept(nil, []byte(req.Header.Get("Sec-WebSocket-Key"))))+"\r\nSec-WebSocket-Protocol: chat\r\n\r\nfirst")
		io.Copy(c, r) // until the client ends its half
		io.WriteString(c, "last")
	})
	cfg := withHTTP2(proxytest.ToBackends(backend))
	ask := func(more ...string) []byte {
		return block(append([]string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "h2.test", ":path", "/ws", "sec-websocket-version", "13"}, more...)...)
	}
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	f := dialFrames(t, p.Addr)
	f.send(headers(1, ask(), false))
	f.wantStatus(1, 403) // not on this route
	f.send(headers(3, block(":method", "CONNECT", ":protocol", "connect-udp", ":scheme", "http", ":authority", "h2.test", ":path", "/ws"), false))
	f.wantStatus(3, 501)
	f.send(headers(5, block(":method", "GET", ":protocol", "websocket", ":scheme", "http", ":authority", "h2.test", ":path", "/ws"), false))
	f.wantReset(5, http2.ProtocolError)
	f.send(headers(7, ask(), true))
	f.wantReset(7, http2.ProtocolError)

	cfg.Routes[0].WebSocket = &config.WebSocket{Enabled: true}
	p = proxytest.Proxy(t, cfg, proxytest.Options{})
	f = dialFrames(t, p.Addr)
	f.send(headers(1, ask("sec-websocket-key", "mine", "sec-websocket-protocol", "chat"), false), http2.AppendData(nil, 1, []byte("early"), false))
	fr := f.until("answer", func(fr *http2.Frame) bool { return fr.Stream == 1 && fr.Type == http2.Headers })
	if !bytes.HasPrefix(fr.Payload, http2.AppendStatus(nil, 200)) || fr.Has(http2.FlagEndStream) || bytes.Contains(fr.Payload, []byte("accept")) || !bytes.Contains(fr.Payload, []byte("chat")) {
		t.Errorf("%q", fr.Payload)
	}
	req := <-heads
	if keys := req.Header.Values("Sec-Websocket-Key"); req.Method != "GET" || req.URL.Path != "/ws" || req.Header.Get("Sec-Websocket-Version") != "13" || len(keys) != 1 || len(keys[0]) != 24 {
		t.Errorf("%s %s %v", req.Method, req.URL, req.Header)
	}
	var got strings.Builder
	until := func(want string, end bool) {
		t.Helper()
		f.until(want, func(fr *http2.Frame) bool {
			if fr.Stream == 1 && fr.Type != http2.Data && fr.Type != http2.WindowUpdate {
				t.Fatalf("%+v", fr)
			}
			got.Write(fr.Payload)
			return strings.HasSuffix(got.String(), want) && fr.Has(http2.FlagEndStream) == end
		})
	}
	until("firstearly", false)
	f.send(headers(3, get(), true))
	f.wantStatus(3, 200) // the socket keeps nobody waiting
	big := strings.Repeat("w", 60_000)
	go func() {
		for rest := big; len(rest) > 0; rest = rest[10_000:] {
			f.send(http2.AppendData(nil, 1, []byte(rest[:10_000]), false), http2.AppendWindowUpdate(nil, 0, 10_000), http2.AppendWindowUpdate(nil, 1, 10_000))
		}
		f.send(http2.AppendData(nil, 1, nil, true))
	}()
	until("last", true)
	if got.Len() != len("firstearlylast")+len(big) {
		t.Errorf("%d bytes", got.Len())
	}
	proxytest.Eventually(t, "nothing is left", func() bool { return p.Server.InFlight() == 0 })
}
