package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/client"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// TestMain turns the test binary into an agent when a test starts it again.
func TestMain(m *testing.M) {
	if os.Getenv("SENTINEL_TEST_AGENT") != "" {
		os.Args = os.Args[:1]
		os.Exit(agent.Main(allow{}))
	}
	goleak.VerifyTestMain(m)
}

// dial starts a client on the socket at path; it is closed when the test ends.
func dial(tb testing.TB, path string, o client.Options) *client.Client {
	tb.Helper()
	o.Name, o.Address, o.ProxyID = "test", path, "proxy"
	c := client.New(o)
	c.Start()
	tb.Cleanup(c.Close)
	return c
}

func ready(tb testing.TB, c *client.Client) *client.Client {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.WaitReady(ctx); err != nil {
		tb.Fatal(err)
	}
	return c
}

// ask makes one call about the head of request id.
func ask(c *client.Client, id string, timeout time.Duration) (protocol.Verdict, error) {
	s := c.Session(id)
	defer s.End()
	var r protocol.Response
	err := s.Call(view(id), time.Now().Add(timeout), nil, &r)
	return r.Verdict, err
}

// eventually waits until ok holds.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("never: " + what)
		}
	}
}

func allowing(id string) *protocol.Response {
	return &protocol.Response{CorrelationID: id, Verdict: protocol.Allow()}
}

// obedient answers every event with allow.
func obedient(c *protocoltest.Conn) {
	if _, ok := c.Accept(protocol.MsgPack); ok {
		answerAll(c)
	}
}

func answerAll(c *protocoltest.Conn) {
	for {
		t, id, ok := c.NextEvent()
		if !ok {
			return
		}
		if t != protocol.TypeCancel && t != protocol.TypePing && !c.TrySend(allowing(id)) {
			return
		}
	}
}

func TestAnswersInAnyOrder(t *testing.T) {
	t.Parallel()
	const n = 5
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		if _, ok := c.Accept(protocol.MsgPack); !ok {
			return
		}
		for {
			var ids []string
			for range n {
				_, id, ok := c.NextEvent()
				if !ok {
					return
				}
				ids = append(ids, id)
			}
			for i := range ids {
				id := ids[n-1-i]
				c.TrySend(&protocol.Response{CorrelationID: id, Verdict: protocol.Allow().WithTags("for " + id)})
			}
		}
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			id := fmt.Sprint("call-", i)
			v, err := ask(c, id, 5*time.Second)
			if err != nil || len(v.Audit.Tags) != 1 || v.Audit.Tags[0] != "for "+id {
				t.Errorf("%s: %v, %v", id, v.Audit.Tags, err)
			}
		})
	}
	wg.Wait()
}

func TestTimeoutAndLateAnswer(t *testing.T) {
	t.Parallel()
	canceled := make(chan string, 10)
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		if _, ok := c.Accept(protocol.JSON); !ok {
			return
		}
		_, first, _ := c.NextEvent()
		ft, id, ok := c.NextEvent()
		if !ok || ft != protocol.TypeCancel {
			t.Errorf("after the timeout: type %#x", byte(ft))
		}
		canceled <- id
		c.TrySend(allowing(first)) // too late
		answerAll(c)
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	s := c.Session("late")
	defer s.End()
	var r protocol.Response
	begin := time.Now()
	err := s.Call(view("late"), begin.Add(50*time.Millisecond), nil, &r)
	if took := time.Since(begin); !errors.Is(err, client.ErrTimeout) || took < 50*time.Millisecond || took > 2*time.Second {
		t.Fatalf("%v after %v, want a timeout after 50ms", err, took)
	}
	if id := <-canceled; id != "late" {
		t.Errorf("cancel for %q", id)
	}
	eventually(t, "late answer counted", func() bool { return c.Snapshot().Unmatched == 1 })
	if err := s.Call(view("late"), time.Now().Add(time.Second), nil, &r); !errors.Is(err, client.ErrLost) {
		t.Errorf("next call of a failed session: %v, want ErrLost", err)
	}
	if _, err := ask(c, "next", 5*time.Second); err != nil {
		t.Errorf("next session: %v", err)
	}
	if s := c.Snapshot(); s.Timeouts != 1 || s.Errors != 1 || s.Calls != 2 {
		t.Errorf("%+v", s)
	}
}

func TestClientGone(t *testing.T) {
	t.Parallel()
	got := make(chan struct{})
	var once sync.Once // the client connects again after the end
	canceled := make(chan string, 10)
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		if _, ok := c.Accept(protocol.MsgPack); !ok {
			return
		}
		c.NextEvent()
		once.Do(func() { close(got) })
		if ft, id, ok := c.NextEvent(); ok && ft == protocol.TypeCancel {
			canceled <- id
		}
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	ctx, leave := context.WithCancel(context.Background())
	go func() { <-got; leave() }()
	s := c.Session("g")
	defer s.End()
	var r protocol.Response
	if err := s.Call(view("g"), time.Now().Add(10*time.Second), caller{ctx}, &r); !errors.Is(err, client.ErrCanceled) {
		t.Fatal(err)
	}
	if id := <-canceled; id != "g" {
		t.Errorf("cancel for %q", id)
	}
}

type caller struct{ ctx context.Context }

func (c caller) Context() context.Context { return c.ctx }

// TestForeignAgent: JSON whatever is offered, few keys, and the correlation id only in audit.custom.
func TestForeignAgent(t *testing.T) {
	t.Parallel()
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		if _, payload, _ := c.TryNext(); !json.Valid(payload) {
			t.Errorf("handshake is no JSON: %s", payload)
		}
		c.SendFrame(protocol.TypeHandshakeResponse, []byte(`{"protocol_version":2,"success":true,"capabilities":{"agent_id":"a","name":"a","version":"9","supported_events":[1]}}`))
		_, payload, _ := c.TryNext()
		var event struct {
			ID       string `json:"correlation_id"`
			Metadata struct {
				ID   string `json:"correlation_id"`
				Port int    `json:"client_port"`
			}
			Headers map[string][]string
		}
		if err := json.Unmarshal(payload, &event); err != nil || event.ID != "f" || event.Metadata.ID != "f" || event.Metadata.Port != 40000 || event.Headers["host"][0] != "shop.example.org" {
			t.Errorf("%v: %s", err, payload)
		}
		c.SendFrame(protocol.TypeResponse, []byte(`{"version":2,"decision":{"block":{"status":451,"body":null,"headers":null}},"audit":{"custom":{"correlation_id":"f"}}}`))
		c.Discard()
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	v, err := ask(c, "f", 5*time.Second)
	if err != nil || v.Action != protocol.ActionBlock || v.Status != 451 {
		t.Errorf("%+v, %v", v, err)
	}
	if s := c.Snapshot(); s.Version != "9" || s.Encoding != protocol.JSON || s.Blocks != 1 {
		t.Errorf("%+v", s)
	}
}

// TestBrokenAgents: an agent that breaks a rule costs its call and its connection, and the next connection serves.
func TestBrokenAgents(t *testing.T) {
	t.Parallel()
	for name, attack := range map[string]func(c *protocoltest.Conn, id string){
		"garbage":     func(c *protocoltest.Conn, _ string) { c.SendBytes([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"length zero": func(c *protocoltest.Conn, _ string) { c.SendBytes(make([]byte, 8)) },
		"no decision": func(c *protocoltest.Conn, id string) {
			c.SendFrame(protocol.TypeResponse, []byte(`{"correlation_id":"`+id+`"}`))
		},
		"bomb": func(c *protocoltest.Conn, _ string) {
			c.SendFrame(protocol.TypeResponse, []byte{0xdf, 255, 255, 255, 255})
		},
		"event":          func(c *protocoltest.Conn, _ string) { c.SendFrame(protocol.TypeRequestHeaders, []byte(`{}`)) },
		"bad flow":       func(c *protocoltest.Conn, _ string) { c.SendFrame(protocol.TypeFlowControl, []byte(`{"action":9}`)) },
		"unknown type":   func(c *protocoltest.Conn, _ string) { c.SendFrame(0x7f, nil) },
		"hangs up":       func(c *protocoltest.Conn, _ string) {},
		"half an answer": func(c *protocoltest.Conn, _ string) { c.SendBytes([]byte{0, 0, 1, 0, 0x20, '{'}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int32
			path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
				if n.Add(1) > 3 { // the call is sent again twice
					obedient(c)
					return
				}
				c.Accept(protocol.JSON)
				if _, id, ok := c.NextEvent(); ok {
					attack(c, id)
				}
			})
			c := ready(t, dial(t, path, client.Options{Connections: 1}))
			if v, err := ask(c, "x", 5*time.Second); err == nil && name != "hangs up" {
				t.Errorf("verdict %+v from an agent that broke the rules", v)
			}
			eventually(t, "served by a later connection", func() bool { _, err := ask(c, "innocent", time.Second); return err == nil })
		})
	}
}

func TestBadHandshakes(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"version":  `{"protocol_version":1,"success":true,"capabilities":{}}`,
		"encoding": `{"protocol_version":2,"success":true,"capabilities":{},"encoding":"cbor"}`,
		"list":     `[2]`,
		"refused":  `{"protocol_version":2,"success":false,"error":"lists: unknown key","capabilities":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
				c.TryNext()
				c.SendFrame(protocol.TypeHandshakeResponse, []byte(answer))
				c.Discard()
			})
			c := dial(t, path, client.Options{})
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			err := c.WaitReady(ctx)
			var refused *client.RefusedError
			if err == nil || errors.As(err, &refused) != (name == "refused") {
				t.Errorf("%v", err)
			}
			if refused != nil && !strings.Contains(refused.Error(), "lists: unknown key") {
				t.Errorf("reason is missing: %v", refused)
			}
		})
	}
}

// TestSilentHandshake: an agent that accepts and says nothing holds nobody longer than the handshake's deadline.
func TestSilentHandshake(t *testing.T) {
	t.Parallel()
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) { c.Discard() })
	c := dial(t, path, client.Options{Connections: 1})
	begin := time.Now()
	if err := c.WaitReady(context.Background()); err == nil || time.Since(begin) > 2*protocol.HandshakeTimeout {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// TestAgentDies: a call about headers that was under way is sent again; a session in the middle of a body is lost.
func TestAgentDies(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.MsgPack)
		if n.Add(1) == 1 {
			c.NextEvent() // and dies
			return
		}
		for events := 0; ; events++ {
			ft, id, ok := c.NextEvent()
			if !ok || ft == protocol.TypeRequestBodyChunk {
				return
			}
			c.TrySend(allowing(id))
		}
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	s := c.Session("d")
	defer s.End()
	var r protocol.Response
	if err := s.Call(view("d"), time.Now().Add(5*time.Second), nil, &r); err != nil {
		t.Fatalf("call on a dying connection: %v", err)
	}
	if got := c.Snapshot().Resent; got != 1 {
		t.Errorf("resent %d times", got)
	}
	err := s.Call(&wire.RequestBody{CorrelationID: "d", Data: []byte("x")}, time.Now().Add(5*time.Second), nil, &r)
	if !errors.Is(err, client.ErrLost) {
		t.Errorf("chunk on a dying connection: %v, want ErrLost", err)
	}
}

// TestAgentComesLater: calls wait for an agent that is not there yet, no longer than their deadline.
func TestAgentComesLater(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "later.sock")
	c := dial(t, path, client.Options{})
	if _, err := ask(c, "early", 30*time.Millisecond); !errors.Is(err, client.ErrUnavailable) {
		t.Fatalf("no agent: %v", err)
	}
	result := make(chan error, 1)
	go func() { _, err := ask(c, "waits", 10*time.Second); result <- err }()
	real := protocoltest.Fake(t, obedient)
	if err := os.Symlink(real, path); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("call that waited for the agent: %v", err)
	}
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	var healthy atomic.Bool
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.MsgPack)
		for {
			ft, id, ok := c.NextEvent()
			if !ok {
				return
			}
			if ft == protocol.TypeRequestHeaders {
				r := allowing(id)
				if !healthy.Load() {
					r = &protocol.Response{CorrelationID: id, Error: "broken"}
				}
				c.TrySend(r)
			}
		}
	})
	c := ready(t, dial(t, path, client.Options{Limits: client.Limits{Breaker: client.Breaker{Failures: 3, Successes: 2, OpenFor: 50 * time.Millisecond, HalfOpen: 1}}}))
	var said *client.AgentError
	for i := range 3 {
		if _, err := ask(c, fmt.Sprint("f", i), 5*time.Second); !errors.As(err, &said) || said.Text != "broken" {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	if _, err := ask(c, "rejected", 5*time.Second); !errors.Is(err, client.ErrCircuitOpen) {
		t.Fatalf("after three failures: %v", err)
	}
	if s := c.Snapshot(); s.Circuit != "open" || s.Opens != 1 || s.Rejected != 1 || s.Calls != 3 {
		t.Errorf("%+v", s)
	}
	eventually(t, "a probe", func() bool { _, err := ask(c, "probe", 5*time.Second); return errors.As(err, &said) })
	if s := c.Snapshot(); s.Circuit != "open" || s.Opens != 2 {
		t.Errorf("after a failed probe: %+v", s)
	}
	healthy.Store(true)
	eventually(t, "a good probe", func() bool { _, err := ask(c, "probe", 5*time.Second); return err == nil })
	if s := c.Snapshot(); s.Circuit != "half-open" {
		t.Errorf("after one good probe of two: %s", s.Circuit)
	}
	if _, err := ask(c, "second", 5*time.Second); err != nil || c.Snapshot().Circuit != "closed" {
		t.Errorf("after two good probes: %v, %s", err, c.Snapshot().Circuit)
	}
}

func TestBulkhead(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.MsgPack)
		_, id, _ := c.NextEvent()
		<-release
		c.TrySend(allowing(id))
		answerAll(c)
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1, Limits: client.Limits{MaxConcurrent: 1, Queue: 1, QueueTimeout: 10 * time.Second}}))
	results := make(chan error, 2)
	go func() { _, err := ask(c, "runs", 10*time.Second); results <- err }()
	eventually(t, "one running", func() bool { return c.Snapshot().InFlight == 1 })
	go func() { _, err := ask(c, "waits", 10*time.Second); results <- err }()
	eventually(t, "one waiting", func() bool { return c.Snapshot().Queued == 1 })
	if _, err := ask(c, "refused", 10*time.Second); !errors.Is(err, client.ErrOverload) {
		t.Errorf("third call: %v", err)
	}
	c.SetLimits(client.Limits{MaxConcurrent: 1, Queue: 10, QueueTimeout: 20 * time.Millisecond})
	if _, err := ask(c, "waits in vain", 10*time.Second); !errors.Is(err, client.ErrOverload) {
		t.Errorf("fourth call: %v", err)
	}
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if s := c.Snapshot(); s.InFlight != 0 || s.Queued != 0 || s.Overload != 2 || s.Circuit != "closed" {
		t.Errorf("%+v", s)
	}
}

// TestAdvertisedLimit: an agent that can do less gets less.
func TestAdvertisedLimit(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	path, _ := protocoltest.Serve(t, &slow{limit: 3, f: func() {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(time.Millisecond)
		now.Add(-1)
	}})
	c := ready(t, dial(t, path, client.Options{Limits: client.Limits{Queue: 100, QueueTimeout: 10 * time.Second}}))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, err := ask(c, fmt.Sprint(i), 10*time.Second); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 {
		t.Errorf("%d handlers at once, advertised 3", most.Load())
	}
}

type slow struct {
	limit int
	f     func()
}

func (s *slow) Name() string            { return "slow" }
func (s *slow) Limits() protocol.Limits { return protocol.Limits{MaxConcurrency: s.limit} }
func (s *slow) Request(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
	s.f()
	return protocol.Allow(), nil
}

// TestDrain: an agent that drains finishes what it has, and new work goes to a new connection.
func TestDrain(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	drained := make(chan struct{})
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.MsgPack)
		if conns.Add(1) > 1 {
			answerAll(c)
			return
		}
		_, id, _ := c.NextEvent()
		c.TrySend(&protocol.HealthStatus{AgentID: "fake", State: protocol.Draining})
		for conns.Load() < 2 {
			time.Sleep(time.Millisecond) // the successor comes before the last answer is given
		}
		c.TrySend(allowing(id))
		if ft, id, ok := c.NextEvent(); ok {
			t.Errorf("event %#x for %q on a draining connection", byte(ft), id)
		}
		close(drained)
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	if _, err := ask(c, "before", 5*time.Second); err != nil {
		t.Error(err)
	}
	if _, err := ask(c, "after", 5*time.Second); err != nil {
		t.Error(err)
	}
	<-drained
}

func TestHealth(t *testing.T) {
	t.Parallel()
	states := make(chan protocol.Health)
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.MsgPack)
		go answerAll(c)
		for s := range states {
			c.TrySend(&protocol.HealthStatus{AgentID: "fake", State: s, Message: "because"})
		}
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	for _, s := range []protocol.Health{protocol.Degraded, protocol.Healthy, protocol.Unhealthy, protocol.Healthy} {
		states <- s
		eventually(t, s.String(), func() bool { return c.Snapshot().Health == s })
		var want error
		if s != protocol.Healthy {
			want = client.ErrUnavailable
		}
		eventually(t, "calls follow "+s.String(), func() bool { _, err := ask(c, "h", 5*time.Second); return errors.Is(err, want) })
	}
	close(states)
}

func TestPause(t *testing.T) {
	t.Parallel()
	commands := make(chan protocol.FlowAction)
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.MsgPack)
		go answerAll(c)
		for a := range commands {
			c.TrySend(&protocol.FlowControl{Action: a})
		}
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	commands <- protocol.FlowPause
	eventually(t, "no call passes", func() bool { _, err := ask(c, "p", 20*time.Millisecond); return errors.Is(err, client.ErrUnavailable) })
	result := make(chan error, 1)
	go func() { _, err := ask(c, "waits", 10*time.Second); result <- err }()
	commands <- protocol.FlowResume
	if err := <-result; err != nil {
		t.Errorf("call that waited for resume: %v", err)
	}
	close(commands)
}

func TestMetricsReport(t *testing.T) {
	t.Parallel()
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.MsgPack)
		c.TrySend(&protocol.MetricsReport{AgentID: "fake", Counters: []protocol.Sample{{Name: "hits_total", Value: 3, Labels: []protocol.Header{{Name: "list", Value: "ip"}}}}})
		c.Discard()
	})
	c := ready(t, dial(t, path, client.Options{}))
	eventually(t, "a report", func() bool { return c.Report() != nil })
	if r := c.Report(); len(r.Counters) != 1 || r.Counters[0].Value != 3 || r.Counters[0].Labels[0].Value != "ip" {
		t.Errorf("%+v", r)
	}
}

// TestFlood: answers nobody asked for are counted and harm nobody.
func TestFlood(t *testing.T) {
	t.Parallel()
	const n = 5000
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.MsgPack)
		for i := range n {
			c.TrySend(allowing(fmt.Sprint("flood-", i)))
		}
		answerAll(c)
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	if _, err := ask(c, "innocent", 10*time.Second); err != nil {
		t.Error(err)
	}
	if got := c.Snapshot().Unmatched; got != n {
		t.Errorf("%d unmatched, want %d", got, n)
	}
}

// TestDeafAgent: an agent that reads nothing costs its own calls, never more memory than the backlog.
func TestDeafAgent(t *testing.T) {
	t.Parallel()
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.MsgPack)
		var b [1]byte
		for { // notice only the end
			if _, err := c.Read(b[:0]); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1, Limits: client.Limits{Breaker: client.Breaker{Failures: 1000}}}))
	overload := 0
	data := make([]byte, 1<<20)
	for i := range 12 {
		s := c.Session(fmt.Sprint(i))
		var r protocol.Response
		err := s.Call(&wire.RequestBody{CorrelationID: s.ID(), Data: data, Last: true, TotalSize: -1}, time.Now().Add(20*time.Millisecond), nil, &r)
		switch {
		case errors.Is(err, client.ErrOverload):
			overload++
		case !errors.Is(err, client.ErrTimeout):
			t.Errorf("call %d: %v", i, err)
		}
		s.End()
	}
	if overload == 0 {
		t.Error("the backlog has no bound")
	}
}

func TestRequestComplete(t *testing.T) {
	t.Parallel()
	told := make(chan string, 1)
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		c.Accept(protocol.MsgPack)
		for {
			ft, id, ok := c.NextEvent()
			if !ok {
				return
			}
			c.TrySend(allowing(id))
			if ft == protocol.TypeRequestComplete {
				told <- id
			}
		}
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	s := c.Session("done")
	var r protocol.Response
	if err := s.Call(view("done"), time.Now().Add(5*time.Second), nil, &r); err != nil {
		t.Fatal(err)
	}
	s.Tell(&protocol.RequestComplete{CorrelationID: "done", Status: 200})
	s.End()
	if id := <-told; id != "done" {
		t.Errorf("told %q", id)
	}
	if _, err := ask(c, "next", 5*time.Second); err != nil { // behind the answer to the news
		t.Error(err)
	}
	if n := c.Snapshot().Unmatched; n != 0 {
		t.Errorf("%d unmatched: the answer to RequestComplete is expected", n)
	}
}

// configured is an agent that refuses any configuration containing "bad".
type configured struct {
	allow
	mu   sync.Mutex
	seen []string
}

func (a *configured) Configure(_ context.Context, c json.RawMessage) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if strings.Contains(string(c), "bad") {
		return errors.New("lists[0]: bad entry")
	}
	a.seen = append(a.seen, string(c))
	return nil
}

func (a *configured) last() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.seen) == 0 {
		return ""
	}
	return a.seen[len(a.seen)-1]
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	a := &configured{}
	path, _ := protocoltest.Serve(t, a)
	c := ready(t, dial(t, path, client.Options{Config: []byte(`{"v": 1}`)}))
	if got := a.last(); got != `{"v":1}` {
		t.Errorf("handshake delivered %q", got)
	}
	ctx := context.Background()
	if err := c.Configure(ctx, []byte(`{"v":2}`)); err != nil || a.last() != `{"v":2}` {
		t.Errorf("%v, agent has %q", err, a.last())
	}
	var refused *client.RefusedError
	if err := c.Configure(ctx, []byte(`{"v":"bad"}`)); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "lists[0]") {
		t.Errorf("bad configuration: %v", err)
	}
	if a.last() != `{"v":2}` || string(c.Config()) != `{"v":2}` {
		t.Errorf("after the refusal: agent has %q, client %q", a.last(), c.Config())
	}
	if err := c.Configure(ctx, []byte(`{"v":`)); err == nil {
		t.Error("a configuration that is no JSON was sent")
	}
	if _, err := ask(c, "works", 5*time.Second); err != nil {
		t.Error(err)
	}
}

// TestConfigureRollsBack: when one of several connections refuses, those that had accepted get the old configuration again.
func TestConfigureRollsBack(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	var mu sync.Mutex
	got := map[int32][]string{}
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		me := conns.Add(1)
		c.Accept(protocol.JSON)
		for {
			_, payload, ok := c.TryNext()
			var m protocol.Configure
			if !ok || wire.Decode(protocol.JSON, payload, &m) != nil {
				return
			}
			mu.Lock()
			got[me] = append(got[me], string(m.Config))
			sum := len(got[1]) + len(got[2])
			mu.Unlock()
			v := protocol.Allow()
			if sum == 2 { // the second connection to be asked
				v = protocol.Block(500, nil, []byte("no"))
			}
			c.TrySend(&protocol.Response{CorrelationID: m.CorrelationID, Verdict: v})
			if sum == 3 {
				return
			}
		}
	})
	c := ready(t, dial(t, path, client.Options{Config: []byte(`{"old":1}`), Connections: 2}))
	eventually(t, "two connections", func() bool { return c.Snapshot().Connections == 2 })
	var refused *client.RefusedError
	if err := c.Configure(context.Background(), []byte(`{"new":1}`)); !errors.As(err, &refused) {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	a, b := got[1], got[2]
	if len(a) < len(b) {
		a, b = b, a
	}
	if len(a) != 2 || a[0] != `{"new":1}` || a[1] != `{"old":1}` || len(b) != 1 {
		t.Errorf("one connection got %q, the other %q", a, b)
	}
}

// TestVectors sends every response vector as an answer: what must be accepted is, and nothing that must not becomes a verdict.
func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range protocoltest.Vectors(t, "../testdata/vectors") {
		if v.Type != protocol.TypeResponse {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
				if _, ok := c.Accept(v.Encoding); !ok {
					return
				}
				if _, _, ok := c.NextEvent(); ok {
					c.SendFrame(v.Type, v.Payload)
					c.Discard()
				}
			})
			c := ready(t, dial(t, path, client.Options{Connections: 1}))
			_, err := ask(c, "c1", 2*time.Second)
			var said *client.AgentError
			if ok := err == nil || errors.As(err, &said); ok != (v.Expect == "ok") {
				t.Errorf("expect %s: %v", v.Expect, err)
			}
		})
	}
}

// TestKilledAgent: somebody holds the socket, the process behind it is killed and replaced again and again, and no call fails.
func TestKilledAgent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "held.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	process := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SENTINEL_TEST_AGENT=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=agent")
		cmd.ExtraFiles = []*os.File{file}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	c := dial(t, path, client.Options{})
	var answered atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := ask(c, fmt.Sprintf("%d-%d", i, n), 20*time.Second); err != nil {
					t.Errorf("call %d-%d: %v", i, n, err)
				}
				answered.Add(1)
			}
		})
	}
	for range 5 {
		cmd := process()
		before := answered.Load()
		eventually(t, "calls are answered", func() bool { return answered.Load() > before+100 })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	last, before := process(), answered.Load()
	eventually(t, "the last one answers", func() bool { return answered.Load() > before })
	close(stop)
	wg.Wait()
	_ = last.Process.Signal(syscall.SIGTERM)
	if err := last.Wait(); err != nil {
		t.Errorf("drained agent: %v", err)
	}
}

var _ agent.Agent = (*slow)(nil)

// TestForeignMsgpack: an agent whose msgpack writes structs as arrays fails closed, and is spoken to in JSON from then on.
func TestForeignMsgpack(t *testing.T) {
	t.Parallel()
	path := protocoltest.Fake(t, func(c *protocoltest.Conn) {
		_, payload, _ := c.TryNext()
		var hello protocol.HandshakeRequest
		if wire.Decode(protocol.JSON, payload, &hello) != nil {
			return
		}
		c.TrySend(&protocol.HandshakeResponse{Version: 2, Success: true, Encoding: hello.SupportedEncodings[0]})
		for {
			_, payload, ok := c.TryNext()
			if !ok {
				return
			}
			if hello.SupportedEncodings[0] == protocol.MsgPack {
				c.SendFrame(protocol.TypeResponse, []byte{0x92, 0x02, 0xa5, 'a', 'l', 'l', 'o', 'w'})
				continue
			}
			c.TrySend(allowing(string(wire.EventID(protocol.JSON, payload))))
		}
	})
	c := ready(t, dial(t, path, client.Options{Connections: 1}))
	if _, err := ask(c, "array", 5*time.Second); !errors.Is(err, client.ErrProtocol) {
		t.Errorf("array: %v", err)
	}
	if _, err := ask(c, "map", 5*time.Second); err != nil || c.Snapshot().Encoding != protocol.JSON {
		t.Errorf("%v, encoding %s", err, c.Snapshot().Encoding)
	}
}

// TestReturnClosesCircuit: an agent that comes back is tried at once, however long its circuit would stay open.
func TestReturnClosesCircuit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "later.sock")
	c := dial(t, path, client.Options{Limits: client.Limits{Breaker: client.Breaker{Failures: 2, Successes: 1, OpenFor: time.Hour}}})
	eventually(t, "the circuit opens", func() bool {
		_, err := ask(c, "early", 10*time.Millisecond)
		return errors.Is(err, client.ErrCircuitOpen)
	})
	if err := os.Symlink(protocoltest.Fake(t, obedient), path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "calls pass", func() bool { _, err := ask(c, "back", 5*time.Second); return err == nil })
	if s := c.Snapshot(); s.Circuit != "closed" {
		t.Errorf("%+v", s)
	}
}
