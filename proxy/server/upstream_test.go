package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// answering is a backend that reads heads and answers each with the same bytes, keeping the connection.
func answering(t *testing.T, answer string) string {
	t.Helper()
	return proxytest.RawBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
}

// Every answer that breaks HTTP is 502 for the client, whose connection stays good; its twin without the fault is relayed.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	const good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, answer := range map[string]string{
		"good":               good,
		"garbage":            "hello\r\n\r\n",
		"extra bytes":        good + "EVIL",
		"second answer":      good + good,
		"two lengths":        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"signed length":      "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
		"length and chunked": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"bare LF":            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"header flood":       "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 5000) + "\r\n",
		"long header":        "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 100000) + "\r\n\r\n",
		"unasked 100":        "HTTP/1.1 100 Continue\r\n\r\n" + good,
		"unasked 101":        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		"endless 103":        strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1000) + good,
		"bad chunk":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
		"behind chunked":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nEVIL",
		"body for 204":       "HTTP/1.1 204 No Content\r\n\r\nEVIL",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := proxytest.Proxy(t, proxytest.ToBackends(answering(t, answer)), proxytest.Options{})
			c := p.Dial(t)
			for range 3 {
				c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
				var r *http.Response
				var body string
				for r == nil || r.StatusCode == 103 {
					r, body = c.Answer("GET")
				}
				if name == "good" {
					if r.StatusCode != 200 || body != "ok" {
						t.Fatal(r, body)
					}
				} else if r.StatusCode != 502 || !strings.Contains(body, `"error":"502 Bad Gateway"`) || strings.Contains(body, "EVIL") {
					t.Fatal(r, body)
				}
			}
		})
	}
}

// An answer that ends early breaks the client's connection: it must not look complete.
func TestTruncatedAnswer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\nabc",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := proxytest.RawBackend(t, func(c net.Conn) {
				http.ReadRequest(bufio.NewReader(c))
				io.WriteString(c, answer)
			})
			c := proxytest.Proxy(t, proxytest.ToBackends(addr), proxytest.Options{}).Dial(t)
			c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
			r, err := http.ReadResponse(c.R, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Fatal("a truncated body looks complete")
			}
		})
	}
}

func TestUntilClose(t *testing.T) {
	t.Parallel()
	addr := proxytest.RawBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("x", 100000))
	})
	c := proxytest.Proxy(t, proxytest.ToBackends(addr), proxytest.Options{}).Dial(t)
	for range 2 {
		if r, body := c.Get("/"); r.StatusCode != 200 || len(body) != 100000 {
			t.Fatal(r, len(body))
		}
	}
}

func TestRetryOnAnotherTarget(t *testing.T) {
	t.Parallel()
	live := proxytest.Backend(t, http.HandlerFunc(echo))
	p := proxytest.Proxy(t, proxytest.ToBackends(fmt.Sprint("127.0.0.1:", proxytest.Port(t)), live), proxytest.Options{})
	c := p.Dial(t)
	for range 6 {
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 2") + "hi")
		if r, body := c.Answer("POST"); r.StatusCode != 200 || body != "POST hi" {
			t.Fatal(r, body)
		}
	}
}

func TestNoTarget(t *testing.T) {
	t.Parallel()
	c := proxytest.Proxy(t, proxytest.ToBackends(fmt.Sprint("127.0.0.1:", proxytest.Port(t))), proxytest.Options{}).Dial(t)
	if r, body := c.Get("/"); r.StatusCode != 502 || !strings.Contains(body, r.Header.Get("X-Request-Id")) {
		t.Fatal(r, body)
	}
	if r, _ := c.Get("/"); r.StatusCode != 502 {
		t.Fatal("the client's connection did not survive", r)
	}
}

// dropping answers the first request of each connection and closes on the second, after reading it.
func dropping(t *testing.T, seen *atomic.Int64) string {
	t.Helper()
	return proxytest.RawBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for i := range 2 {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			seen.Add(1)
			if i == 0 {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		}
	})
}

// A pooled connection that dies under a request costs an idempotent request nothing, and a POST is not sent twice.
func TestStaleConnection(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	cfg := proxytest.ToBackends(dropping(t, &seen))
	cfg.Routes[0].Retry.MaxAttempts = 1
	c := proxytest.Proxy(t, cfg, proxytest.Options{}).Dial(t)
	for i := range 5 {
		if r, _ := c.Get("/"); r.StatusCode != 200 {
			t.Fatal(i, r)
		}
	}
	seen.Store(0)
	post := func() int {
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 2") + "hi")
		r, _ := c.Answer("POST")
		return r.StatusCode
	}
	a, b := post(), post()
	if a+b != 702 || seen.Load() != 2 {
		t.Fatalf("statuses %d and %d, the backend saw %d requests", a, b, seen.Load())
	}
}

func TestUpstreamTimeouts(t *testing.T) {
	t.Parallel()
	addr := proxytest.RawBackend(t, func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil && req.URL.Path == "/drip" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
			for range 100 {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		io.Copy(io.Discard, c)
	})
	cfg := proxytest.ToBackends(addr)
	cfg.Upstreams[0].Timeouts.Read = 300 * time.Millisecond
	cfg.Routes[0].Policies.Timeout = 1500 * time.Millisecond
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	c := p.Dial(t)
	if r, _ := c.Get("/silent"); r.StatusCode != 504 {
		t.Fatal(r)
	}
	if r, _ := c.Get("/silent"); r.StatusCode != 504 {
		t.Fatal("the client's connection did not survive", r)
	}
	begin := time.Now()
	c.Send(proxytest.Head("GET /drip HTTP/1.1", "Host: t"))
	r, err := http.ReadResponse(c.R, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r.Body); err == nil || time.Since(begin) > 4*time.Second {
		t.Fatalf("the exchange outlived its deadline: %v after %v", err, time.Since(begin))
	}
}

func TestWebSocketUpgrade(t *testing.T) {
	t.Parallel()
	addr := proxytest.RawBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil || req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Sec-WebSocket-Key") == "" {
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst")
		b := make([]byte, 100)
		for {
			n, err := r.Read(b)
			if err != nil {
				io.WriteString(c, "bye")
				return
			}
			c.Write(b[:n])
		}
	})
	ask := proxytest.Head("GET /ws HTTP/1.1", "Host: t", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	t.Run("allowed", func(t *testing.T) {
		t.Parallel()
		cfg := proxytest.ToBackends(addr)
		cfg.Routes[0].WebSocket = &config.WebSocket{Enabled: true}
		c := proxytest.Proxy(t, cfg, proxytest.Options{}).Dial(t)
		c.Send(ask, "early")
		r, err := http.ReadResponse(c.R, nil)
		if err != nil || r.StatusCode != 101 || r.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || r.Header.Get("Upgrade") != "websocket" {
			t.Fatal(r, err)
		}
		want := func(s string) {
			t.Helper()
			b := make([]byte, len(s))
			if _, err := io.ReadFull(c.R, b); err != nil || string(b) != s {
				t.Fatalf("%q %v, want %q", b, err, s)
			}
		}
		want("firstearly")
		for i := range 10 {
			c.Send(fmt.Sprint("msg", i))
			want(fmt.Sprint("msg", i))
		}
		c.CloseWrite()
		want("bye")
		c.WantClosed()
	})
	t.Run("not allowed", func(t *testing.T) {
		t.Parallel()
		c := proxytest.Proxy(t, proxytest.ToBackends(addr), proxytest.Options{}).Dial(t)
		c.Send(ask)
		if r, _ := c.Answer("GET"); r.StatusCode != 403 {
			t.Fatal(r)
		}
	})
}

// A client that goes away takes its request with it.
func TestClientAbort(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*proxytest.Client){
		"close": func(c *proxytest.Client) { c.Close() },
		"reset": func(c *proxytest.Client) { c.SetLinger(0); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived, cancelled := make(chan struct{}), make(chan struct{})
			p := start(t, func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				<-r.Context().Done()
				close(cancelled)
			})
			c := p.Dial(t)
			c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
			<-arrived
			leave(c)
			select {
			case <-cancelled:
			case <-time.After(proxytest.Patience):
				t.Fatal("the upstream request goes on")
			}
			proxytest.Eventually(t, "connection forgotten", func() bool { return p.Server.Connections() == 0 })
		})
	}
}

// A client may send its end and still read the answer.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(700 * time.Millisecond)
		io.WriteString(w, "late")
	})
	c := p.Dial(t)
	c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
	c.CloseWrite()
	if r, body := c.Answer("GET"); r.StatusCode != 200 || body != "late" {
		t.Fatal(r, body)
	}
	c.WantClosed()
}

func TestRulesOfRoute(t *testing.T) {
	t.Parallel()
	cfg := proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Old", "1")
		w.Header().Set("Gone", "1")
		fmt.Fprint(w, r.Header["B"], r.Header["S"], r.Header["D"], r.Header["A"])
	})))
	rules := func(extra string) config.HeaderRules {
		return config.HeaderRules{
			Rename: []config.NameValue{{Name: "A", Value: "B"}, {Name: "Old", Value: "New"}}, Set: []config.NameValue{{Name: "S", Value: "set" + extra}},
			Add: []config.NameValue{{Name: "D", Value: "1"}, {Name: "D", Value: "2"}}, Remove: []string{"Gone"},
		}
	}
	cfg.Routes[0].Policies.RequestHeaders, cfg.Routes[0].Policies.ResponseHeaders = rules(""), rules("!")
	c := proxytest.Proxy(t, cfg, proxytest.Options{}).Dial(t)
	c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t", "a: x", "S: other"))
	r, body := c.Answer("GET")
	if body != "[x] [set] [1 2] []" {
		t.Error(body)
	}
	if h := r.Header; h.Get("New") != "1" || h.Get("Old") != "" || h.Get("S") != "set!" || len(h["D"]) != 2 || h.Get("Gone") != "" {
		t.Error(h)
	}
}

// A handshake is checked on both sides. Each attack stands beside its innocent twin.
func TestWebSocketHandshake(t *testing.T) {
	t.Parallel()
	const (
		key    = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
		accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
		offer  = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
		chat   = "Sec-WebSocket-Protocol: chat, v2"
	)
	for name, c := range map[string]struct {
		ask, answer []string
		status      int
		code        string
	}{
		"plain":                {[]string{key}, []string{accept}, 101, ""},
		"extension":            {[]string{key, offer}, []string{accept, "Sec-WebSocket-Extensions: permessage-deflate"}, 101, ""},
		"subprotocol":          {[]string{key, chat}, []string{accept, "Sec-WebSocket-Protocol: v2"}, 101, ""},
		"no key":               {nil, nil, 400, "websocket_key"},
		"two keys":             {[]string{key, key}, nil, 400, "websocket_key"},
		"two versions":         {[]string{key, "Sec-WebSocket-Version: 13"}, nil, 400, "websocket_version"},
		"broken offer":         {[]string{key, "Sec-WebSocket-Extensions: a;"}, nil, 400, "websocket_extensions"},
		"no accept":            {[]string{key}, nil, 502, "upstream_websocket_accept"},
		"wrong accept":         {[]string{key}, []string{"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, 502, "upstream_websocket_accept"},
		"unasked extension":    {[]string{key}, []string{accept, "Sec-WebSocket-Extensions: permessage-deflate"}, 502, "upstream_websocket_extension"},
		"another extension":    {[]string{key, offer}, []string{accept, "Sec-WebSocket-Extensions: permessage-deflate, x-more"}, 502, "upstream_websocket_extension"},
		"unasked subprotocol":  {[]string{key}, []string{accept, "Sec-WebSocket-Protocol: v2"}, 502, "upstream_websocket_protocol"},
		"several subprotocols": {[]string{key, chat}, []string{accept, "Sec-WebSocket-Protocol: chat, v2"}, 502, "upstream_websocket_protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log proxytest.Log
			reached := make(chan struct{}, 1)
			cfg := proxytest.ToBackends(proxytest.RawBackend(t, func(conn net.Conn) {
				r := bufio.NewReader(conn)
				if _, err := http.ReadRequest(r); err == nil {
					reached <- struct{}{}
					io.WriteString(conn, proxytest.Head(append([]string{"HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"}, c.answer...)...)+"frames")
					io.Copy(io.Discard, r)
				}
			}))
			cfg.Routes[0].WebSocket = &config.WebSocket{Enabled: true}
			client := proxytest.Proxy(t, cfg, proxytest.Options{AccessLog: &log}).Dial(t)
			client.Send(proxytest.Head(append([]string{"GET / HTTP/1.1", "Host: t", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"}, c.ask...)...))
			r, err := http.ReadResponse(client.R, nil)
			if err != nil || r.StatusCode != c.status {
				t.Fatal(r, err)
			}
			if c.status == 101 {
				b := make([]byte, 6)
				if _, err := io.ReadFull(client.R, b); err != nil || string(b) != "frames" {
					t.Errorf("%q %v", b, err)
				}
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil || strings.Contains(string(body), "frames") {
				t.Errorf("%q %v", body, err)
			}
			if c.status == 400 && (r.Header.Get("Sec-WebSocket-Version") != "13" || len(reached) > 0) {
				t.Error(r.Header, len(reached))
			}
			proxytest.Eventually(t, "log line with "+c.code, func() bool { return strings.Contains(log.String(), `"`+c.code+`"`) })
		})
	}
}
