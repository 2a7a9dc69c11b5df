package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/filters/agent"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is an agent that does what a test says. A nil function allows.
type scripted struct {
	request  func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error)
	response func(*protocol.ResponseHeaders) protocol.Verdict
	body     func(*protocol.BodyChunk) protocol.Verdict
	answer   func(*protocol.BodyChunk) protocol.Verdict
	complete func(*protocol.RequestComplete)
	config   func(json.RawMessage) error
}

func (s *scripted) Name() string { return "scripted" }

func (s *scripted) Request(ctx context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
	if s.request == nil {
		return protocol.Allow(), nil
	}
	return s.request(ctx, r)
}

func (s *scripted) Response(_ context.Context, r *protocol.ResponseHeaders) (protocol.Verdict, error) {
	if s.response == nil {
		return protocol.Allow(), nil
	}
	return s.response(r), nil
}

func (s *scripted) RequestBody(_ context.Context, c *protocol.BodyChunk) (protocol.Verdict, error) {
	if s.body == nil {
		return protocol.Allow(), nil
	}
	return s.body(c), nil
}

func (s *scripted) ResponseBody(_ context.Context, c *protocol.BodyChunk) (protocol.Verdict, error) {
	if s.answer == nil {
		return protocol.Allow(), nil
	}
	return s.answer(c), nil
}

func (s *scripted) Complete(_ context.Context, c *protocol.RequestComplete) {
	if s.complete != nil {
		s.complete(c)
	}
}

func (s *scripted) Configure(_ context.Context, c json.RawMessage) error {
	if s.config == nil {
		return nil
	}
	return s.config(c)
}

func always(v protocol.Verdict) func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
	return func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) { return v, nil }
}

// defaults is an agent's configuration as the file's defaults make it.
func defaults(name, socket string, events ...string) config.Agent {
	return config.Agent{Name: name, UnixSockets: []string{socket}, Events: events, Timeout: 2 * time.Second, ChunkTimeout: 2 * time.Second, MaxConcurrentCalls: 100, QueueLength: 100,
		QueueTimeout: 100 * time.Millisecond, MaxRequestBody: 1 << 20, MaxResponseBody: 1 << 20, Breaker: config.Breaker{Failures: 5, Successes: 2, OpenFor: 30 * time.Second, HalfOpen: 1}}
}

func set(t *testing.T, prev *agent.Set, agents ...config.Agent) *agent.Set {
	t.Helper()
	s, err := agent.NewSet(agents, prev, agent.Deps{Metrics: observe.NewMetrics("test", nil), Logger: slog.New(slog.DiscardHandler), ProxyID: "test", DecompressionMemory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// proxy starts a proxy with one route to a backend that echoes, whose filters ask the agents in order.
func proxy(t *testing.T, mode config.FailureMode, agents ...config.Agent) (*proxytest.Instance, *agent.Set, *proxytest.Log) {
	t.Helper()
	s := set(t, nil, agents...)
	t.Cleanup(s.Close)
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for name, values := range r.Header {
			if strings.HasPrefix(name, "X-Seen-") || strings.HasPrefix(name, "X-Agent-") || strings.HasPrefix(name, "X-Client-") {
				w.Header()["Back-"+name] = values
			}
		}
		w.Header().Set("X-Backend", "yes")
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
	}))
	c := proxytest.ToBackends(backend)
	var filters []filter.Filter
	for _, a := range agents {
		f, err := s.Filter(a.Name, a.Name, "", config.AgentFilter{Agents: []string{a.Name}})
		if err != nil {
			t.Fatal(err)
		}
		filters = append(filters, f)
		c.Routes[0].Filters = append(c.Routes[0].Filters, a.Name)
	}
	if err := s.Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Routes[0].Policies.FailureMode = mode
	audit := new(proxytest.Log)
	return proxytest.Proxy(t, c, proxytest.Options{Filters: filters, AuditLog: audit}), s, audit
}

func serve(t *testing.T, s *scripted) string {
	t.Helper()
	path, _ := protocoltest.Serve(t, s)
	return path
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	type want struct {
		status int
		body   string
		fields map[string]string
	}
	for name, part := range map[string]struct {
		verdict protocol.Verdict
		want    want
	}{
		"allow": {protocol.Allow(), want{200, "GET /x ", map[string]string{"X-Backend": "yes"}}},
		"allow with changes": {protocol.Allow().WithRequestHeaders(protocol.Set("X-Agent-Set", "s"), protocol.Add("X-Client-Own", "two"), protocol.Remove("X-Client-Gone")).
			WithResponseHeaders(protocol.Set("X-Backend", "changed"), protocol.Add("X-Late", "l")),
			want{200, "GET /x ", map[string]string{"Back-X-Agent-Set": "s", "Back-X-Client-Own": "one, two", "Back-X-Client-Gone": "", "X-Backend": "changed", "X-Late": "l"}}},
		"block": {protocol.Block(451, protocol.Headers{{Name: "Content-Type", Value: "text/plain"}, {Name: "X-Why", Value: "law"}}, []byte("no, thanks")).WithResponseHeaders(protocol.Add("X-Also", "a")),
			want{451, "no, thanks", map[string]string{"X-Why": "law", "X-Also": "a", "X-Backend": "", "Content-Type": "text/plain"}}},
		"redirect": {protocol.Redirect("https://example.org/login?a=b", 303), want{303, "", map[string]string{"Location": "https://example.org/login?a=b"}}},
		"challenge basic": {protocol.Challenge("Basic", protocol.Header{Name: "realm", Value: `a "b"`}, protocol.Header{Name: "charset", Value: "UTF-8"}),
			want{401, "", map[string]string{"WWW-Authenticate": `Basic realm="a \"b\"", charset="UTF-8"`, "Cache-Control": "no-store"}}},
		"challenge captcha": {protocol.Challenge("captcha", protocol.Header{Name: "site", Value: "k"}),
			want{403, `{"challenge":{"params":{"site":"k"},"type":"captcha"}}`, map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json"}}},
		"impossible field":  {protocol.Allow().WithRequestHeaders(protocol.Set("X-A", "a\r\nX-B: b")), want{503, "", map[string]string{"X-Backend": ""}}},
		"framing field":     {protocol.Allow().WithResponseHeaders(protocol.Set("Content-Length", "0")), want{503, "", map[string]string{"X-Backend": ""}}},
		"impossible answer": {protocol.Block(403, protocol.Headers{{Name: "bad name", Value: "v"}}, nil), want{503, "", nil}},
		"split redirect":    {protocol.Redirect("/a\r\nSet-Cookie: x=y", 302), want{503, "", map[string]string{"Set-Cookie": "", "Location": ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _, _ := proxy(t, config.FailClosed, defaults("a", serve(t, &scripted{request: always(part.verdict)}), "request_headers"))
			c := p.Dial(t)
			c.Send("GET /x HTTP/1.1\r\nHost: h\r\nX-Client-Own: one\r\nX-Client-Gone: x\r\n\r\n")
			resp, body := c.Answer("GET")
			if resp.StatusCode != part.want.status || part.want.body != "" && body != part.want.body {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, body, part.want.status, part.want.body)
			}
			for name, value := range part.want.fields {
				if got := strings.Join(resp.Header.Values(name), ", "); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
		})
	}
}

// TestEvents checks what an agent is told in every phase of one exchange.
func TestEvents(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	note := func(format string, args ...any) {
		mu.Lock()
		got = append(got, fmt.Sprintf(format, args...))
		mu.Unlock()
	}
	var id string
	var body, answer strings.Builder
	done := make(chan struct{})
	path := serve(t, &scripted{
		request: func(_ context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
			m := r.Metadata
			id = strings.Clone(m.CorrelationID)
			note("request %s %s host=%s route=%s upstream=%s ip=%s proto=%s", r.Method, r.URI, r.Headers.Get("host"), m.RouteID, m.UpstreamID, m.ClientIP, m.Protocol)
			if m.ClientPort == 0 || m.RequestID == "" || !strings.HasPrefix(m.CorrelationID, m.RequestID+".") || m.Timestamp == "" {
				t.Errorf("metadata %+v", m)
			}
			return protocol.Allow(), nil
		},
		body: func(c *protocol.BodyChunk) protocol.Verdict {
			body.Write(c.Data)
			if c.CorrelationID != id || c.Transferred != int64(body.Len()) || c.TotalSize != 11 {
				t.Errorf("%+v", c)
			}
			if c.Last {
				note("body %s", body.String())
			}
			return protocol.Allow()
		},
		response: func(r *protocol.ResponseHeaders) protocol.Verdict {
			note("response %d %s", r.Status, r.Headers.Get("x-backend"))
			return protocol.Allow().WithResponseHeaders(protocol.Set("X-From-Response", "1"))
		},
		answer: func(c *protocol.BodyChunk) protocol.Verdict {
			if answer.Write(c.Data); c.Last {
				note("answer %s", answer.String())
			}
			return protocol.Allow()
		},
		complete: func(c *protocol.RequestComplete) {
			note("complete %d in=%d out=%d attempts=%d error=%q same=%v", c.Status, c.RequestBodySize, c.ResponseBodySize, c.UpstreamAttempts, c.Error, c.CorrelationID == id)
			close(done)
		},
	})
	p, s, _ := proxy(t, config.FailClosed, defaults("a", path, "request_headers", "request_body", "response_headers", "response_body", "request_complete"))
	c := p.Dial(t)
	c.Send("POST /y?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world")
	resp, text := c.Answer("POST")
	<-done
	if resp.StatusCode != 200 || text != "POST /y hello world" || resp.Header.Get("X-From-Response") != "1" {
		t.Errorf("%d %q %v", resp.StatusCode, text, resp.Header)
	}
	mu.Lock()
	defer mu.Unlock()
	route := config.Route(proxytest.ToBackends("127.0.0.1:1").Routes[0])
	want := []string{"request POST /y?q=1 host=h route=" + route.ID + " upstream=" + route.Upstream + " ip=127.0.0.1 proto=HTTP/1.1", "body hello world", "response 200 yes", "answer POST /y hello world",
		`complete 200 in=11 out=19 attempts=1 error="" same=true`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("agent heard\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if a := s.Snapshot()[0]; a.Calls < 4 || a.Errors != 0 || !a.Connected || a.Encoding != "msgpack" {
		t.Errorf("%+v", a)
	}
}

// TestFailure: each way to fail, closed and open.
func TestFailure(t *testing.T) {
	t.Parallel()
	long := "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n" + strings.Repeat("x", 3000)
	get := "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
	for name, part := range map[string]struct {
		agent  func(t *testing.T) config.Agent
		send   string
		status int
	}{
		"error": {func(t *testing.T) config.Agent {
			return defaults("a", serve(t, &scripted{request: func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
				return protocol.Verdict{}, errors.New("no")
			}}), "request_headers")
		}, get, 503},
		"no verdict": {func(t *testing.T) config.Agent {
			return defaults("a", serve(t, &scripted{request: always(protocol.Verdict{})}), "request_headers")
		}, get, 503},
		"panic": {func(t *testing.T) config.Agent {
			return defaults("a", serve(t, &scripted{request: func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) { panic("boom") }}), "request_headers")
		}, get, 503},
		"timeout": {func(t *testing.T) config.Agent {
			a := defaults("a", serve(t, &scripted{request: func(ctx context.Context, _ *protocol.RequestHeaders) (protocol.Verdict, error) {
				<-ctx.Done()
				return protocol.Allow(), nil
			}}), "request_headers")
			a.Timeout = 50 * time.Millisecond
			return a
		}, get, 504},
		"not there": {func(t *testing.T) config.Agent {
			a := defaults("a", filepath.Join(t.TempDir(), "none.sock"), "request_headers")
			a.Timeout = 50 * time.Millisecond
			return a
		}, get, 503},
		"open circuit": {func(t *testing.T) config.Agent {
			a := defaults("a", serve(t, &scripted{request: always(protocol.Verdict{})}), "request_headers")
			a.Breaker.Failures = 1
			return a
		}, get, 503},
		"known length": {func(t *testing.T) config.Agent {
			a := defaults("a", serve(t, &scripted{}), "request_body")
			a.MaxRequestBody = 2999
			return a
		}, long, 413},
		"chunked": {func(t *testing.T) config.Agent {
			a := defaults("a", serve(t, &scripted{}), "request_body")
			a.MaxRequestBody = 10
			return a
		}, "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n", 413},
		"response body": {func(t *testing.T) config.Agent {
			a := defaults("a", serve(t, &scripted{}), "response_body")
			a.MaxResponseBody = 5
			return a
		}, get, 502},
		"body mutation": {func(t *testing.T) config.Agent {
			return defaults("a", serve(t, &scripted{body: func(*protocol.BodyChunk) protocol.Verdict {
				v := protocol.Allow()
				v.RequestBody = &protocol.BodyMutation{Data: []byte("other")}
				return v
			}}), "request_body")
		}, long, 503},
	} {
		for _, mode := range []config.FailureMode{config.FailClosed, config.FailOpen} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				a := part.agent(t)
				a.FailureMode = mode
				other := map[config.FailureMode]config.FailureMode{config.FailClosed: config.FailOpen, config.FailOpen: config.FailClosed}[mode]
				p, _, audit := proxy(t, other, a) // the agent's own mode wins over the route's
				want := part.status
				if mode == config.FailOpen {
					want = 200
				}
				for range 2 { // the second meets an open circuit, where there is one
					c := p.Dial(t)
					c.Send(part.send)
					if resp, body := c.Answer(part.send[:strings.IndexByte(part.send, ' ')]); resp.StatusCode != want {
						t.Errorf("%d %q, want %d", resp.StatusCode, body, want)
					} else if strings.Contains(body, "agent") {
						t.Errorf("the client sees the cause: %q", body)
					}
				}
				if mode == config.FailClosed {
					proxytest.Eventually(t, "audited", func() bool { return strings.Contains(audit.String(), `"agent_id":"a"`) })
				}
			})
		}
	}
}

// TestChain: the second agent sees what the first changed, and is not asked when the first refuses.
func TestChain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	first := serve(t, &scripted{request: func(_ context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
		if r.URI == "/blocked" {
			return protocol.Block(403, nil, nil), nil
		}
		return protocol.Allow().WithRequestHeaders(protocol.Set("X-Seen-First", "f")), nil
	}})
	second := serve(t, &scripted{request: func(_ context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
		asked.Add(1)
		return protocol.Allow().WithRequestHeaders(protocol.Set("X-Seen-Second", r.Headers.Get("x-seen-first")+"s")), nil
	}})
	p, _, _ := proxy(t, config.FailClosed, defaults("one", first, "request_headers"), defaults("two", second, "request_headers"))
	c := p.Dial(t)
	if resp, _ := c.Get("/fine"); resp.Header.Get("Back-X-Seen-Second") != "fs" {
		t.Errorf("%v", resp.Header)
	}
	if resp, _ := c.Get("/blocked"); resp.StatusCode != 403 || asked.Load() != 1 {
		t.Errorf("%d, second agent asked %d times", resp.StatusCode, asked.Load())
	}
}

// TestCarryOver: a new generation shares the client, delivers a changed configuration, and a refusal leaves everything as it was.
func TestCarryOver(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	path := serve(t, &scripted{config: func(c json.RawMessage) error {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(string(c), "bad") {
			return errors.New("key: bad value")
		}
		seen = append(seen, string(c))
		return nil
	}})
	last := func() string { mu.Lock(); defer mu.Unlock(); return strings.Join(seen, " ") }
	with := func(json string) config.Agent {
		a := defaults("a", path, "request_headers")
		a.ConfigJSON = json
		return a
	}
	deps := agent.Deps{Metrics: observe.NewMetrics("test", nil), Logger: slog.New(slog.DiscardHandler), ProxyID: "test"}
	build := func(prev *agent.Set, a config.Agent) (*agent.Set, error) {
		s, err := agent.NewSet([]config.Agent{a}, prev, deps)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		ask(t, s, a.Name)
		return s, s.Configure(t.Context())
	}
	one, err := build(nil, with(`{"v":1}`))
	if err != nil || last() != `{"v":1}` {
		t.Fatalf("%v, agent has %s", err, last())
	}
	two, err := build(one, with(`{"v":2}`))
	if err != nil || last() != `{"v":1} {"v":2}` {
		t.Fatalf("%v, agent has %s", err, last())
	}
	one.Close()
	if a := two.Snapshot()[0]; !a.Connected {
		t.Error("closing the old set closed the shared client")
	}
	bad, err := build(two, with(`{"v":"bad"}`))
	if err == nil || !strings.Contains(err.Error(), "key: bad value") {
		t.Fatalf("bad configuration: %v", err)
	}
	bad.Rollback(t.Context(), two)
	bad.Close()
	if last() != `{"v":1} {"v":2}` {
		t.Errorf("after the refusal the agent has %s", last())
	}
	three, err := build(two, with(`{"v":3}`)) // accepted, but the generation is given up for another reason
	if err != nil {
		t.Fatal(err)
	}
	three.Rollback(t.Context(), two)
	three.Close()
	if last() != `{"v":1} {"v":2} {"v":3} {"v":2}` {
		t.Errorf("after the rollback the agent has %s", last())
	}
	four, err := build(two, with(""))
	if err != nil || !strings.HasSuffix(last(), "{}") {
		t.Errorf("%v, without a configuration the agent has %s", err, last())
	}
	four.Close()
	two.Close()
}

// TestFirstConfigurationRefused: the first generation is refused as any other.
func TestFirstConfigurationRefused(t *testing.T) {
	t.Parallel()
	path := serve(t, &scripted{config: func(json.RawMessage) error { return errors.New("never") }})
	a := defaults("a", path, "request_headers")
	a.ConfigJSON = `{"x":1}`
	s := set(t, nil, a)
	defer s.Close()
	ask(t, s, "a")
	if err := s.Configure(t.Context()); err == nil || !strings.Contains(err.Error(), "never") {
		t.Errorf("%v", err)
	}
}

// TestOnlyAskedAgentsAreWaitedFor: an agent that no filter asks may be down for as long as it likes.
func TestOnlyAskedAgentsAreWaitedFor(t *testing.T) {
	t.Parallel()
	for _, asked := range []bool{true, false} {
		ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() // held, as the stack does, and nobody accepts
		log := new(proxytest.Log)
		s, err := agent.NewSet([]config.Agent{defaults("a", ln.Addr().String(), "request_headers")}, nil,
			agent.Deps{Metrics: observe.NewMetrics("test", nil), Logger: slog.New(slog.NewTextHandler(log, nil)), ProxyID: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if asked {
			ask(t, s, "a")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // who waits gives up at once, and says so
		if err := s.Configure(ctx); err != nil {
			t.Errorf("asked %v: %v", asked, err)
		}
		if waited := strings.Contains(log.String(), "not reachable yet"); waited != asked {
			t.Errorf("asked %v, waited %v", asked, waited)
		}
		s.Close()
	}
}

// ask makes a filter that asks the agent.
func ask(t *testing.T, s *agent.Set, name string) {
	t.Helper()
	if _, err := s.Filter(name, name, "", config.AgentFilter{Agents: []string{name}}); err != nil {
		t.Fatal(err)
	}
}

// TestConfigBound: the configuration refuses, with its place, what the protocol would not carry.
func TestConfigBound(t *testing.T) {
	t.Parallel()
	if config.MaxAgentConfig != protocol.MaxConfig {
		t.Errorf("the configuration allows %d bytes, the protocol %d", config.MaxAgentConfig, protocol.MaxConfig)
	}
}

// TestDryRun: nothing is contacted before Configure, so `sentinel test` needs no agent.
func TestDryRun(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.sock")
	s := set(t, nil, defaults("a", path, "request_headers"))
	if _, err := s.Filter("a", "a", "", config.AgentFilter{}); err != nil {
		t.Error(err)
	}
	if _, err := s.Filter("b", "b", "", config.AgentFilter{}); err == nil {
		t.Error("a filter on an agent that is not configured")
	}
	s.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("a socket appeared")
	}
}
