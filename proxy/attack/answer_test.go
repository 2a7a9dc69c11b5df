package attack_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/attack"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// attacker is an upstream that answers the first request of a turn with prepared bytes, and later ones in an orderly way.
type attacker struct {
	mu    sync.Mutex // guards the rest
	turn  *attack.Turn
	conns int   // accepted so far
	used  []int // numbers of the connections on which the requests of this turn came
}

func (a *attacker) begin(turn *attack.Turn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn, a.used = turn, nil
}

// next notes a request on a connection and returns what to answer.
func (a *attacker) next(number int) (answer string, last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = append(a.used, number)
	if len(a.used) == 1 {
		return a.turn.Raw, a.turn.Close
	}
	return "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nk", false
}

func (a *attacker) serve(c net.Conn) {
	a.mu.Lock()
	a.conns++
	number := a.conns
	a.mu.Unlock()
	var buf []byte
	for {
		end := bytes.Index(buf, []byte("\r\n\r\n"))
		for ; end < 0; end = bytes.Index(buf, []byte("\r\n\r\n")) {
			if !more(c, &buf) {
				return
			}
		}
		buf = buf[end+4:]
		answer, last := a.next(number)
		if _, err := io.WriteString(c, answer); err != nil || last {
			return
		}
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	attacks := forEachFile(t, "answer-*.txt", func(t *testing.T) func(*testing.T, *attack.Turn) {
		upstream := &attacker{}
		p := proxytest.Proxy(t, proxytest.ToBackends(proxytest.RawBackend(t, upstream.serve)), proxytest.Options{})
		return func(t *testing.T, turn *attack.Turn) { runAnswer(t, p, upstream, turn) }
	})
	if attacks < 60 {
		t.Errorf("only %d attacks", attacks)
	}
}

func runAnswer(t *testing.T, p *proxytest.Instance, upstream *attacker, turn *attack.Turn) {
	// A client has its answer before the proxy has put the upstream connection back; one of an earlier turn must not come into the pool during this one.
	proxytest.Eventually(t, "earlier exchanges to be over", func() bool { return p.Server.InFlight() == 0 })
	upstream.begin(turn)
	c := p.Dial(t)
	c.Send(proxytest.Head(turn.Method+" /first HTTP/1.1", "Host: test"))
	if turn.State == "broken" {
		wantBroken(t, turn, c)
		c = p.Dial(t)
	} else {
		status, body := readFinal(t, c, turn.Method)
		if status != turn.Status[0] {
			t.Fatalf("%s: the client gets %d, want %d", turn.Line, status, turn.Status[0])
		}
		if turn.Body != nil && body != *turn.Body {
			t.Errorf("%s: the client gets body %q, want %q", turn.Line, body, *turn.Body)
		}
	}
	r, body := c.Get("/second")
	if r.StatusCode != 200 || body != "k" {
		t.Fatalf("%s: the next request gets %s %q", turn.Line, r.Status, body)
	}
	upstream.mu.Lock()
	defer upstream.mu.Unlock()
	if used := upstream.used; len(used) != 2 || (used[0] == used[1]) != (turn.State == "reused") {
		t.Errorf("%s: the requests went over upstream connections %v, want %s", turn.Line, used, turn.State)
	}
}

// wantBroken reads an answer that is 502, or begins with the expected status and does not look complete.
func wantBroken(t *testing.T, turn *attack.Turn, c *proxytest.Client) {
	t.Helper()
	r, err := http.ReadResponse(c.R, &http.Request{Method: turn.Method})
	if err != nil {
		t.Fatalf("%s: %v", turn.Line, err)
	}
	body, err := io.ReadAll(r.Body)
	var timeout net.Error
	switch {
	case r.StatusCode == 502 && err == nil:
	case r.StatusCode != turn.Status[0]:
		t.Errorf("%s: the client gets %d, want 502 or %d", turn.Line, r.StatusCode, turn.Status[0])
	case err == nil || errors.As(err, &timeout) && timeout.Timeout():
		t.Errorf("%s: the client gets an answer that ends with %q, %v", turn.Line, body, err)
	}
}
