package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

func start(t *testing.T, h http.HandlerFunc) *proxytest.Instance {
	t.Helper()
	return proxytest.Proxy(t, proxytest.ToBackends(proxytest.Backend(t, h)), proxytest.Options{})
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	p := start(t, echo)
	c := p.Dial(t)
	var all strings.Builder
	const n = 100
	for i := range n {
		if i%3 == 0 {
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n%03d", i, i)
		} else {
			fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: t\r\n\r\n", i)
		}
	}
	c.Send(all.String())
	for i := range n {
		r, body := c.Answer("GET")
		if want := fmt.Sprintf("/%d", i); r.Header.Get("X-Path") != want {
			t.Fatalf("answer %d is for %q", i, r.Header.Get("X-Path"))
		}
		if i%3 == 0 && body != fmt.Sprintf("POST %03d", i) {
			t.Fatalf("answer %d: body %q", i, body)
		}
	}
}

// A head may come byte by byte.
func TestSplitHead(t *testing.T) {
	t.Parallel()
	p := start(t, echo)
	c := p.Dial(t)
	for _, b := range []byte(proxytest.Head("POST /split HTTP/1.1", "Host: t", "Content-Length: 5") + "hello") {
		c.Send(string(b))
	}
	if r, body := c.Answer("POST"); r.StatusCode != 200 || body != "POST hello" {
		t.Fatal(r, body)
	}
	if r, _ := c.Get("/again"); r.StatusCode != 200 {
		t.Fatal(r)
	}
}

func TestRequestBodies(t *testing.T) {
	t.Parallel()
	p := start(t, echo)
	for _, size := range []int{0, 1, 1000, 15 << 10, 17 << 10, 100 << 10, 3 << 20} {
		body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		t.Run(fmt.Sprint("length ", size), func(t *testing.T) {
			t.Parallel()
			c := p.Dial(t)
			for range 2 {
				c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", fmt.Sprint("Content-Length: ", size)), body)
				if r, got := c.Answer("POST"); r.StatusCode != 200 || got != "POST "+body {
					t.Fatal(r, len(got))
				}
			}
		})
		t.Run(fmt.Sprint("chunked ", size), func(t *testing.T) {
			t.Parallel()
			c := p.Dial(t)
			for range 2 {
				c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked"))
				for rest := body; len(rest) > 0; {
					n := min(len(rest), 7001)
					c.Send(fmt.Sprintf("%x;ext=1\r\n%s\r\n", n, rest[:n]))
					rest = rest[n:]
				}
				c.Send("0\r\n\r\n")
				if r, got := c.Answer("POST"); r.StatusCode != 200 || got != "POST "+body {
					t.Fatal(r, len(got))
				}
			}
		})
	}
}

// Pipelined requests behind a chunked body are not lost.
func TestPipelineBehindChunked(t *testing.T) {
	t.Parallel()
	p := start(t, echo)
	c := p.Dial(t)
	c.Send(proxytest.Head("POST /1 HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n" +
		proxytest.Head("GET /2 HTTP/1.1", "Host: t") + proxytest.Head("POST /3 HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\n\r\n")
	for i, want := range []string{"POST abc", "GET ", "POST x"} {
		if r, body := c.Answer("POST"); body != want || r.Header.Get("X-Path") != fmt.Sprint("/", i+1) {
			t.Fatal(i, r, body)
		}
	}
}

func TestResponseBodies(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 5000, 64 << 10, 5 << 20} {
		body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		p := start(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/length" {
				w.Header().Set("Content-Length", fmt.Sprint(size))
			} else {
				w.Header().Set("Trailer", "X-Sum")
				w.(http.Flusher).Flush()
				defer w.Header().Set("X-Sum", "42")
			}
			io.WriteString(w, body)
		})
		for _, path := range []string{"/length", "/chunked"} {
			t.Run(fmt.Sprint(path, size), func(t *testing.T) {
				t.Parallel()
				c := p.Dial(t)
				for range 2 {
					r, got := c.Get(path)
					if r.StatusCode != 200 || got != body {
						t.Fatal(r, len(got))
					}
					if path == "/chunked" && r.Trailer.Get("X-Sum") != "42" {
						t.Fatal("trailer lost", r.Trailer)
					}
				}
			})
		}
	}
}

func TestRequestTrailers(t *testing.T) {
	t.Parallel()
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, r.Trailer.Get("X-Sum"))
	})
	c := p.Dial(t)
	c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked", "Trailer: X-Sum") + "3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")
	if _, body := c.Answer("POST"); body != "7" {
		t.Fatalf("trailer is %q", body)
	}
}

func TestBodilessAnswers(t *testing.T) {
	t.Parallel()
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.Header().Set("Content-Length", "77")
			w.WriteHeader(304)
		default:
			w.Header().Set("Content-Length", "5")
			io.WriteString(w, "12345")
		}
	})
	c := p.Dial(t)
	if r, _ := c.Get("/204"); r.StatusCode != 204 {
		t.Fatal(r)
	}
	if r, _ := c.Get("/304"); r.StatusCode != 304 {
		t.Fatal(r)
	}
	c.Send(proxytest.Head("HEAD /x HTTP/1.1", "Host: t"))
	if r, _ := c.Answer("HEAD"); r.ContentLength != 5 {
		t.Fatal(r)
	}
	if _, body := c.Get("/x"); body != "12345" {
		t.Fatal(body)
	}
}

func TestHTTP10(t *testing.T) {
	t.Parallel()
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			w.(http.Flusher).Flush()
		}
		io.WriteString(w, "hello")
	})
	t.Run("close", func(t *testing.T) {
		c := p.Dial(t)
		c.Send(proxytest.Head("GET / HTTP/1.0"))
		if _, body := c.Answer("GET"); body != "hello" {
			t.Fatal(body)
		}
		c.WantClosed()
	})
	t.Run("keep-alive", func(t *testing.T) {
		c := p.Dial(t)
		for range 2 {
			c.Send(proxytest.Head("GET / HTTP/1.0", "Host: t", "Connection: keep-alive"))
			r, body := c.Answer("GET")
			if body != "hello" || r.Header.Get("Connection") != "keep-alive" {
				t.Fatal(r, body)
			}
		}
	})
	t.Run("chunked upstream", func(t *testing.T) {
		c := p.Dial(t)
		c.Send(proxytest.Head("GET /stream HTTP/1.0", "Host: t", "Connection: keep-alive"))
		all, _ := io.ReadAll(c.R)
		if !strings.HasSuffix(string(all), "\r\n\r\nhello") || strings.Contains(string(all), "chunked") {
			t.Fatalf("%q", all)
		}
	})
}

func TestConnectionClose(t *testing.T) {
	t.Parallel()
	p := start(t, echo)
	c := p.Dial(t)
	c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t", "Connection: close"))
	if r, _ := c.Answer("GET"); !r.Close {
		t.Fatal(r)
	}
	c.WantClosed()
}

func TestHopByHop(t *testing.T) {
	t.Parallel()
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "X-Private")
		w.Header().Set("X-Private", "secret")
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("X-Public", "yes")
		for _, h := range []string{"X-Mine", "Keep-Alive", "Proxy-Connection", "Te"} {
			if r.Header.Get(h) != "" {
				w.Header().Add("X-Leaked", h)
			}
		}
	})
	c := p.Dial(t)
	c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t", "Connection: X-Mine, keep-alive", "X-Mine: 1", "Keep-Alive: 5", "Proxy-Connection: x", "TE: trailers"))
	r, _ := c.Answer("GET")
	if len(r.Header["X-Leaked"]) > 0 || r.Header.Get("X-Private") != "" || r.Header.Get("Keep-Alive") != "" || r.Header.Get("X-Public") != "yes" {
		t.Fatal(r.Header)
	}
}

func TestForwardingFields(t *testing.T) {
	t.Parallel()
	show := func(w http.ResponseWriter, r *http.Request) {
		for _, h := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "Via", "X-Request-Id", "Traceparent", "X-Real-Ip"} {
			w.Header().Set("Got-"+h, strings.Join(r.Header[http.CanonicalHeaderKey(h)], "|"))
		}
	}
	backend := proxytest.Backend(t, http.HandlerFunc(show))
	claims := []string{"X-Forwarded-For: 9.9.9.9, 8.8.8.8", "X-Forwarded-Proto: https", "X-Forwarded-Host: other", "Forwarded: for=9.9.9.9", "Via: 1.0 first",
		"X-Request-Id: mine", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Real-IP: 9.9.9.9"}
	ask := func(p *proxytest.Instance) http.Header {
		c := p.Dial(t)
		c.Send(proxytest.Head(append([]string{"GET / HTTP/1.1", "Host: site:81"}, claims...)...))
		r, _ := c.Answer("GET")
		return r.Header
	}
	t.Run("stranger", func(t *testing.T) {
		p := proxytest.Proxy(t, proxytest.ToBackends(backend), proxytest.Options{})
		_, port, _ := net.SplitHostPort(p.Addr)
		h := ask(p)
		want := map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "site:81", "X-Forwarded-Port": port,
			"Forwarded": `for=127.0.0.1;host="site:81";proto=http`, "Via": "1.0 first|1.1 sentinel", "X-Request-Id": h.Get("X-Request-Id"), "X-Real-Ip": ""}
		for k, v := range want {
			if h.Get("Got-"+k) != v {
				t.Errorf("%s is %q, want %q", k, h.Get("Got-"+k), v)
			}
		}
		if id := h.Get("X-Request-Id"); id == "mine" || id == "" {
			t.Errorf("request id %q", id)
		}
		if tp := h.Get("Got-Traceparent"); len(tp) != 55 || strings.Contains(tp, "0af765") {
			t.Errorf("traceparent %q", tp)
		}
	})
	t.Run("trusted", func(t *testing.T) {
		cfg := proxytest.ToBackends(backend)
		cfg.System.TrustedProxies = append(cfg.System.TrustedProxies, mustSource("127.0.0.0/8"))
		h := ask(proxytest.Proxy(t, cfg, proxytest.Options{}))
		want := map[string]string{"X-Forwarded-For": "9.9.9.9, 8.8.8.8, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "other",
			"Forwarded": `for=9.9.9.9, for=127.0.0.1;host="site:81";proto=http`, "X-Request-Id": "mine", "X-Real-Ip": "9.9.9.9"}
		for k, v := range want {
			if h.Get("Got-"+k) != v {
				t.Errorf("%s is %q, want %q", k, h.Get("Got-"+k), v)
			}
		}
		if tp := h.Get("Got-Traceparent"); !strings.HasPrefix(tp, "00-0af7651916cd43dd8448eb211c80319c-") || strings.Contains(tp, "b7ad6b7169203331") || !strings.HasSuffix(tp, "-01") {
			t.Errorf("traceparent %q", tp)
		}
		if h.Get("X-Request-Id") != "mine" {
			t.Errorf("answer has id %q", h.Get("X-Request-Id"))
		}
	})
}

// What is matched is what is sent.
func TestCanonicalPath(t *testing.T) {
	t.Parallel()
	cfg := proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(echo)))
	cfg.Routes[0].Match = config.Match{PathPrefixes: []string{"/pub"}}
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	c := p.Dial(t)
	for path, want := range map[string]string{"/pub/x": "/pub/x", "/pub//a/./b": "/pub/a/b", "/x/../pub/%61?q=%2e": "/pub/a?q=%2e", "/pub/a%2Fb": "/pub/a%2Fb"} {
		if r, _ := c.Get(path); r.StatusCode != 200 || r.Header.Get("X-Path") != want {
			t.Errorf("%s arrives as %q (%s)", path, r.Header.Get("X-Path"), r.Status)
		}
	}
	if r, _ := c.Get("/pub/../private"); r.StatusCode != 404 {
		t.Error("escaped the prefix", r)
	}
}

func TestContinue(t *testing.T) {
	t.Parallel()
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			w.WriteHeader(401)
			return
		}
		echo(w, r)
	})
	t.Run("upstream agrees", func(t *testing.T) {
		t.Parallel()
		c := p.Dial(t)
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 5", "Expect: 100-continue"))
		if line, _ := c.R.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatal(line)
		}
		c.R.ReadString('\n')
		c.Send("hello")
		if _, body := c.Answer("POST"); body != "POST hello" {
			t.Fatal(body)
		}
		if r, _ := c.Get("/next"); r.StatusCode != 200 {
			t.Fatal(r)
		}
	})
	t.Run("upstream refuses", func(t *testing.T) {
		t.Parallel()
		c := p.Dial(t)
		c.Send(proxytest.Head("POST /refuse HTTP/1.1", "Host: t", "Content-Length: 5", "Expect: 100-continue"))
		if r, _ := c.Answer("POST"); r.StatusCode != 401 || !r.Close {
			t.Fatal(r)
		}
		c.WantClosed()
	})
	t.Run("upstream is silent", func(t *testing.T) {
		t.Parallel()
		addr := proxytest.RawBackend(t, func(nc net.Conn) { io.Copy(io.Discard, nc) })
		c := proxytest.Proxy(t, proxytest.ToBackends(addr), proxytest.Options{}).Dial(t)
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 5", "Expect: 100-continue"))
		if line, _ := c.R.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatal(line)
		}
	})
}

func TestEarlyHints(t *testing.T) {
	t.Parallel()
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x>")
		w.WriteHeader(103)
		w.WriteHeader(200)
	})
	c := p.Dial(t)
	c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
	if r, err := http.ReadResponse(c.R, nil); err != nil || r.StatusCode != 103 || r.Header.Get("Link") != "</x>" {
		t.Fatal(r, err)
	}
	if r, _ := c.Answer("GET"); r.StatusCode != 200 {
		t.Fatal(r)
	}
}

// The answer of an upstream may begin, and go on, while the request body is still being sent.
func TestFullDuplex(t *testing.T) {
	t.Parallel()
	addr := proxytest.RawBackend(t, func(nc net.Conn) {
		r := bufio.NewReader(nc)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		b := make([]byte, 100)
		for {
			n, err := req.Body.Read(b)
			if n > 0 {
				fmt.Fprintf(nc, "%x\r\n%s\r\n", n, b[:n])
			}
			if err != nil {
				break
			}
		}
		io.WriteString(nc, "0\r\n\r\n")
	})
	p := proxytest.Proxy(t, proxytest.ToBackends(addr), proxytest.Options{})
	c := p.Dial(t)
	c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked"))
	r, err := http.ReadResponse(c.R, &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		c.Send(fmt.Sprintf("2\r\n%d!\r\n", i))
		b := make([]byte, 2)
		if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != fmt.Sprintf("%d!", i) {
			t.Fatalf("%q %v", b, err)
		}
	}
	c.Send("0\r\n\r\n")
	if rest, err := io.ReadAll(r.Body); err != nil || len(rest) > 0 {
		t.Fatal(rest, err)
	}
}
