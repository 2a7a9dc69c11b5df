package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"

	"github.com/sentinel-stack/sentinel/proxy/http3"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// rawQUIC is a client of HTTP/3 that sends what it likes.
type rawQUIC struct {
	*quic.Conn
	t *testing.T
}

// dialRaw connects; greet says whether it begins as it should.
func dialRaw(t *testing.T, addr string, conf *tls.Config, greet bool) *rawQUIC {
	t.Helper()
	conf = conf.Clone()
	conf.NextProtos = []string{"h3"}
	ctx, cancel := context.WithTimeout(context.Background(), proxytest.Patience)
	defer cancel()
	c, err := quic.DialAddr(ctx, addr, conf, &quic.Config{MaxIdleTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseWithError(0x100, "") })
	r := &rawQUIC{c, t}
	if greet {
		r.uni(http3.AppendFrame([]byte{http3.ControlStream}, http3.Settings, nil), false)
	}
	return r
}

// uni sends on a stream of one direction.
func (r *rawQUIC) uni(b []byte, end bool) {
	r.t.Helper()
	s, err := r.OpenUniStreamSync(r.Context())
	if err == nil {
		_, err = s.Write(b)
		if end {
			s.Close()
		}
	}
	if err != nil && r.Context().Err() == nil {
		r.t.Fatal(err)
	}
}

// ask sends pieces on a stream of its own, and with end the end of it.
func (r *rawQUIC) ask(end bool, pieces ...[]byte) *quic.Stream {
	r.t.Helper()
	s, err := r.OpenStreamSync(r.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	s.SetDeadline(time.Now().Add(proxytest.Patience))
	s.Write(bytes.Join(pieces, nil))
	if end {
		s.Close()
	}
	return s
}

// status is how a request was answered; else the code with which the stream, or the connection, was ended.
func (r *rawQUIC) status(s *quic.Stream) (status string, code uint64) {
	b, err := io.ReadAll(s)
	if f, n := http3.ParseFrame(b); n > 0 && f.Type == http3.Headers && uint64(len(b)-n) >= f.Length {
		fields, _, _ := http3.ReadFields(b[n:n+int(f.Length)], 1<<20, 1000)
		if len(fields) > 0 {
			return fields[0].Value, 0
		}
	}
	var reset *quic.StreamError
	var end *quic.ApplicationError
	switch {
	case errors.As(err, &reset):
		return "", uint64(reset.ErrorCode)
	case errors.As(err, &end):
		return "", uint64(end.ErrorCode)
	}
	return fmt.Sprintf("%q %v", b, err), 0
}

// wantEnd waits until the server ends the connection.
func (r *rawQUIC) wantEnd(code http3.Code) {
	r.t.Helper()
	select {
	case <-r.Context().Done():
	case <-time.After(proxytest.Patience):
		r.t.Fatalf("the connection goes on, want %#x", uint64(code))
	}
	var end *quic.ApplicationError
	if err := context.Cause(r.Context()); !errors.As(err, &end) || uint64(end.ErrorCode) != uint64(code) {
		r.t.Errorf("ended with %v, want %#x", err, uint64(code))
	}
}

// section is a HEADERS frame of names and values.
func section(fields ...string) []byte {
	var b bytes.Buffer
	e := qpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		e.WriteField(qpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	if b.Len() == 0 {
		b.Write([]byte{0, 0})
	}
	return http3.AppendFrame(nil, http3.Headers, b.Bytes())
}

func asked(method, scheme, authority, path string, more ...string) []byte {
	return section(append([]string{":method", method, ":scheme", scheme, ":authority", authority, ":path", path}, more...)...)
}

func plainGet(more ...string) []byte { return asked("GET", "https", "t", "/", more...) }

func plainPost(more ...string) []byte { return asked("POST", "https", "t", "/", more...) }

func body3(s string) []byte { return http3.AppendFrame(nil, http3.Data, []byte(s)) }

// Nothing that a request can say in frames becomes another message for the backend.
func TestHTTP3Smuggling(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil { // one that is malformed in its end may have been begun
			seen.Add(1)
		}
		if r.URL.Path != "/" || r.Host != "t" || r.Header.Get("X-Evil") != "" || r.Trailer.Get("Content-Length") != "" {
			t.Errorf("backend got %s %s %s %v", r.Method, r.Host, r.URL, r.Header)
		}
	}))
	ca, cfg := withHTTP3(t, backend)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	for name, send := range map[string][][]byte{
		"line break in a value":      {plainGet("x-a", "b\r\nX-Evil: 1")},
		"newline in a value":         {plainGet("x-a", "b\nX-Evil: 1")},
		"NUL in a value":             {plainGet("x-a", "b\x00c")},
		"blank around a value":       {plainGet("x-a", " b")},
		"colon in a name":            {plainGet("x-evil: 1\r\nx-b", "c")},
		"space in a name":            {plainGet("x-evil ", "1")},
		"upper case":                 {plainGet("X-Evil", "1")},
		"empty name":                 {plainGet("", "x")},
		"space in the method":        {asked("GET /evil HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET", "https", "t", "/")},
		"line break in the path":     {asked("GET", "https", "t", "/ HTTP/1.1\r\nX-Evil: 1\r\n\r\n")},
		"space in the path":          {asked("GET", "https", "t", "/ HTTP/1.1")},
		"absolute path":              {asked("GET", "https", "t", "http://evil.test/")},
		"path without a slash":       {asked("GET", "https", "t", "evil")},
		"line break in the host":     {asked("GET", "https", "t\r\nX-Evil: 1", "/")},
		"user in the host":           {asked("GET", "https", "evil@t", "/")},
		"two hosts":                  {plainGet("host", "evil.test")},
		"two host fields":            {section(":method", "GET", ":scheme", "https", ":path", "/", "host", "t", "host", "t")},
		"pseudo field twice":         {plainGet(":path", "/evil")},
		"pseudo field late":          {plainGet("x-a", "b", ":path", "/evil")},
		"pseudo field of an answer":  {section(":status", "200", ":method", "GET", ":scheme", "https", ":authority", "t", ":path", "/")},
		"unknown pseudo field":       {section(":evil", "1", ":method", "GET", ":scheme", "https", ":authority", "t", ":path", "/")},
		"no method":                  {section(":scheme", "https", ":authority", "t", ":path", "/")},
		"no path":                    {section(":method", "GET", ":scheme", "https", ":authority", "t")},
		"no fields":                  {section()},
		"another scheme":             {asked("GET", "file", "t", "/")},
		"connection":                 {plainGet("connection", "x-forwarded-for")},
		"transfer-encoding":          {plainPost("transfer-encoding", "chunked"), body3("0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")},
		"upgrade":                    {plainGet("upgrade", "websocket")},
		"te":                         {plainGet("te", "gzip")},
		"two lengths":                {plainPost("content-length", "1", "content-length", "2"), body3("a")},
		"signed length":              {plainPost("content-length", "+1"), body3("a")},
		"length too small":           {plainPost("content-length", "1"), body3("aGET /evil HTTP/1.1\r\n\r\n")},
		"length too large":           {plainPost("content-length", "100"), body3("a")},
		"length without a body":      {plainPost("content-length", "5")},
		"body of no length":          {plainPost("content-length", "0"), body3("GET /evil HTTP/1.1\r\n\r\n")},
		"pseudo field in trailers":   {plainPost(), body3("a"), section(":path", "/evil")},
		"line break in trailers":     {plainPost(), body3("a"), section("x-a", "b\r\nX-Evil: 1")},
		"upper case in trailers":     {plainPost(), body3("a"), section("X-A", "b")},
		"CONNECT":                    {section(":method", "CONNECT", ":authority", "evil.test:22")},
		"CONNECT with a path":        {asked("CONNECT", "https", "evil.test:22", "/")},
		"underscore for a hyphen":    {plainGet("content_length", "5")},
		"method in the wrong case":   {asked("get", "https", "t", "/")},
		"control byte in the method": {asked("G\x01T", "https", "t", "/")},
		"nothing":                    {},
		"another host's certificate": {asked("GET", "https", "evil.test\x7f", "/")},
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, p.Addr, conf, true)
			status, code := r.status(r.ask(true, send...))
			switch {
			case code == uint64(http3.MessageError), name == "nothing" && code == uint64(http3.RequestIncomplete), status == "400", status == "501":
			default:
				t.Errorf("status %q, code %#x", status, code)
			}
			before := seen.Load()
			s := r.ask(true, plainPost("cookie", "a=b", "te", "trailers", "host", "T", "content-length", "3"), body3("ab"), http3.AppendFrame(nil, 0x21, []byte("grease")), body3("c")) // the innocent twin, on the same connection
			if status, code := r.status(s); status != "200" {
				t.Errorf("the twin: status %q, code %#x", status, code)
			}
			if seen.Load() != before+1 {
				t.Error("the backend saw something else")
			}
		})
	}
}

// What breaks the rules of frames and streams ends the connection.
func TestHTTP3Violations(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	ca, cfg := withHTTP3(t, backend)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	control := func(b ...byte) []byte { return append([]byte{http3.ControlStream}, b...) }
	for name, c := range map[string]struct {
		ask  []byte
		uni  []byte
		own  bool // uni is the control stream
		end  bool // of uni
		code http3.Code
	}{
		"DATA before HEADERS":          {ask: body3("a"), code: http3.FrameUnexpected},
		"DATA behind trailers":         {ask: bytes.Join([][]byte{plainPost(), body3("a"), section("x-a", "b"), body3("b")}, nil), code: http3.FrameUnexpected},
		"SETTINGS on a request":        {ask: http3.AppendFrame(nil, http3.Settings, nil), code: http3.FrameUnexpected},
		"GOAWAY on a request":          {ask: http3.AppendGoAway(nil, 0), code: http3.FrameUnexpected},
		"PUSH_PROMISE":                 {ask: http3.AppendFrame(nil, http3.PushPromise, []byte{0, 0, 0}), code: http3.FrameUnexpected},
		"PING of HTTP/2":               {ask: http3.AppendFrame(nil, 6, make([]byte, 8)), code: http3.FrameUnexpected},
		"CONTINUATION of HTTP/2":       {ask: append(plainGet(), http3.AppendFrame(nil, 9, nil)...), code: http3.FrameUnexpected},
		"frame that is cut off":        {ask: plainPost()[:8], code: http3.FrameError},
		"DATA that is cut off":         {ask: append(plainPost(), 0, 10, 'a'), code: http3.FrameError},
		"dynamic table":                {ask: http3.AppendFrame(nil, http3.Headers, []byte{0, 0, 0x80}), code: http3.DecompressionFailed},
		"insert count":                 {ask: http3.AppendFrame(nil, http3.Headers, []byte{2, 0, 0xd1}), code: http3.DecompressionFailed},
		"beyond the static table":      {ask: http3.AppendFrame(nil, http3.Headers, []byte{0, 0, 0xff, 0x60}), code: http3.DecompressionFailed},
		"string beyond the section":    {ask: http3.AppendFrame(nil, http3.Headers, []byte{0, 0, 0x27, 0xff, 0xff, 3, 'a'}), code: http3.DecompressionFailed},
		"number without an end":        {ask: http3.AppendFrame(nil, http3.Headers, append([]byte{0, 0}, bytes.Repeat([]byte{0xff}, 12)...)), code: http3.DecompressionFailed},
		"large frame of unknown type":  {ask: http3.AppendNumber(http3.AppendNumber(nil, 0x21), 1<<40), code: http3.ExcessiveLoad},
		"push stream":                  {uni: []byte{http3.PushStream}, code: http3.StreamCreationError},
		"second control stream":        {uni: control(4, 0), code: http3.StreamCreationError},
		"second encoder stream":        {uni: []byte{http3.EncoderStream, 0x3f, 0xe1, 0x1f}, code: http3.EncoderStreamError},
		"insert into no table":         {uni: []byte{http3.EncoderStream, 0xc1, 1, 'a'}, code: http3.EncoderStreamError},
		"acknowledged section":         {uni: []byte{http3.DecoderStream, 0x80}, code: http3.DecoderStreamError},
		"encoder stream ends":          {uni: []byte{http3.EncoderStream}, end: true, code: http3.ClosedCriticalStream},
		"no SETTINGS":                  {uni: control(7, 1, 0), own: true, code: http3.MissingSettings},
		"SETTINGS twice":               {uni: control(4, 0, 4, 0), own: true, code: http3.FrameUnexpected},
		"setting twice":                {uni: control(4, 4, 6, 1, 6, 1), own: true, code: http3.SettingsError},
		"setting of HTTP/2":            {uni: control(4, 2, 3, 1), own: true, code: http3.SettingsError},
		"half a setting":               {uni: control(4, 1, 6), own: true, code: http3.FrameError},
		"HEADERS on a control stream":  {uni: control(4, 0, 1, 0), own: true, code: http3.FrameUnexpected},
		"large control frame":          {uni: append(control(4), http3.AppendNumber(nil, 1<<30)...), own: true, code: http3.ExcessiveLoad},
		"GOAWAY that grows":            {uni: control(4, 0, 7, 1, 4, 7, 1, 8), own: true, code: http3.IDError},
		"CANCEL_PUSH of nothing":       {uni: control(4, 0, 3, 1, 0), own: true, code: http3.IDError},
		"control stream ends":          {uni: control(4, 0), own: true, end: true, code: http3.ClosedCriticalStream},
		"PING of HTTP/2, on a control": {uni: control(4, 0, 6, 0), own: true, code: http3.FrameUnexpected},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := dialRaw(t, p.Addr, conf, !c.own)
			twin := r.ask(true, plainGet())
			if status, _ := r.status(twin); status != "200" { // before, since it is the end
				t.Errorf("the twin: %s", status)
			}
			if c.uni != nil {
				if name == "second control stream" {
					time.Sleep(100 * time.Millisecond) // whichever comes first
				}
				r.uni(c.uni, c.end)
			} else {
				r.ask(true, c.ask)
			}
			r.wantEnd(c.code)
		})
	}
	t.Run("innocent streams", func(t *testing.T) {
		r := dialRaw(t, p.Addr, conf, false)
		r.uni(control(4, 7, 6, 0x40, 0x64, 0x33, 0, 0x21, 0, 7, 1, 8, 13, 1, 3), false) // with GOAWAY, MAX_PUSH_ID and a frame of no known type
		r.uni([]byte{http3.EncoderStream, 0x20}, false)
		r.uni([]byte{http3.DecoderStream, 0x41}, false)
		r.uni([]byte{0x21, 1, 2, 3}, true)
		for range 3 {
			if status, code := r.status(r.ask(true, plainGet())); status != "200" {
				t.Errorf("status %q, code %#x", status, code)
			}
		}
	})
}

// What costs a client nothing is paid for.
func TestHTTP3Floods(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	ca, cfg := withHTTP3(t, backend)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	for name, c := range map[string]struct {
		end, reset bool
		send       [][]byte // nil = a stream of one direction
	}{
		"reset":           {reset: true, send: [][]byte{plainPost()}},
		"empty DATA":      {send: [][]byte{plainPost(), bytes.Repeat(body3(""), 400)}},
		"unknown frames":  {send: [][]byte{plainPost(), bytes.Repeat(http3.AppendFrame(nil, 0x21, nil), 800)}},
		"unknown streams": {},
		"malformed":       {end: true, send: [][]byte{plainGet("X-A", "b")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := dialRaw(t, p.Addr, conf, true)
			for i := 0; i < 5000 && r.Context().Err() == nil; i++ {
				if c.send == nil {
					if s, err := r.OpenUniStreamSync(r.Context()); err == nil {
						s.Write([]byte{0x21})
						s.Close()
					}
					continue
				}
				s, err := r.OpenStreamSync(r.Context())
				if err != nil {
					break
				}
				s.SetDeadline(time.Now().Add(proxytest.Patience))
				s.Write(bytes.Join(c.send, nil))
				if c.reset {
					s.CancelWrite(0x10c)
					s.CancelRead(0x10c)
				} else if c.end {
					s.Close()
					io.Copy(io.Discard, s)
				}
			}
			r.wantEnd(http3.ExcessiveLoad)
		})
	}
	t.Run("many requests", func(t *testing.T) {
		r := dialRaw(t, p.Addr, conf, true)
		for range 1000 {
			if status, code := r.status(r.ask(true, plainGet())); status != "200" {
				t.Fatalf("status %q, code %#x", status, code)
			}
		}
	})
}

// A head beyond the limits is refused, however small it was sent.
func TestHTTP3HeaderBombs(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ca, cfg := withHTTP3(t, backend)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	r := dialRaw(t, p.Addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}, true)
	bomb := plainGet()[2:] // without the frame's header
	bomb = append(bytes.Clone(bomb), bytes.Repeat([]byte{0xd1}, 14000)...)
	for name, send := range map[string][]byte{
		"one field":    plainGet("x-a", strings.Repeat("a", 1<<20)),
		"many fields":  plainGet(strings.Split(strings.TrimSuffix(strings.Repeat("x-a,b,", 5000), ","), ",")...),
		"small packed": http3.AppendFrame(nil, http3.Headers, bomb),
	} {
		if status, code := r.status(r.ask(true, send)); status != "431" {
			t.Errorf("%s: status %q, code %#x", name, status, code)
		}
		if status, code := r.status(r.ask(true, plainGet("x-a", strings.Repeat("a", 1000)))); status != "200" {
			t.Errorf("%s: the twin: status %q, code %#x", name, status, code)
		}
	}
}

// Heads, bodies and connections that do not come on end.
func TestHTTP3Slow(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	ca, cfg := withHTTP3(t, backend)
	l := &cfg.Listeners[0]
	l.HeaderTimeout, l.RequestTimeout, l.KeepaliveTimeout = time.Second, 2*time.Second, 3*time.Second
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	r := dialRaw(t, p.Addr, conf, true)
	for name, send := range map[string][]byte{"head": plainGet()[:8], "nothing": {0}, "body": append(plainPost("content-length", "10"), body3("a")...)} {
		t.Run(name, func(t *testing.T) {
			if status, code := r.status(r.ask(false, send)); status != "408" {
				t.Errorf("status %q, code %#x", status, code)
			}
		})
	}
	if status, code := r.status(r.ask(true, plainGet())); status != "200" {
		t.Errorf("the twin: status %q, code %#x", status, code)
	}
	r.wantEnd(http3.NoError)                              // idle
	dialRaw(t, p.Addr, conf, true).wantEnd(http3.NoError) // from the beginning
}

// A client that does not let its answer come keeps nobody else waiting, and not for ever.
func TestHTTP3StalledStream(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			w.Write(make([]byte, 32<<20))
		}
	}))
	ca, cfg := withHTTP3(t, backend)
	cfg.Listeners[0].SendTimeout, cfg.Listeners[0].MinBodyRate = time.Second, 0
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	r := dialRaw(t, p.Addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}, true)
	s := r.ask(true, asked("GET", "https", "t", "/big"))
	if status, code := r.status(r.ask(true, plainGet())); status != "200" {
		t.Errorf("beside it: status %q, code %#x", status, code)
	}
	proxytest.Eventually(t, "the end of the stream", func() bool {
		return p.Metrics.Process.Limits[observe.LimitSendTimeout].Load() > 0 && p.Server.InFlight() == 0
	})
	n, err := io.Copy(io.Discard, s)
	var reset *quic.StreamError
	if !errors.As(err, &reset) || uint64(reset.ErrorCode) != uint64(http3.InternalError) || n >= 32<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if status, code := r.status(r.ask(true, plainGet())); status != "200" {
		t.Errorf("behind it: status %q, code %#x", status, code)
	}
}
