package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/server"
)

// step is a filter made of functions.
type step struct {
	phases       filter.Phase
	request      func(*filter.Exchange) filter.Decision
	response     func(*filter.Exchange) filter.Decision
	requestBody  func(*filter.Exchange, []byte, bool) filter.Decision
	responseBody func(*filter.Exchange, []byte, bool) filter.Decision
	complete     func(*filter.Exchange, *filter.Outcome)
}

func (s *step) Name() string                                   { return "step" }
func (s *step) Phases() filter.Phase                           { return s.phases }
func (s *step) Request(x *filter.Exchange) filter.Decision     { return s.request(x) }
func (s *step) Response(x *filter.Exchange) filter.Decision    { return s.response(x) }
func (s *step) Complete(x *filter.Exchange, o *filter.Outcome) { s.complete(x, o) }
func (s *step) RequestBody(x *filter.Exchange, b []byte, last bool) filter.Decision {
	return s.requestBody(x, b, last)
}
func (s *step) ResponseBody(x *filter.Exchange, b []byte, last bool) filter.Decision {
	return s.responseBody(x, b, last)
}

func withStep(t *testing.T, s *step, h http.HandlerFunc, o proxytest.Options) *proxytest.Instance {
	t.Helper()
	cfg := proxytest.ToBackends(proxytest.Backend(t, h))
	cfg.Routes[0].Filters = []string{"step"}
	o.Filters = []filter.Filter{s}
	return proxytest.Proxy(t, cfg, o)
}

func TestRequestDecisions(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	audit, access := &proxytest.Log{}, &proxytest.Log{}
	p := withStep(t, &step{phases: filter.OnRequest, request: func(x *filter.Exchange) filter.Decision {
		switch string(x.Path()) {
		case "/block":
			x.AddVerdict(filter.Verdict{Agent: "guard", Event: "request_headers", Action: "block", Status: 403, Reason: "listed", Tags: []string{"bad-ip"}, Rules: []string{"r1"}})
			return filter.Respond(403, []byte("no entry"), filter.Field{Name: "X-Why", Value: "list"}, filter.Field{Name: "Connection", Value: "evil"})
		case "/plain":
			return filter.Respond(429, nil).Because("too fast")
		case "/redirect":
			return filter.Redirect(302, "https://elsewhere/")
		case "/challenge":
			return filter.Challenge(401, nil, filter.Field{Name: "WWW-Authenticate", Value: "Basic"})
		case "/close":
			return filter.Close("go away")
		case "/forgot":
			return filter.Decision{}
		case "/panic":
			panic("filter bug")
		}
		x.RequestHeader().Set("X-Added", string(x.Method())+" by "+x.Client().Addr().String())
		return filter.Continue()
	}}, func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		io.WriteString(w, r.Header.Get("X-Added"))
	}, proxytest.Options{AuditLog: audit, AccessLog: access})
	c := p.Dial(t)
	check := func(path string, status int, want string) *http.Response {
		t.Helper()
		r, body := c.Get(path)
		if r.StatusCode != status || !strings.Contains(body, want) {
			t.Fatalf("%s: %v %q", path, r, body)
		}
		return r
	}
	check("/pass", 200, "GET by 127.0.0.1")
	if r := check("/block", 403, "no entry"); r.Header.Get("X-Why") != "list" || r.Header.Get("Connection") != "" {
		t.Error(r.Header)
	}
	check("/plain", 429, `"error":"429 Too Many Requests"`)
	if r := check("/redirect", 302, ""); r.Header.Get("Location") != "https://elsewhere/" {
		t.Error(r.Header)
	}
	if r := check("/challenge", 401, ""); r.Header.Get("WWW-Authenticate") != "Basic" {
		t.Error(r.Header)
	}
	check("/forgot", 500, "")
	if r := check("/panic", 500, ""); !r.Close {
		t.Error("the connection goes on after a panic")
	}
	c.WantClosed()
	c = p.Dial(t)
	c.Send(proxytest.Head("GET /close HTTP/1.1", "Host: t"))
	c.WantClosed()
	if reached.Load() != 1 {
		t.Errorf("%d requests reached the backend", reached.Load())
	}
	proxytest.Eventually(t, "audit entries", func() bool {
		a := audit.String()
		return strings.Contains(a, `"guard"`) && strings.Contains(a, `"bad-ip"`) && strings.Contains(a, `"listed"`) && strings.Contains(a, "too fast") && strings.Contains(a, "go away")
	})
	proxytest.Eventually(t, "access log", func() bool { return strings.Count(access.String(), "\n") == 8 })
	if !strings.Contains(p.Logs.String(), "filter bug") {
		t.Error("the panic is not logged")
	}
}

// Every piece of a body is seen before it is forwarded, and nothing after a block is.
func TestRequestBodyFilter(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 10 << 10, 300 << 10} {
		for _, framing := range []string{"length", "chunked"} {
			t.Run(fmt.Sprint(framing, size), func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex // guards seen and lasts
				var seen bytes.Buffer
				lasts := 0
				var arrived atomic.Int64
				p := withStep(t, &step{phases: filter.OnRequestBody, requestBody: func(x *filter.Exchange, b []byte, last bool) filter.Decision {
					mu.Lock()
					defer mu.Unlock()
					seen.Write(b)
					if last {
						lasts++
					}
					if bytes.Contains(seen.Bytes(), []byte("VIRUS")) {
						return filter.Respond(403, []byte("infected"))
					}
					return filter.Continue()
				}}, func(w http.ResponseWriter, r *http.Request) {
					n, _ := io.Copy(io.Discard, r.Body)
					arrived.Store(n)
				}, proxytest.Options{})
				send := func(c *proxytest.Client, body string) {
					if framing == "length" {
						c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", fmt.Sprint("Content-Length: ", len(body))), body)
						return
					}
					c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked"))
					for len(body) > 0 {
						n := min(len(body), 20000)
						c.Send(fmt.Sprintf("%x\r\n%s\r\n", n, body[:n]))
						body = body[n:]
					}
					c.Send("0\r\n\r\n")
				}
				clean := strings.Repeat("c", size)
				c := p.Dial(t)
				send(c, clean)
				r, _ := c.Answer("POST")
				mu.Lock()
				if r.StatusCode != 200 || arrived.Load() != int64(size) || seen.String() != clean || lasts != 1 {
					t.Error(r, arrived.Load(), seen.Len(), lasts)
				}
				seen.Reset()
				mu.Unlock()
				c = p.Dial(t)
				send(c, clean[:size/2]+"VIRUS"+clean[:3])
				if r, body := c.Answer("POST"); r.StatusCode != 403 || body != "infected" {
					t.Fatal(r, body)
				}
			})
		}
	}
}

func TestResponseFilters(t *testing.T) {
	t.Parallel()
	p := withStep(t, &step{
		phases: filter.OnResponse | filter.OnResponseBody,
		response: func(x *filter.Exchange) filter.Decision {
			if x.ResponseHeader().Has("X-Secret") {
				return filter.Respond(502, []byte("hidden"))
			}
			x.ResponseHeader().Set("X-Status", fmt.Sprint(x.Status()))
			return filter.Continue()
		},
		responseBody: func(x *filter.Exchange, b []byte, last bool) filter.Decision {
			if bytes.Contains(b, []byte("VIRUS")) {
				return filter.Respond(403, []byte("infected"))
			}
			return filter.Continue()
		},
	}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/secret":
			w.Header().Set("X-Secret", "1")
		case "/first":
			io.WriteString(w, "VIRUS")
		case "/later":
			w.Header().Set("Content-Length", "1000005")
			io.WriteString(w, strings.Repeat("x", 1000000))
			w.(http.Flusher).Flush()
			time.Sleep(50 * time.Millisecond)
			io.WriteString(w, "VIRUS")
		default:
			io.WriteString(w, strings.Repeat("x", 200000))
		}
	}, proxytest.Options{})
	c := p.Dial(t)
	if r, body := c.Get("/"); r.StatusCode != 200 || len(body) != 200000 || r.Header.Get("X-Status") != "200" {
		t.Fatal(r, len(body))
	}
	if r, body := c.Get("/secret"); r.StatusCode != 502 || body != "hidden" {
		t.Fatal(r, body)
	}
	if r, body := c.Get("/first"); r.StatusCode != 403 || body != "infected" {
		t.Fatal(r, body)
	}
	c.Send(proxytest.Head("GET /later HTTP/1.1", "Host: t"))
	r, err := http.ReadResponse(c.R, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(r.Body); err == nil || strings.Contains(string(body), "VIRUS") {
		t.Fatal("the infected piece was forwarded, or the answer looks complete")
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	got := make(chan filter.Outcome, 10)
	s := &step{phases: filter.OnComplete | filter.OnRequest}
	s.request = func(x *filter.Exchange) filter.Decision { x.SetState(s, "kept"); return filter.Continue() }
	s.complete = func(x *filter.Exchange, o *filter.Outcome) {
		if x.State(s) != "kept" {
			t.Error("state lost")
		}
		got <- *o
	}
	p := withStep(t, s, echo, proxytest.Options{})
	c := p.Dial(t)
	c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 3") + "abc")
	c.Answer("POST")
	if o := <-got; o.Status != 200 || o.RequestBytes != 3 || o.SentBytes != 8 || o.Attempts != 1 || o.Duration <= 0 || o.Aborted {
		t.Errorf("%+v", o)
	}
}

// A filter that waits for the exchange's sake is told when the client goes away.
func TestContextOfExchange(t *testing.T) {
	t.Parallel()
	waiting, ended := make(chan struct{}), make(chan struct{})
	p := withStep(t, &step{phases: filter.OnRequest, request: func(x *filter.Exchange) filter.Decision {
		ctx := x.Context()
		close(waiting)
		<-ctx.Done()
		close(ended)
		return filter.Continue()
	}}, echo, proxytest.Options{})
	c := p.Dial(t)
	c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
	<-waiting
	c.SetLinger(0)
	c.Close()
	select {
	case <-ended:
	case <-time.After(proxytest.Patience):
		t.Fatal("the context goes on")
	}
}

func TestBuiltinHandler(t *testing.T) {
	t.Parallel()
	cfg := config.Config{Routes: []config.Route{{ID: "r", BuiltinHandler: "hello", Filters: []string{"h"}, Policies: config.Policies{
		ResponseHeaders: config.HeaderRules{Set: []config.NameValue{{Name: "X-Policy", Value: "1"}}},
	}}}, Filters: []config.Filter{{ID: "h", Type: "headers", Phase: "response", Headers: &config.HeadersFilter{Rules: config.HeaderRules{Set: []config.NameValue{{Name: "X-Filter", Value: "1"}}}}}}}
	p := proxytest.Proxy(t, cfg, proxytest.Options{Handlers: map[string]server.Handler{"hello": func(x *filter.Exchange) filter.Decision {
		return filter.Respond(200, []byte("hello "+string(x.Path())), filter.Field{Name: "Content-Type", Value: "text/plain"})
	}}})
	c := p.Dial(t)
	for _, ask := range []string{
		proxytest.Head("GET /x HTTP/1.1", "Host: t"),
		proxytest.Head("POST /x HTTP/1.1", "Host: t", "Content-Length: 4") + "body",
		proxytest.Head("POST /x HTTP/1.1", "Host: t", "Content-Length: 40000") + strings.Repeat("b", 40000),
	} {
		c.Send(ask)
		r, body := c.Answer("GET")
		if r.StatusCode != 200 || body != "hello /x" || r.Header.Get("X-Policy") != "1" || r.Header.Get("X-Filter") != "1" || r.Header.Get("Content-Type") != "text/plain" {
			t.Fatal(r, body)
		}
	}
	c.Send(proxytest.Head("HEAD /x HTTP/1.1", "Host: t"))
	if r, _ := c.Answer("HEAD"); r.ContentLength != 8 {
		t.Fatal(r)
	}
	if r, _ := c.Get("/y"); r.StatusCode != 200 {
		t.Fatal(r)
	}
}
