package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/client"
	"github.com/sentinel-stack/sentinel/proxy/config"
)

// demanding is an instance that refuses configurations with "refuse" in them, counts its events and keeps what it was last told.
func demanding(picky bool) (*scripted, *atomic.Value, *atomic.Int64) {
	last, events := new(atomic.Value), new(atomic.Int64)
	last.Store("")
	return &scripted{
		request: func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
			events.Add(1)
			return protocol.Allow(), nil
		},
		config: func(c json.RawMessage) error {
			if picky && strings.Contains(string(c), "refuse") {
				return errors.New("not this")
			}
			last.Store(string(c))
			return nil
		},
	}, last, events
}

// TestInstancesTakeOneConfiguration: a configuration goes to every instance, and when one refuses it all have the old one again.
func TestInstancesTakeOneConfiguration(t *testing.T) {
	t.Parallel()
	easy, easyHas, _ := demanding(false)
	picky, pickyHas, _ := demanding(true)
	a := defaults("pair", "", "request_headers")
	a.UnixSockets, a.External, a.ConfigJSON = []string{serve(t, easy), serve(t, picky)}, true, `{"level":1}`
	first := set(t, nil, a)
	defer first.Close()
	if _, err := first.Filter("pair", "pair", "", config.AgentFilter{Agents: []string{"pair"}}); err != nil {
		t.Fatal(err)
	}
	if err := first.Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	both := func(want string) {
		t.Helper()
		if e, p := easyHas.Load(), pickyHas.Load(); e != want || p != want {
			t.Errorf("one has %v, the other %v, want %s", e, p, want)
		}
	}
	both(`{"level":1}`)

	a.ConfigJSON = `{"level":2}`
	second := set(t, first, a)
	if err := second.Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	both(`{"level":2}`)

	a.ConfigJSON = `{"refuse":true}`
	third := set(t, second, a)
	var refused *client.RefusedError
	if err := third.Configure(t.Context()); !errors.As(err, &refused) {
		t.Fatalf("%v, want a refusal", err)
	}
	third.Rollback(t.Context(), second)
	third.Close()
	both(`{"level":2}`)
	second.Close()
}

// TestInstancesAreCarriedOver: an instance whose socket stays keeps its connections and counters when others come and go, and what goes is let go of.
func TestInstancesAreCarriedOver(t *testing.T) {
	t.Parallel()
	one, _, _ := demanding(false)
	two, _, _ := demanding(false)
	three, _, _ := demanding(false)
	paths := []string{serve(t, one), serve(t, two), serve(t, three)}
	a := defaults("pair", "", "request_headers")
	a.UnixSockets, a.External = paths[:2], true
	p, first, _ := proxy(t, config.FailClosed, a)
	c := p.Dial(t)
	for range 4 {
		c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if resp, _ := c.Answer("GET"); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode)
		}
	}
	if s := first.Snapshot()[0]; s.Calls != 4 || len(s.Instances) != 2 || s.Instances[0].Calls != 2 || s.Instances[1].Calls != 2 {
		t.Errorf("%+v", s)
	}
	a.UnixSockets = paths[1:]
	second := set(t, first, a)
	defer second.Close()
	if _, err := second.Filter("pair", "pair", "", config.AgentFilter{Agents: []string{"pair"}}); err != nil {
		t.Fatal(err)
	}
	if err := second.Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := second.Snapshot()[0]
	if len(s.Instances) != 2 || s.Instances[0].Address != paths[1] || s.Instances[0].Calls != 2 || s.Instances[1].Address != paths[2] || s.Instances[1].Calls != 0 || !s.Instances[1].Connected {
		t.Errorf("%+v", s)
	}
	if s.Instances[0].Instance != "1" || s.Instances[1].Instance != "2" {
		t.Errorf("names %q and %q", s.Instances[0].Instance, s.Instances[1].Instance)
	}
	one1 := defaults("pair", paths[1], "request_headers")
	third := set(t, second, one1)
	defer third.Close()
	if s := third.Snapshot()[0]; s.Instances != nil || s.Calls != 2 {
		t.Errorf("the one that is left: %+v", s)
	}
}
