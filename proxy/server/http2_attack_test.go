package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/http2"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// frames is a client that sends what frames it likes.
type frames struct {
	net.Conn
	t   *testing.T
	buf []byte
}

// dialFrames connects and begins with settings.
func dialFrames(t *testing.T, addr string, settings ...http2.Setting) *frames {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	f := &frames{Conn: c, t: t}
	f.send(http2.AppendSettings([]byte(http2.Preface), settings...))
	return f
}

// send writes frames; a server that has had enough may not listen any more.
func (f *frames) send(b ...[]byte) {
	_, _ = f.Write(bytes.Join(b, nil))
}

// next is the next frame; io.EOF or a reset at the end.
func (f *frames) next() (http2.Frame, error) {
	var fr http2.Frame
	for {
		n, bad := http2.ParseFrame(f.buf, &fr)
		if bad != nil {
			f.t.Fatal(bad)
		}
		if n > 0 {
			fr.Payload = bytes.Clone(fr.Payload)
			f.buf = f.buf[n:]
			return fr, nil
		}
		piece := make([]byte, 32<<10)
		k, err := f.Read(piece)
		f.buf = append(f.buf, piece[:k]...)
		if k == 0 && err != nil {
			return fr, err
		}
	}
}

// until reads until a frame is of interest.
func (f *frames) until(what string, ok func(fr *http2.Frame) bool) http2.Frame {
	f.t.Helper()
	for {
		fr, err := f.next()
		if err != nil {
			f.t.Fatalf("no %s: %v", what, err)
		}
		if ok(&fr) {
			return fr
		}
	}
}

// wantGoAway reads until the server says why it ends the connection, and does.
func (f *frames) wantGoAway(code http2.Code) {
	f.t.Helper()
	seen := false
	for {
		fr, err := f.next()
		if err != nil {
			var timeout net.Error
			if !seen || errors.As(err, &timeout) && timeout.Timeout() {
				f.t.Errorf("GOAWAY: %v; then %v", seen, err)
			}
			return
		}
		if fr.Type == http2.GoAway {
			if seen = true; fr.Code != code {
				f.t.Errorf("code %d, want %d", fr.Code, code)
			}
		}
	}
}

func (f *frames) wantReset(stream uint32, code http2.Code) {
	f.t.Helper()
	fr := f.until("reset", func(fr *http2.Frame) bool { return fr.Type == http2.RSTStream && fr.Stream == stream })
	if fr.Code != code {
		f.t.Errorf("code %d, want %d", fr.Code, code)
	}
}

// wantStatus reads the head of an answer.
func (f *frames) wantStatus(stream uint32, status int) {
	f.t.Helper()
	fr := f.until("answer", func(fr *http2.Frame) bool {
		return fr.Stream == stream && (fr.Type == http2.Headers || fr.Type == http2.RSTStream)
	})
	if want := http2.AppendStatus(nil, status); !bytes.HasPrefix(fr.Payload, want) {
		f.t.Errorf("type %d code %d %q, want status %d", fr.Type, fr.Code, fr.Payload, status)
	}
}

// block packs fields, which are "name", "value", …
func block(fields ...string) (b []byte) {
	for i := 0; i < len(fields); i += 2 {
		b = http2.AppendField(b, []byte(fields[i]), []byte(fields[i+1]))
	}
	return b
}

// get packs a request with more fields.
func get(more ...string) []byte { return request("GET", more...) }

func request(method string, more ...string) []byte {
	return block(append([]string{":method", method, ":scheme", "http", ":authority", "h2.test", ":path", "/"}, more...)...)
}

func headers(stream uint32, block []byte, end bool) []byte {
	return http2.AppendHeaders(nil, stream, block, end)
}

func rst(stream uint32) []byte { return http2.AppendRST(nil, stream, http2.Cancel) }

func ping() []byte { return append(http2.AppendHeader(nil, http2.Ping, 0, 0, 8), "12345678"...) }

// Floods: what costs a client nothing is not served for ever. Their innocent twins are the same, a few times, and get an answer.
func TestHTTP2Floods(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		piece func(i int) []byte // sent again and again
		few   int                // so many are fine
		code  http2.Code
		first []byte // before
		last  []byte // after the few
	}{
		"rapid reset": {piece: func(i int) []byte { return append(headers(uint32(2*i+1), get(), true), rst(uint32(2*i+1))...) }, few: 100},
		"resets that we are made to send": {piece: func(i int) []byte {
			return append(headers(uint32(2*i+1), request("POST"), false), http2.AppendWindowUpdate(nil, uint32(2*i+1), 0)...)
		}, few: 100},
		"ping":        {piece: func(int) []byte { return ping() }, few: 200},
		"settings":    {piece: func(int) []byte { return http2.AppendSettings(nil) }, few: 50},
		"unknown":     {piece: func(int) []byte { return http2.AppendHeader(nil, 0xbb, 0, 0, 0) }, few: 200},
		"priority":    {piece: func(int) []byte { return append(http2.AppendHeader(nil, http2.Priority, 0, 9, 5), 0, 0, 0, 0, 0) }, few: 1000},
		"tiny window": {piece: func(int) []byte { return http2.AppendWindowUpdate(nil, 0, 1) }, few: 1000},
		"empty data": {
			first: headers(1, request("POST"), false), piece: func(int) []byte { return http2.AppendData(nil, 1, nil, false) }, few: 200,
			last: http2.AppendData(nil, 1, nil, true),
		},
		"continuation": {
			first: append(http2.AppendHeader(nil, http2.Headers, http2.FlagEndStream, 1, len(get())), get()...),
			piece: func(i int) []byte {
				b := block("x-piece", fmt.Sprint(i))
				return append(http2.AppendHeader(nil, http2.Continuation, 0, 1, len(b)), b...)
			}, few: 20,
			last: http2.AppendHeader(nil, http2.Continuation, http2.FlagEndHeaders, 1, 0),
		},
		"empty continuation": {
			first: append(http2.AppendHeader(nil, http2.Headers, http2.FlagEndStream, 1, len(get())), get()...),
			piece: func(int) []byte { return http2.AppendHeader(nil, http2.Continuation, 0, 1, 0) }, few: 20,
			last: http2.AppendHeader(nil, http2.Continuation, http2.FlagEndHeaders, 1, 0),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var most, now atomic.Int64
			backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				io.Copy(io.Discard, r.Body)
				now.Add(-1)
			}))
			cfg := withHTTP2(proxytest.ToBackends(backend))
			cfg.Listeners[0].HTTP2.MaxConcurrentStreams = 10
			p := proxytest.Proxy(t, cfg, proxytest.Options{})

			twin := dialFrames(t, p.Addr)
			twin.send(c.first)
			for i := range c.few {
				twin.send(c.piece(i))
			}
			twin.send(c.last)
			if c.first == nil {
				twin.send(headers(99_999, get(), true))
				twin.until("answer", func(fr *http2.Frame) bool { return fr.Stream == 99_999 }) // or a refusal: the resets may still be at work
			} else {
				twin.wantStatus(1, 200)
			}

			f := dialFrames(t, p.Addr)
			go func() {
				f.send(c.first)
				for i := range 20_000 {
					f.send(c.piece(i))
				}
			}()
			f.wantGoAway(http2.EnhanceYourCalm)
			if n := most.Load(); n > 2*10 {
				t.Errorf("%d requests at the backend at once for two connections of 10 streams", n)
			}
		})
	}
}

// A few bytes that unpack to very many are refused before they do.
func TestHTTP2HeaderBombs(t *testing.T) {
	t.Parallel()
	p := proxytest.Proxy(t, withHTTP2(proxytest.ToBackends(proxytest.Backend(t, http.NotFoundHandler()))), proxytest.Options{})
	// A field of 3 KB enters the table (literal with incremental indexing, RFC 7541 §6.2.1) and is then meant by one byte each time.
	entry := append([]byte{0x40}, block("x-bomb", strings.Repeat("b", 3000))[1:]...)
	bomb := func(times int) []byte {
		return append(append(get(), entry...), bytes.Repeat([]byte{0x80 | 62}, times)...)
	}
	f := dialFrames(t, p.Addr)
	f.send(headers(1, bomb(2), true))
	f.wantStatus(1, 404)
	f.send(headers(3, bomb(10_000), true))
	f.wantStatus(3, 431)
	f.send(headers(5, get(), true)) // the tables of both sides still agree
	f.wantStatus(5, 404)
	f.send(headers(7, get("x-large", strings.Repeat("l", 20_000)), true))
	f.wantStatus(7, 431)
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprint("x-", i), "v")
	}
	f.send(headers(9, get(many...), true))
	f.wantStatus(9, 431)
	f.send(headers(11, get(many[:100]...), true))
	f.wantStatus(11, 404)
	f.send(headers(13, get("x-huge", strings.Repeat("h", 100_000)), true)) // nothing can be said any more: the block cannot even be kept in step
	f.wantGoAway(http2.EnhanceYourCalm)
}

// Nothing that a request can say in frames becomes another message for the backend.
func TestHTTP2Smuggling(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		if r.URL.Path != "/" || r.Host != "h2.test" || r.Header.Get("X-Evil") != "" {
			t.Errorf("backend got %s %s %s %v", r.Method, r.Host, r.URL, r.Header)
		}
	}))
	p := proxytest.Proxy(t, withHTTP2(proxytest.ToBackends(backend)), proxytest.Options{})
	pseudo := func(method, scheme, authority, path string) []byte {
		return block(":method", method, ":scheme", scheme, ":authority", authority, ":path", path)
	}
	for name, c := range map[string]struct {
		block []byte
		data  string
		open  bool // data follows
	}{
		"line break in a value":      {block: get("x-a", "b\r\nX-Evil: 1")},
		"newline in a value":         {block: get("x-a", "b\nX-Evil: 1")},
		"NUL in a value":             {block: get("x-a", "b\x00c")},
		"blank around a value":       {block: get("x-a", " b")},
		"colon in a name":            {block: get("x-evil: 1\r\nx-b", "c")},
		"space in a name":            {block: get("x-evil ", "1")},
		"upper case":                 {block: append(get(), 0, 6, 'X', '-', 'E', 'v', 'i', 'l', 1, '1')},
		"empty name":                 {block: get("", "x")},
		"space in the method":        {block: pseudo("GET /evil HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET", "http", "h2.test", "/")},
		"line break in the path":     {block: pseudo("GET", "http", "h2.test", "/ HTTP/1.1\r\nX-Evil: 1\r\n\r\n")},
		"space in the path":          {block: pseudo("GET", "http", "h2.test", "/ HTTP/1.1")},
		"absolute path":              {block: pseudo("GET", "http", "h2.test", "http://evil.test/")},
		"path without a slash":       {block: pseudo("GET", "http", "h2.test", "evil")},
		"line break in the host":     {block: pseudo("GET", "http", "h2.test\r\nX-Evil: 1", "/")},
		"user in the host":           {block: pseudo("GET", "http", "evil@h2.test", "/")},
		"two hosts":                  {block: get("host", "evil.test")},
		"two host fields":            {block: block(":method", "GET", ":scheme", "http", ":path", "/", "host", "h2.test", "host", "h2.test")},
		"pseudo field twice":         {block: get(":path", "/evil")},
		"pseudo field late":          {block: get("x-a", "b", ":path", "/evil")},
		"pseudo field of an answer":  {block: block(":status", "200", ":method", "GET", ":scheme", "http", ":authority", "h2.test", ":path", "/")},
		"unknown pseudo field":       {block: block(":evil", "1", ":method", "GET", ":scheme", "http", ":authority", "h2.test", ":path", "/")},
		"no method":                  {block: block(":scheme", "http", ":authority", "h2.test", ":path", "/")},
		"no path":                    {block: block(":method", "GET", ":scheme", "http", ":authority", "h2.test")},
		"another scheme":             {block: pseudo("GET", "file", "h2.test", "/")},
		"connection":                 {block: get("connection", "x-forwarded-for")},
		"transfer-encoding":          {block: request("POST", "transfer-encoding", "chunked"), open: true, data: "0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"},
		"upgrade":                    {block: get("upgrade", "websocket")},
		"te":                         {block: get("te", "gzip")},
		"two lengths":                {block: request("POST", "content-length", "1", "content-length", "2"), open: true, data: "a"},
		"signed length":              {block: request("POST", "content-length", "+1"), open: true, data: "a"},
		"length too small":           {block: request("POST", "content-length", "1"), open: true, data: "aGET /evil HTTP/1.1\r\n\r\n"},
		"length too large":           {block: request("POST", "content-length", "100"), open: true, data: "a"},
		"length without a body":      {block: request("POST", "content-length", "5")},
		"CONNECT":                    {block: block(":method", "CONNECT", ":authority", "evil.test:22")},
		"CONNECT with a path":        {block: pseudo("CONNECT", "http", "evil.test:22", "/")},
		"underscore for a hyphen":    {block: get("content_length", "5")},
		"method in the wrong case":   {block: pseudo("get", "http", "h2.test", "/")},
		"control byte in the method": {block: pseudo("G\x01T", "http", "h2.test", "/")},
	} {
		t.Run(name, func(t *testing.T) {
			f := dialFrames(t, p.Addr)
			f.send(headers(1, c.block, !c.open))
			if c.open {
				f.send(http2.AppendData(nil, 1, []byte(c.data), true))
			}
			fr := f.until("refusal", func(fr *http2.Frame) bool {
				return fr.Stream == 1 && (fr.Type == http2.Headers || fr.Type == http2.RSTStream)
			})
			if fr.Type == http2.Headers && !bytes.HasPrefix(fr.Payload, http2.AppendStatus(nil, 400)) && !bytes.HasPrefix(fr.Payload, http2.AppendStatus(nil, 501)) {
				t.Errorf("answered %q", fr.Payload)
			}
			before := seen.Load()
			f.send(headers(3, get("cookie", "a=b", "te", "trailers", "host", "H2.test"), true)) // the innocent twin, on the same connection
			f.wantStatus(3, 200)
			if seen.Load() != before+1 {
				t.Error("the backend saw something else")
			}
		})
	}
}

// A client that does not let its answer come keeps nobody else waiting, and not for ever.
func TestHTTP2StalledStream(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(bytes.Repeat([]byte("x"), 100_000)) }))
	cfg := withHTTP2(proxytest.ToBackends(backend))
	cfg.Listeners[0].SendTimeout = time.Second
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	f := dialFrames(t, p.Addr, http2.Setting{ID: http2.InitialWindowSize, Value: 0})
	f.send(headers(1, get(), true), headers(3, get(), true))
	f.wantStatus(1, 200)
	f.send(http2.AppendWindowUpdate(nil, 3, 200_000), http2.AppendWindowUpdate(nil, 0, 1<<20))
	got := 0
	f.until("other answer", func(fr *http2.Frame) bool {
		if fr.Type == http2.RSTStream {
			t.Fatalf("reset before the other answer: %+v", fr)
		}
		if fr.Type == http2.Data && fr.Stream == 3 {
			got += len(fr.Payload)
		}
		return fr.Type == http2.Data && fr.Stream == 3 && fr.Has(http2.FlagEndStream)
	})
	if got != 100_000 {
		t.Errorf("%d bytes", got)
	}
	f.wantReset(1, http2.InternalError)
	f.send(headers(5, get(), true), http2.AppendWindowUpdate(nil, 5, 200_000))
	f.wantStatus(5, 200)
}

// A header block has to come in time, whatever else is going on; so have the first bytes.
func TestHTTP2SlowHeaders(t *testing.T) {
	t.Parallel()
	cfg := withHTTP2(proxytest.ToBackends(proxytest.Backend(t, http.NotFoundHandler())))
	cfg.Listeners[0].HeaderTimeout = 300 * time.Millisecond
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	f := dialFrames(t, p.Addr)
	f.send(http2.AppendHeader(nil, http2.Headers, http2.FlagEndStream, 1, len(get())), get())
	f.wantGoAway(http2.NoError)
	f = dialFrames(t, p.Addr)
	f.send(headers(1, get(), true)[:12])
	f.wantGoAway(http2.NoError)
	silent := p.Dial(t)
	silent.Send(http2.Preface[:10])
	if _, err := io.ReadAll(silent); err != nil { // a 408 may come before the end: it could still have become HTTP/1.1
		t.Error(err)
	}
	f = dialFrames(t, p.Addr) // the innocent twin: a connection may be idle longer than that
	proxytest.Eventually(t, "time has passed", func() bool { f.send(ping()); time.Sleep(500 * time.Millisecond); return true })
	f.send(headers(1, get(), true))
	f.wantStatus(1, 404)
}

// What a client gives up is given up at the backend, too: a stream, or all with the connection.
func TestHTTP2Cancel(t *testing.T) {
	t.Parallel()
	arrived, gone := make(chan string, 10), make(chan string, 10)
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // or the end of the connection would not be noticed
		arrived <- r.Method
		select {
		case <-r.Context().Done():
		case <-time.After(15 * time.Second):
		}
		gone <- r.Method
	}))
	p := proxytest.Proxy(t, withHTTP2(proxytest.ToBackends(backend)), proxytest.Options{})
	f := dialFrames(t, p.Addr)
	wait := func(c chan string, want string) {
		t.Helper()
		select {
		case got := <-c:
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("never happened: ", want)
		}
	}
	f.send(headers(1, request("GET"), true))
	wait(arrived, "GET")
	f.send(headers(3, request("PUT", "content-length", "10"), false), http2.AppendData(nil, 3, make([]byte, 10), true))
	wait(arrived, "PUT")
	f.send(rst(1))
	wait(gone, "GET")
	f.Close()
	wait(gone, "PUT")
	proxytest.Eventually(t, "no stream is left", func() bool { return p.Server.InFlight() == 0 })
}

// A drain announces itself, serves what is on its way, and lets what runs finish.
func TestHTTP2Drain(t *testing.T) {
	t.Parallel()
	arrived, let := make(chan struct{}), make(chan struct{})
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			close(arrived)
			<-let
		}
	}))
	p := proxytest.Proxy(t, withHTTP2(proxytest.ToBackends(backend)), proxytest.Options{})
	f := dialFrames(t, p.Addr)
	f.send(headers(1, request("PUT"), true))
	<-arrived
	p.Server.Drain()
	fr := f.until("GOAWAY", func(fr *http2.Frame) bool { return fr.Type == http2.GoAway })
	if fr.Last != http2.MaxStreamID || fr.Code != http2.NoError {
		t.Errorf("first GOAWAY: last %d, code %d", fr.Last, fr.Code)
	}
	f.send(headers(3, get(), true))
	f.wantStatus(3, 200)
	fr = f.until("second GOAWAY", func(fr *http2.Frame) bool { return fr.Type == http2.GoAway })
	if fr.Last != 3 {
		t.Errorf("second GOAWAY: last %d", fr.Last)
	}
	close(let)
	f.wantStatus(1, 200)
	for {
		if _, err := f.next(); err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			return
		}
	}
}

// Requests beyond keepalive-max-requests go to another connection.
func TestHTTP2MaxRequests(t *testing.T) {
	t.Parallel()
	cfg := withHTTP2(proxytest.ToBackends(proxytest.Backend(t, http.NotFoundHandler())))
	cfg.Listeners[0].KeepaliveMaxRequests = 2
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	f := dialFrames(t, p.Addr)
	f.send(headers(1, get(), true))
	f.wantStatus(1, 404)
	f.send(headers(3, get(), true))
	answered, left := false, false
	f.until("GOAWAY and the answer, in either order", func(fr *http2.Frame) bool {
		answered = answered || fr.Type == http2.Headers && fr.Stream == 3
		left = left || fr.Type == http2.GoAway && fr.Last == 3
		return answered && left
	})
}

// Interim answers, an answer to HEAD, and the limits on a body are the same as in HTTP/1.1.
func TestHTTP2Messages(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			w.Header().Set("Link", "</x>")
			w.WriteHeader(103)
		}
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "hello")
	}))
	cfg := withHTTP2(proxytest.ToBackends(backend))
	cfg.Limits.MaxBodySize = 1000
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	f := dialFrames(t, p.Addr)
	f.send(headers(1, get(), true))
	f.wantStatus(1, 103)
	f.wantStatus(1, 200)
	f.send(headers(3, request("HEAD"), true))
	fr := f.until("answer", func(fr *http2.Frame) bool { return fr.Stream == 3 })
	if fr.Type != http2.Headers || !fr.Has(http2.FlagEndStream) || !bytes.Contains(fr.Payload, http2.AppendField(nil, []byte("content-length"), []byte("5"))) {
		t.Errorf("%+v", fr)
	}
	f.send(headers(5, request("POST", "content-length", "100000"), false))
	f.wantStatus(5, 413)
	f.wantReset(5, http2.NoError)
	f.send(headers(7, request("POST"), false), http2.AppendData(nil, 7, make([]byte, 1001), true))
	f.wantStatus(7, 413)
	f.send(headers(9, request("POST", "expect", "100-continue"), false))
	f.wantStatus(9, 100)
	f.send(http2.AppendData(nil, 9, make([]byte, 1000), true))
	f.wantStatus(9, 200)
	f.send(headers(11, request("POST"), false), http2.AppendData(nil, 11, []byte("x"), false), headers(11, block("x-trailer", "t"), true))
	f.wantStatus(11, 200)
}
