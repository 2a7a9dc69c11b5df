package attack_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/proxy/attack"
	"github.com/sentinel-stack/sentinel/proxy/http1"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files is where the cases are.
var files = filepath.Join("..", "testdata", "attack")

// recorder is a backend that notes what it is sent, byte for byte, and answers each complete request with 200.
type recorder struct {
	mu      sync.Mutex // guards the rest
	sees    []string
	heads   []string // raw, one for each of sees
	garbage []string // what is not a request by the strictest reading
}

// serve reads requests with the strict parser: whatever the proxy forwards must pass it.
func (b *recorder) serve(c net.Conn) {
	var buf []byte
	var r http1.Request
	for {
		r.Reset()
		n := 0
		for n == 0 {
			var refusal *http1.Refusal
			if n, refusal = r.Parse(buf, nil); refusal != nil {
				b.note(fmt.Sprintf("%v in %q", refusal, buf))
				return
			}
			if n == 0 && !more(c, &buf) {
				if len(buf) > 0 {
					b.note(fmt.Sprintf("truncated head %q", buf))
				}
				return
			}
		}
		head := string(buf[:n])
		what := fmt.Sprintf("%s %s", r.Method, r.Target)
		method := r.MethodID
		var body http1.Body
		body.Init(r.Framing, r.ContentLength, http1.FromClient, nil)
		buf = buf[n:]
		var data []byte
		for !body.Done() {
			used, piece, done, refusal := body.Next(buf)
			data = append(data, piece...)
			buf = buf[used:]
			if refusal != nil {
				b.note(refusal.Error())
				return
			}
			if !done && len(buf) == 0 && !more(c, &buf) {
				return // the proxy broke the request off: a backend does nothing with it
			}
		}
		if len(data) > 0 {
			what += fmt.Sprintf(" %q", data)
		}
		b.mu.Lock()
		b.sees, b.heads = append(b.sees, what), append(b.heads, head)
		b.mu.Unlock()
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
		if method != http1.MethodHead {
			answer += "ok"
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

func more(c net.Conn, buf *[]byte) bool {
	piece := make([]byte, 64<<10)
	n, err := c.Read(piece)
	*buf = append(bytes.Clone(*buf), piece[:n]...)
	return err == nil
}

// forget makes it ready for the next turn.
func (b *recorder) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sees, b.heads, b.garbage = nil, nil, nil
}

func (b *recorder) note(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.garbage = append(b.garbage, s)
}

// TestRequests runs the turns of a file one after the other through one proxy.
func TestRequests(t *testing.T) {
	t.Parallel()
	testRequests(t, func(c io.Writer, raw string) error {
		_, err := io.WriteString(c, raw)
		return err
	})
}

// TestRequestsInPieces sends the same bytes one by one: what a message means must not depend on how it is cut.
func TestRequestsInPieces(t *testing.T) {
	t.Parallel()
	testRequests(t, func(c io.Writer, raw string) error {
		for len(raw) > 0 {
			n := 1
			if len(raw) > 2000 {
				n = 500 // the limits are reached in pieces, too
			}
			if _, err := io.WriteString(c, raw[:n]); err != nil {
				return err
			}
			raw = raw[n:]
		}
		return nil
	})
}

func testRequests(t *testing.T, send func(c io.Writer, raw string) error) {
	attacks := forEachFile(t, "request-*.txt", func(t *testing.T) func(*testing.T, *attack.Turn) {
		backend := &recorder{}
		p := proxytest.Proxy(t, proxytest.ToBackends(proxytest.RawBackend(t, backend.serve)), proxytest.Options{})
		return func(t *testing.T, turn *attack.Turn) { runRequest(t, p, backend, turn, send) }
	})
	if attacks < 100 {
		t.Errorf("only %d attacks", attacks)
	}
}

// forEachFile runs all turns of the files that match pattern, files side by side, and returns how many are attacks.
func forEachFile(t *testing.T, pattern string, start func(*testing.T) func(*testing.T, *attack.Turn)) (attacks int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(files, pattern))
	if err != nil || len(names) == 0 {
		t.Fatal("no attack files", err)
	}
	for _, name := range names {
		cases, err := attack.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			for _, turn := range c.Turns {
				if !turn.Twin {
					attacks++
				}
			}
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			run := start(t)
			for _, c := range cases {
				for i, turn := range c.Turns {
					t.Run(fmt.Sprintf("%s/%d", c.Name, i+1), func(t *testing.T) { run(t, &turn) })
				}
			}
		})
	}
	return attacks
}

func runRequest(t *testing.T, p *proxytest.Instance, backend *recorder, turn *attack.Turn, send func(io.Writer, string) error) {
	backend.forget()
	c := p.Dial(t)
	if err := send(c.TCPConn, turn.Raw); err != nil && turn.State == "open" {
		t.Fatalf("%s: cannot send: %v", turn.Line, err)
	}
	if turn.Close {
		_ = c.CloseWrite() // fails when the proxy was faster
	}
	for i, status := range turn.Status {
		got, body := readFinal(t, c, methodOf(turn, i))
		if got != status {
			t.Fatalf("%s: answer %d is %d, want %d", turn.Line, i+1, got, status)
		}
		if i == len(turn.Status)-1 && turn.Body != nil && body != *turn.Body {
			t.Errorf("%s: body %q, want %q", turn.Line, body, *turn.Body)
		}
	}
	sees := turn.Sees
	switch turn.State {
	case "open":
		if r, _ := c.Get("/after"); r.StatusCode != 200 {
			t.Errorf("%s: the connection is of no use: %s", turn.Line, r.Status)
		}
		sees = append(slices.Clone(sees), "GET /after")
	case "closed":
		wantClosed(t, turn.Line, c)
	case "refused":
		if rest, _ := io.ReadAll(c.R); len(rest) > 0 && !bytes.HasPrefix(rest, []byte("HTTP/1.1 4")) {
			t.Errorf("%s: got %q", turn.Line, rest)
		}
	default:
		t.Fatalf("%s: unknown state %q", turn.Line, turn.State)
	}
	if r, _ := p.Dial(t).Get("/witness"); r.StatusCode != 200 { // what the backend got after the attack, it has seen by now
		t.Errorf("%s: the proxy is of no use after it: %s", turn.Line, r.Status)
	}
	backend.check(t, turn, append(slices.Clone(sees), "GET /witness"))
}

// methodOf takes the method of the i-th answered request from what is sent, as well as it can be seen there.
func methodOf(turn *attack.Turn, i int) string {
	if i == 0 && strings.HasPrefix(turn.Raw, "HEAD ") {
		return "HEAD"
	}
	return turn.Method
}

// readFinal reads one answer and skips interim ones.
func readFinal(t *testing.T, c *proxytest.Client, method string) (int, string) {
	t.Helper()
	for {
		if r, body := c.Answer(method); r.StatusCode >= 200 {
			return r.StatusCode, body
		}
	}
}

// wantClosed accepts a reset beside an orderly end: an attacker who goes on sending may get one.
func wantClosed(t *testing.T, where string, c *proxytest.Client) {
	t.Helper()
	b, err := c.R.ReadByte()
	var timeout net.Error
	if err == nil {
		rest, _ := io.ReadAll(c.R)
		t.Fatalf("%s: more came: %q", where, append([]byte{b}, rest...))
	} else if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("%s: the connection stays open", where)
	}
}

func (b *recorder) check(t *testing.T, turn *attack.Turn, want []string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.sees, want) {
		t.Errorf("%s: the backend sees %q, want %q", turn.Line, b.sees, want)
	}
	if len(b.garbage) > 0 {
		t.Errorf("%s: the backend gets garbage: %q", turn.Line, b.garbage)
	}
	last := len(turn.Sees) - 1
	for _, field := range turn.Has {
		if last >= len(b.heads) || !hasField(b.heads[last], field) {
			t.Errorf("%s: the backend does not see %q in %q", turn.Line, field, b.heads)
		}
	}
	for _, head := range b.heads {
		for _, name := range turn.Lacks {
			if hasName(head, name) {
				t.Errorf("%s: the backend sees %q in %q", turn.Line, name, head)
			}
		}
	}
}

func hasField(head, field string) bool {
	name, value, _ := strings.Cut(field, ": ")
	for _, line := range strings.Split(head, "\r\n")[1:] {
		n, v, _ := strings.Cut(line, ":")
		if strings.EqualFold(n, name) && strings.TrimSpace(v) == value {
			return true
		}
	}
	return false
}

func hasName(head, name string) bool {
	for _, line := range strings.Split(head, "\r\n")[1:] {
		if n, _, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
