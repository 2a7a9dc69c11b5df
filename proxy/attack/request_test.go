package attack_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/proxy/attack"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files is where the cases are.
var files = filepath.Join("..", "testdata", "attack")

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
		backend := &attack.Recorder{}
		p := proxytest.Proxy(t, proxytest.ToBackends(proxytest.RawBackend(t, backend.Serve)), proxytest.Options{})
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

func runRequest(t *testing.T, p *proxytest.Instance, backend *attack.Recorder, turn *attack.Turn, send func(io.Writer, string) error) {
	backend.Forget()
	c := p.Dial(t)
	if err := send(c.TCPConn, turn.Raw); err != nil && turn.State == "open" {
		t.Fatalf("%s: cannot send: %v", turn.Line, err)
	}
	if turn.Close {
		_ = c.CloseWrite() // fails when the proxy was faster
	}
	for i, status := range turn.Status {
		got, body := readFinal(t, c, turn.MethodOf(i))
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
	check(t, backend, turn, append(slices.Clone(sees), "GET /witness"))
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

func check(t *testing.T, b *attack.Recorder, turn *attack.Turn, want []string) {
	t.Helper()
	for _, difference := range turn.Differences(b.Seen(), want) {
		t.Errorf("%s: %s", turn.Line, difference)
	}
}
