package server_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/http3"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/websocket"
)

// A WebSocket that is asked for by an extended CONNECT (RFC 9220).
func TestHTTP3WebSocket(t *testing.T) {
	t.Parallel()
	backend := proxytest.RawBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if req.Method != "GET" || req.URL.Path != "/ws" || req.Header.Get("Upgrade") != "websocket" {
			t.Errorf("%s %s %v", req.Method, req.URL, req.Header)
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+string(websocket.AppendAccept(nil, []byte(req.Header.Get("Sec-WebSocket-Key"))))+"\r\n\r\nfirst")
		io.Copy(c, r) // until the client ends its half
		io.WriteString(c, "last")
	})
	ca, cfg := withHTTP3(t, backend)
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	ask := section(":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "t", ":path", "/ws", "sec-websocket-version", "13")
	r := dialRaw(t, proxytest.Proxy(t, cfg, proxytest.Options{}).Addr, conf, true)
	if status, code := r.status(r.ask(false, ask)); status != "403" {
		t.Errorf("not on this route: status %q, code %#x", status, code)
	}
	cfg.Routes[0].WebSocket = &config.WebSocket{Enabled: true}
	r = dialRaw(t, proxytest.Proxy(t, cfg, proxytest.Options{}).Addr, conf, true)
	s := r.ask(false, ask, body3("early"))
	big := strings.Repeat("w", 300_000)
	go func() {
		s.Write(body3(big))
		s.Close()
	}()
	b, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for first := true; len(b) > 0; first = false {
		f, n := http3.ParseFrame(b)
		if n == 0 || first != (f.Type == http3.Headers) || f.Type != http3.Headers && f.Type != http3.Data {
			t.Fatalf("frame %+v", f)
		}
		payload := b[n : n+int(f.Length)]
		if b = b[n+int(f.Length):]; !first {
			got.Write(payload)
			continue
		}
		if fields, _, _ := http3.ReadFields(payload, 1<<20, 100); fields[0].Value != "200" {
			t.Errorf("%v", fields)
		}
	}
	if got.String() != "firstearly"+big+"last" {
		t.Errorf("%d bytes", got.Len())
	}
}
