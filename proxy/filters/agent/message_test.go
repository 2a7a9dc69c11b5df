package agent_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	peer "github.com/coder/websocket"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// listener is a scripted agent that judges messages, too.
type listener struct {
	scripted
	message func(context.Context, *protocol.WebSocketFrame) (protocol.Verdict, error)
}

func (l *listener) WebSocketFrame(ctx context.Context, f *protocol.WebSocketFrame) (protocol.Verdict, error) {
	return l.message(ctx, f)
}

// socket opens a WebSocket to a backend that echoes, through a filter that asks the agent at path.
func socket(t *testing.T, mode config.FailureMode, path string) *peer.Conn {
	t.Helper()
	a := defaults("a", path, "request_headers", "websocket_frame")
	a.Timeout = 300 * time.Millisecond
	s := set(t, nil, a)
	t.Cleanup(s.Close)
	f, err := s.Filter("a", "a", "", config.AgentFilter{Agents: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := peer.Accept(w, r, nil)
		if err != nil {
			return
		}
		for {
			kind, p, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, p) != nil {
				return
			}
		}
	})))
	c.Routes[0].WebSocket = &config.WebSocket{Enabled: true}
	c.Routes[0].Filters = []string{"a"}
	c.Routes[0].Policies.FailureMode = mode
	p := proxytest.Proxy(t, c, proxytest.Options{Filters: []filter.Filter{f}})
	conn, _, err := peer.Dial(t.Context(), "ws://"+p.Addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn
}

// TestMessageFailures: what cannot be decided follows the failure mode, for that message.
func TestMessageFailures(t *testing.T) {
	t.Parallel()
	for name, agent := range map[string]func(*testing.T) string{
		"does not judge messages": func(t *testing.T) string { return serve(t, &scripted{}) },
		"takes too long": func(t *testing.T) string {
			path, _ := protocoltest.Serve(t, &listener{message: func(ctx context.Context, f *protocol.WebSocketFrame) (protocol.Verdict, error) {
				if strings.Contains(string(f.Data), "bad") {
					<-ctx.Done()
				}
				return protocol.Allow(), nil
			}})
			return path
		},
		"does not decide": func(t *testing.T) string {
			path, _ := protocoltest.Serve(t, &listener{message: func(_ context.Context, f *protocol.WebSocketFrame) (protocol.Verdict, error) {
				if strings.Contains(string(f.Data), "bad") {
					return protocol.Verdict{}, nil
				}
				return protocol.Allow(), nil
			}})
			return path
		},
		"says the impossible": func(t *testing.T) string {
			path, _ := protocoltest.Serve(t, &listener{message: func(_ context.Context, f *protocol.WebSocketFrame) (protocol.Verdict, error) {
				if strings.Contains(string(f.Data), "bad") {
					return protocol.CloseSocket(1006, ""), nil
				}
				return protocol.Allow(), nil
			}})
			return path
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := agent(t)
			open := socket(t, config.FailOpen, path)
			for _, text := range []string{"bad", "good", "bad", "good"} {
				if err := open.Write(t.Context(), peer.MessageText, []byte(text)); err != nil {
					t.Fatal(err)
				}
				if _, p, err := open.Read(t.Context()); err != nil || string(p) != text {
					t.Fatalf("open: %q, %v", p, err)
				}
			}
			closed := socket(t, config.FailClosed, path)
			if err := closed.Write(t.Context(), peer.MessageText, []byte("bad")); err != nil {
				t.Fatal(err)
			}
			if _, p, err := closed.Read(t.Context()); peer.CloseStatus(err) != 1011 {
				t.Errorf("closed: %q, %v", p, err)
			}
		})
	}
}

// TestMessageBlocked: a verdict that would refuse a request ends the WebSocket.
func TestMessageBlocked(t *testing.T) {
	t.Parallel()
	path, _ := protocoltest.Serve(t, &listener{message: func(_ context.Context, f *protocol.WebSocketFrame) (protocol.Verdict, error) {
		if f.FromClient {
			return protocol.Allow(), nil
		}
		return protocol.Block(403, nil, nil), nil
	}})
	c := socket(t, config.FailOpen, path)
	if err := c.Write(t.Context(), peer.MessageText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, p, err := c.Read(t.Context()); peer.CloseStatus(err) != 1008 {
		t.Errorf("%q, %v", p, err)
	}
}
