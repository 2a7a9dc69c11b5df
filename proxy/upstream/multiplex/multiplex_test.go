package multiplex

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/proxy/http2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

var options = Options{MaxStreams: 50, Window: 64 << 10, WriteTimeout: patience}

// serve runs net/http with HTTP/2 only and connects to it.
func serve(t *testing.T, h http.HandlerFunc, opt Options) *Session {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(conn, opt, time.Now().Add(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func open(t *testing.T, s *Session) *Stream {
	t.Helper()
	st, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	_ = st.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { st.Close() })
	return st
}

// ask sends a request as text and reads the whole answer with net/http's parser, which knows nothing of ours.
func ask(t *testing.T, st *Stream, method, request string) (*http.Response, string) {
	t.Helper()
	if _, err := io.WriteString(st, request); err != nil {
		t.Fatal(err)
	}
	return answer(t, bufio.NewReader(st), method)
}

func answer(t *testing.T, r *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestExchange(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Seen", fmt.Sprintf("%s %s %s te=%q c=%q", r.Method, r.Host, r.RequestURI, r.Header.Get("Te"), r.Header.Get("Cookie")))
		switch r.URL.Path {
		case "/304":
			w.WriteHeader(304)
			return
		case "/length":
			w.Header().Del("Trailer")
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		_, _ = w.Write(body)
		w.Header().Set("X-Sum", fmt.Sprint(len(body)))
	}, options)
	resp, body := ask(t, open(t, s), "POST", "POST /a?b HTTP/1.1\r\nHost: h:1\r\ncookie: a=1; b=2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-End: yes\r\n\r\n")
	if body != "abcde" || resp.Trailer.Get("X-Sum") != "5" || resp.Header.Get("X-Seen") != `POST h:1 /a?b te="" c="a=1; b=2"` {
		t.Errorf("body %q, trailer %v, header %v", body, resp.Trailer, resp.Header)
	}
	if resp, body = ask(t, open(t, s), "POST", "POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz"); body != "xyz" || resp.ContentLength != 3 {
		t.Errorf("body %q, length %d", body, resp.ContentLength)
	}
	if resp, _ = ask(t, open(t, s), "HEAD", "HEAD /length HTTP/1.1\r\nHost: h\r\n\r\n"); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if resp, _ = ask(t, open(t, s), "GET", "GET /304 HTTP/1.1\r\nHost: h\r\n\r\n"); resp.StatusCode != 304 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if resp, _ = ask(t, open(t, s), "POST", "POST /grpc HTTP/1.1\r\nHost: h\r\ncontent-type: application/grpc\r\nContent-Length: 0\r\n\r\n"); !strings.Contains(resp.Header.Get("X-Seen"), `te="trailers"`) {
		t.Errorf("gRPC without te: %v", resp.Header)
	}
}

func TestRequestTrailers(t *testing.T) {
	s, p := meet(t, options)
	st := open(t, s)
	fmt.Fprint(st, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-End: yes\r\n\r\n")
	p.await(http2.Headers)
	if f := p.await(http2.Data); f.Has(http2.FlagEndStream) {
		t.Error("the body ended before the trailers")
	}
	if f := p.await(http2.Headers); !f.Has(http2.FlagEndStream) || !bytes.Contains(f.Payload, []byte("x-end\x03yes")) {
		t.Errorf("trailers %q", f.Payload)
	}
}

// The same message in pieces of every size means the same.
func TestWriteInPieces(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, options)
	const message = "PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
	for size := 1; size < len(message); size += 7 {
		st := open(t, s)
		for rest := message; rest != ""; {
			n := min(size, len(rest))
			if _, err := io.WriteString(st, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if _, body := answer(t, bufio.NewReaderSize(st, 16), "PUT"); body != "abcde" {
			t.Fatalf("pieces of %d: %q", size, body)
		}
	}
}

// Bodies far larger than every window pass in both directions at once, on many streams, and what is not read is bounded.
func TestFlowControl(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}, options)
	const size = 3 << 20
	var wg sync.WaitGroup
	for i := range 8 {
		st := open(t, s)
		want := bytes.Repeat([]byte{byte('a' + i)}, size)
		wg.Go(func() {
			fmt.Fprintf(st, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size)
			if _, err := st.Write(want); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			resp, err := http.ReadResponse(bufio.NewReader(st), nil)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("stream %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
}

// An answer nobody reads stops at the window and does not stop its neighbours.
func TestSlowReader(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			for range 100 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
		_, _ = io.WriteString(w, "small")
	}, options)
	slow := open(t, s)
	fmt.Fprint(slow, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := slow.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		st := open(t, s)
		if _, body := ask(t, st, "GET", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); body != "small" {
			t.Fatalf("body %q", body)
		}
		st.Close()
	}
	s.mu.Lock()
	held := len(slow.pending)
	s.mu.Unlock()
	if held > int(options.Window) {
		t.Errorf("%d bytes are held, more than the window", held)
	}
}

func TestCancelReachesTarget(t *testing.T) {
	gone := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	}, options)
	st := open(t, s)
	fmt.Fprint(st, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := st.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	st.Close()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("the target was not told")
	}
	if n := s.Streams(); n != 0 {
		t.Errorf("%d streams", n)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	opt := options
	opt.MaxStreams = 2
	changed := make(chan struct{}, 100)
	opt.Changed = func() { changed <- struct{}{} }
	s := serve(t, func(http.ResponseWriter, *http.Request) {}, opt)
	a, _ := open(t, s), open(t, s)
	if _, err := s.Open(); !errors.Is(err, ErrFull) {
		t.Fatalf("a third stream: %v", err)
	}
	a.Close()
	<-changed
	open(t, s)
}

func TestDeadline(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, options)
	st := open(t, s)
	fmt.Fprint(st, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	_ = st.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err := st.Read(make([]byte, 1))
	if !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(fmt.Sprint(err), "timeout") {
		t.Errorf("read: %v", err)
	}
}

// peer is a target that does what a test wants.
type peer struct {
	t    *testing.T
	conn net.Conn
	buf  []byte
}

// meet connects a session to a peer that has sent its settings.
func meet(t *testing.T, opt Options, settings ...http2.Setting) (*Session, *peer) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	_ = other.SetDeadline(time.Now().Add(patience))
	p := &peer{t: t, conn: other}
	p.send(http2.AppendSettings(nil, settings...))
	s, err := Start(conn, opt, time.Now().Add(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	preface := make([]byte, len(http2.Preface))
	if _, err := io.ReadFull(other, preface); err != nil || string(preface) != http2.Preface {
		t.Fatalf("preface %q, %v", preface, err)
	}
	return s, p
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// await reads frames until one is of the type.
func (p *peer) await(want http2.Type) http2.Frame {
	p.t.Helper()
	for {
		var f http2.Frame
		n, bad := http2.ParseFrame(p.buf, &f)
		if bad != nil {
			p.t.Fatal(bad)
		}
		if n == 0 {
			b := make([]byte, 4096)
			k, err := p.conn.Read(b)
			if err != nil {
				p.t.Fatalf("waiting for a frame of type %d: %v", want, err)
			}
			p.buf = append(p.buf, b[:k]...)
			continue
		}
		f.Payload = append([]byte(nil), f.Payload...)
		p.buf = p.buf[n:]
		if f.Type == want {
			return f
		}
	}
}

func head(id uint32, status int, end bool, fields ...string) []byte {
	block := http2.AppendStatus(nil, status)
	for i := 0; i < len(fields); i += 2 {
		block = http2.AppendField(block, []byte(fields[i]), []byte(fields[i+1]))
	}
	return http2.AppendHeaders(nil, id, block, end)
}

func begin(t *testing.T, s *Session) *Stream {
	t.Helper()
	st := open(t, s)
	if _, err := io.WriteString(st, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return st
}

func readAll(st *Stream) (string, error) {
	b, err := io.ReadAll(st)
	return string(b), err
}

func TestGoAwaySaysWhatWasNotProcessed(t *testing.T) {
	s, p := meet(t, options)
	first, second := begin(t, s), begin(t, s)
	p.await(http2.Headers)
	p.await(http2.Headers)
	p.send(http2.AppendGoAway(nil, 1, http2.NoError))
	if _, err := readAll(second); !errors.Is(err, ErrUnprocessed) {
		t.Errorf("the stream behind the last one: %v", err)
	}
	if _, err := s.Open(); !errors.Is(err, ErrFull) {
		t.Errorf("a new stream: %v", err)
	}
	p.send(http2.AppendData(head(1, 200, false), 1, []byte("ok"), true))
	if text, err := readAll(first); err != nil || !strings.HasSuffix(text, "2\r\nok\r\n0\r\n\r\n") {
		t.Errorf("the stream before it: %q, %v", text, err)
	}
	first.Close()
	second.Close()
	select {
	case <-s.Ended():
	case <-time.After(patience):
		t.Error("the session stays open without streams")
	}
}

func TestRefusedStream(t *testing.T) {
	s, p := meet(t, options)
	a, b := begin(t, s), begin(t, s)
	p.send(http2.AppendRST(http2.AppendRST(nil, 1, http2.RefusedStream), 3, http2.InternalError))
	if _, err := readAll(a); !errors.Is(err, ErrUnprocessed) {
		t.Errorf("refused: %v", err)
	}
	var reset *Reset
	if _, err := readAll(b); !errors.As(err, &reset) || reset.Code != http2.InternalError {
		t.Errorf("reset: %v", err)
	}
	if !s.Usable() {
		t.Error("the session ended with a stream")
	}
}

// A complete answer is read to its end though the target does not want the rest of the request.
func TestEarlyAnswer(t *testing.T) {
	s, p := meet(t, options)
	st := open(t, s)
	fmt.Fprint(st, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
	p.await(http2.Data)
	p.send(http2.AppendRST(head(1, 413, true), 1, http2.NoError))
	p.send(http2.AppendHeader(nil, http2.Ping, 0, 0, 8))
	p.send(make([]byte, 8))
	p.await(http2.Ping) // both are handled
	if text, err := readAll(st); err != nil || !strings.HasPrefix(text, "HTTP/1.1 413 ") {
		t.Errorf("answer %q, %v", text, err)
	}
	if _, err := io.WriteString(st, "more"); err == nil {
		t.Error("writing goes on after the reset")
	}
}

func TestPeersSettings(t *testing.T) {
	s, p := meet(t, options, http2.Setting{ID: http2.MaxConcurrentStreams, Value: 1}, http2.Setting{ID: http2.InitialWindowSize, Value: 3})
	st := open(t, s)
	if _, err := s.Open(); !errors.Is(err, ErrFull) {
		t.Fatalf("beyond the target's limit: %v", err)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := io.WriteString(st, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabcdefghi")
		wrote <- err
	}()
	if f := p.await(http2.Data); string(f.Payload) != "abc" || f.Has(http2.FlagEndStream) {
		t.Errorf("first %q", f.Payload)
	}
	p.send(http2.AppendSettings(nil, http2.Setting{ID: http2.InitialWindowSize, Value: 5}))
	if f := p.await(http2.Data); string(f.Payload) != "de" {
		t.Errorf("after a larger initial window %q", f.Payload)
	}
	p.send(http2.AppendWindowUpdate(nil, 1, 100))
	if f := p.await(http2.Data); string(f.Payload) != "fghi" || !f.Has(http2.FlagEndStream) {
		t.Errorf("after an update %q", f.Payload)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

func TestPingFindsDeadTarget(t *testing.T) {
	opt := options
	opt.PingInterval, opt.PingTimeout = 20*time.Millisecond, 20*time.Millisecond
	s, p := meet(t, opt)
	st := begin(t, s)
	if f := p.await(http2.Ping); f.Has(http2.FlagAck) {
		t.Fatal("an answer nobody asked for")
	}
	if _, err := readAll(st); !errors.Is(err, errSilent) {
		t.Errorf("a silent target: %v", err)
	}
}

// An exchange that is given up in silence makes the session ask at once, so that the next ones do not wait for a target that is gone; the twin answers and stays.
func TestDoubt(t *testing.T) {
	opt := options
	opt.PingInterval, opt.PingTimeout = time.Hour, 50*time.Millisecond
	for _, dead := range []bool{true, false} {
		s, p := meet(t, opt)
		st := begin(t, s)
		p.await(http2.Headers)
		st.Close()
		f := p.await(http2.Ping)
		if dead {
			select {
			case <-s.Ended():
			case <-time.After(patience):
				t.Fatal("the session of a dead target stays")
			}
			continue
		}
		p.send(append(http2.AppendHeader(nil, http2.Ping, http2.FlagAck, 0, 8), f.Payload...))
		select {
		case <-s.Ended():
			t.Fatal("the session of a living target ended")
		case <-time.After(4 * opt.PingTimeout):
		}
	}
}

// What a target breaks on the connection ends it; what it breaks on one stream leaves the neighbour alone. Each case has a twin that passes.
func TestViolations(t *testing.T) {
	ok := head(1, 200, true)
	window := make([]byte, 0, 100<<10)
	window = append(window, head(1, 200, false)...)
	for range 5 {
		window = http2.AppendData(window, 1, make([]byte, 16<<10), false)
	}
	for _, c := range []struct {
		name   string
		sent   []byte
		reason string // "" = nothing wrong
		whole  bool   // the connection ends
	}{
		{"answer", ok, "", false},
		{"interim, then answer", append(head(1, 103, false, "link", "</a>"), ok...), "", false},
		{"no status", http2.AppendHeaders(nil, 1, http2.AppendField(nil, []byte("a"), []byte("b")), true), "status-missing", false},
		{"status 101", head(1, 101, false), "status", false},
		{"interim with end", head(1, 100, true), "interim-end", false},
		{"hop field", head(1, 200, true, "connection", "close"), "hop-field", false},
		{"line break in value", head(1, 200, true, "a", "b\r\nc: d"), "field-value", false},
		{"content-length too large", head(1, 200, true, "content-length", "5"), "content-length", false},
		{"content-length too small", http2.AppendData(head(1, 200, false, "content-length", "1"), 1, []byte("ab"), true), "content-length", false},
		{"data before head", http2.AppendData(nil, 1, []byte("x"), true), "data-first", false},
		{"trailers without end", append(head(1, 200, false), http2.AppendHeaders(nil, 1, http2.AppendField(nil, []byte("a"), []byte("b")), false)...), "trailers-without-end", false},
		{"window overrun", window, "stream-window", false},
		{"update by 0", http2.AppendWindowUpdate(nil, 1, 0), "window-update-zero", false},
		{"update beyond the maximum", http2.AppendWindowUpdate(nil, 1, http2.MaxWindow), "stream-window", false},
		{"idle stream", head(5, 200, true), "stream-idle", true},
		{"even stream", head(2, 200, true), "stream-idle", true},
		{"push", http2.AppendHeader(nil, http2.PushPromise, http2.FlagEndHeaders, 1, 0), "push-promise", true},
		{"push setting", http2.AppendSettings(nil, http2.Setting{ID: http2.EnablePush, Value: 1}), "setting-value", true},
		{"broken block", http2.AppendHeaders(nil, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, true), "compression", true},
		{"continuation alone", http2.AppendHeader(nil, http2.Continuation, 0, 1, 0), "continuation", true},
		{"frame within a block", append(http2.AppendHeader(nil, http2.Headers, 0, 1, 0), ok...), "continuation", true},
		{"long frame", http2.AppendHeader(nil, http2.Data, 0, 1, 1<<20), "frame-too-long", true},
		{"connection update by 0", http2.AppendWindowUpdate(nil, 0, 0), "window-update-zero", true},
		{"ping flood", bytes.Repeat(http2.AppendPing(nil, [8]byte{}), 5000), "flood", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p := meet(t, options)
			st, neighbour := begin(t, s), begin(t, s)
			p.await(http2.Headers)
			p.await(http2.Headers)
			_, _ = p.conn.Write(c.sent)
			if c.reason != "" && !c.whole { // before it is read: reading gives windows back
				if f := p.await(http2.RSTStream); f.Stream != 1 || f.Code == http2.NoError {
					t.Errorf("the target was told %d on stream %d", f.Code, f.Stream)
				}
			}
			_, err := readAll(st)
			var v *Violation
			switch {
			case c.reason == "" && err != nil:
				t.Fatal(err)
			case c.reason != "" && (!errors.As(err, &v) || v.Err.Reason != c.reason):
				t.Fatalf("ended with %v, want %s", err, c.reason)
			}
			if c.whole {
				if _, err := readAll(neighbour); !errors.As(err, &v) {
					t.Errorf("the neighbour was not told: %v", err)
				}
				if c.reason != "flood" {
					if f := p.await(http2.GoAway); f.Code == http2.NoError {
						t.Error("the target was not told why")
					}
				}
				return
			}
			p.send(http2.AppendData(head(3, 200, false), 3, []byte("fine"), true))
			if text, err := readAll(neighbour); err != nil || !strings.Contains(text, "fine") {
				t.Errorf("the neighbour: %q, %v", text, err)
			}
		})
	}
}

// A server that does not speak HTTP/2 is found out when the connection is made.
func TestOtherProtocol(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(conn, options, time.Now().Add(patience)); err == nil {
		t.Fatal("an HTTP/1.1 server was taken")
	}
}
