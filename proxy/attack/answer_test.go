package attack_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/attack"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	attacks := forEachFile(t, "answer-*.txt", func(t *testing.T) func(*testing.T, *attack.Turn) {
		upstream := &attack.Attacker{}
		p := proxytest.Proxy(t, proxytest.ToBackends(proxytest.RawBackend(t, upstream.Serve)), proxytest.Options{})
		return func(t *testing.T, turn *attack.Turn) { runAnswer(t, p, upstream, turn) }
	})
	if attacks < 60 {
		t.Errorf("only %d attacks", attacks)
	}
}

func runAnswer(t *testing.T, p *proxytest.Instance, upstream *attack.Attacker, turn *attack.Turn) {
	// A client has its answer before the proxy has put the upstream connection back; one of an earlier turn must not come into the pool during this one.
	proxytest.Eventually(t, "earlier exchanges to be over", func() bool { return p.Server.InFlight() == 0 })
	upstream.Begin(turn)
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
	if used := upstream.Used(); len(used) != 2 || (used[0] == used[1]) != (turn.State == "reused") {
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
