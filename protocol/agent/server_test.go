package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fn is an agent made of one function.
type fn func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error)

func (fn) Name() string { return "fn" }

func (f fn) Request(ctx context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
	return f(ctx, r)
}

func connect(t *testing.T, path string) *protocoltest.Conn {
	t.Helper()
	c := protocoltest.Dial(t, path)
	if r := c.Handshake(protocoltest.Hello(protocol.MsgPack)); !r.Success {
		t.Fatal(r.Error)
	}
	return c
}

// TestUndecided: whatever a handler does instead of deciding, the proxy hears an error and never an allow.
func TestUndecided(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]struct {
		verdict protocol.Verdict
		err     error
		panics  bool
	}{
		"zero":                 {},
		"error":                {verdict: protocol.Allow(), err: errors.New("database is down")},
		"panic":                {panics: true},
		"status 99":            {verdict: protocol.Block(99, nil, nil)},
		"status 600":           {verdict: protocol.Block(600, nil, nil)},
		"redirect nowhere":     {verdict: protocol.Redirect("", 302)},
		"redirect with 200":    {verdict: protocol.Redirect("/", 200)},
		"challenge of nothing": {verdict: protocol.Challenge("")},
		"unknown action":       {verdict: protocol.Verdict{Action: 77}},
		"too many operations":  {verdict: protocol.Allow().WithRequestHeaders(make([]protocol.HeaderOp, protocol.MaxHeaderOps+1)...)},
		"too long":             {verdict: protocol.Block(403, nil, make([]byte, protocol.MaxFrame))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, _ := protocoltest.Serve(t, fn(func(_ context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
				if r.URI == "/innocent" {
					return protocol.Allow(), nil
				}
				if part.panics {
					panic("boom")
				}
				return part.verdict, part.err
			}))
			c := connect(t, path)
			r := c.Ask(protocoltest.Request("x"))
			if r.Error == "" || r.Verdict.Action != protocol.ActionBlock || r.Verdict.Status != 500 {
				t.Errorf("%+v, want an error, and for old proxies a block", r)
			}
			if part.err != nil && r.Error != part.err.Error() {
				t.Errorf("error %q", r.Error)
			}
			m := protocoltest.Request("y")
			m.URI = "/innocent"
			if r := c.Ask(m); r.Error != "" || r.Verdict.Action != protocol.ActionAllow {
				t.Errorf("innocent request: %+v", r)
			}
		})
	}
}

// TestCancel: a handler's context ends when the proxy cancels, also while the handler runs where events are read.
func TestCancel(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	path, _ := protocoltest.Serve(t, fn(func(ctx context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
		if r.Metadata.CorrelationID != "slow" {
			return protocol.Allow(), nil
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return protocol.Verdict{}, ctx.Err()
	}))
	c := connect(t, path)
	c.Send(protocoltest.Request("slow"))
	c.Send(&protocol.Cancel{CorrelationID: "slow", Reason: protocol.CancelTimeout})
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if r := c.Response(); r.CorrelationID != "slow" || r.Error == "" {
		t.Errorf("%+v", r)
	}
}

// TestConnectionEnds: handlers are cancelled when their connection ends.
func TestConnectionEnds(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	path, _ := protocoltest.Serve(t, fn(func(ctx context.Context, _ *protocol.RequestHeaders) (protocol.Verdict, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return protocol.Verdict{}, ctx.Err()
	}))
	c := connect(t, path)
	c.Send(protocoltest.Request("x"))
	<-began
	c.Close()
	<-ended
}

// TestSlowHandlerHoldsNobody: events behind a handler that takes its time are handled meanwhile, on the same connection.
func TestSlowHandlerHoldsNobody(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	path, _ := protocoltest.Serve(t, fn(func(_ context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
		if strings.HasPrefix(r.Metadata.CorrelationID, "slow") {
			<-release
		}
		return protocol.Allow(), nil
	}))
	c := connect(t, path)
	for i := range 3 { // the first is slow where events are read, the others in goroutines
		c.Send(protocoltest.Request(fmt.Sprint("slow-", i)))
		for j := range 3 {
			id := fmt.Sprintf("quick-%d-%d", i, j)
			if r := c.Ask(protocoltest.Request(id)); r.CorrelationID != id {
				t.Fatalf("answer for %q, want %q", r.CorrelationID, id)
			}
		}
	}
	close(release)
	for range 3 {
		if r := c.Response(); !strings.HasPrefix(r.CorrelationID, "slow-") || r.Error != "" {
			t.Errorf("%+v", r)
		}
	}
}

// TestManyTakeovers: slow handlers in turn on one connection, with everything answered once.
func TestManyTakeovers(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	path, _ := protocoltest.Serve(t, fn(func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
		if n.Add(1)%100 == 0 { // some while the agent is trusted, some while it is not
			time.Sleep(30 * time.Millisecond)
		}
		return protocol.Allow(), nil
	}))
	var wg sync.WaitGroup
	for k := range 2 {
		c := connect(t, path)
		wg.Go(func() {
			for i := range 1000 {
				id := fmt.Sprintf("%d-%d", k, i)
				if !c.TrySend(protocoltest.Request(id)) {
					t.Error("connection lost")
					return
				}
				if _, got, ok := c.NextEvent(); !ok || got != id {
					t.Errorf("answer for %q, want %q", got, id)
					return
				}
			}
		})
	}
	wg.Wait()
}

// bodies checks that the chunks of one request are handled in order.
type bodies struct {
	fn
	mu   sync.Mutex
	next map[string]uint32
	errs []string
}

func (b *bodies) RequestBody(_ context.Context, c *protocol.BodyChunk) (protocol.Verdict, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Index != b.next[c.CorrelationID] {
		b.errs = append(b.errs, fmt.Sprintf("%s: chunk %d, want %d", c.CorrelationID, c.Index, b.next[c.CorrelationID]))
	}
	b.next[c.CorrelationID]++
	if c.Last {
		return protocol.Allow().WithTags("last"), nil
	}
	v := protocol.Allow()
	v.NeedsMore = true
	return v, nil
}

func TestOrderWithinARequest(t *testing.T) {
	t.Parallel()
	b := &bodies{next: map[string]uint32{}, fn: func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
		time.Sleep(time.Millisecond) // what comes behind must wait
		return protocol.Allow(), nil
	}}
	path, _ := protocoltest.Serve(t, b)
	c := connect(t, path)
	const requests, chunks = 10, 8
	for i := range requests {
		c.Send(protocoltest.Request(fmt.Sprint("r", i)))
	}
	for k := range chunks {
		for i := range requests {
			c.Send(&wire.RequestBody{CorrelationID: fmt.Sprint("r", i), Data: []byte("x"), Index: uint32(k), Last: k == chunks-1, TotalSize: -1})
		}
	}
	last := 0
	for range requests * (chunks + 1) {
		if r := c.Response(); len(r.Verdict.Audit.Tags) == 1 {
			last++
		} else if r.Error != "" {
			t.Errorf("%+v", r)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.errs) > 0 || last != requests {
		t.Errorf("%v, %d last chunks", b.errs, last)
	}
}

// TestLogger: records of a handler carry the ids of its request.
func TestLogger(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var buf bytes.Buffer
	log := slog.New(slog.NewJSONHandler(locked{&mu, &buf}, nil))
	s := agent.NewServer(fn(func(ctx context.Context, _ *protocol.RequestHeaders) (protocol.Verdict, error) {
		agent.Logger(ctx).Info("seen", "fact", 1)
		return protocol.Allow(), nil
	}), log)
	path := filepath.Join(t.TempDir(), "l.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	connect(t, path).Ask(protocoltest.Request("c7"))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for line := range strings.Lines(buf.String()) {
		var rec map[string]any
		if json.Unmarshal([]byte(line), &rec) == nil && rec["msg"] == "seen" {
			if rec["correlation_id"] != "c7" || rec["request_id"] != "r-c7" || rec["fact"] != 1.0 {
				t.Errorf("%v", rec)
			}
			return
		}
	}
	t.Errorf("no record: %s", buf.String())
}

type locked struct {
	mu  *sync.Mutex
	buf *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// TestShutdownWaitsAndGivesUp: a running handler is waited for, and cancelled when time is over.
func TestShutdownWaitsAndGivesUp(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]struct {
		timeout time.Duration
		finish  bool
	}{"waits": {10 * time.Second, true}, "gives up": {50 * time.Millisecond, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began, finish := make(chan struct{}), make(chan struct{})
			s := agent.NewServer(fn(func(ctx context.Context, _ *protocol.RequestHeaders) (protocol.Verdict, error) {
				close(began)
				select {
				case <-finish:
					return protocol.Allow(), nil
				case <-ctx.Done():
					return protocol.Verdict{}, ctx.Err()
				}
			}), slog.New(slog.DiscardHandler))
			path := filepath.Join(t.TempDir(), "s.sock")
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- s.Serve(ln) }()
			c := connect(t, path)
			c.Send(protocoltest.Request("x"))
			<-began
			ctx, cancel := context.WithTimeout(context.Background(), part.timeout)
			defer cancel()
			down := make(chan error, 1)
			go func() { down <- s.Shutdown(ctx) }()
			if part.finish {
				time.AfterFunc(400*time.Millisecond, func() { close(finish) }) // longer than a quiet server waits
				if r := c.Response(); r.Error != "" || r.Verdict.Action != protocol.ActionAllow {
					t.Errorf("%+v", r)
				}
			}
			if err := <-down; (err == nil) != part.finish {
				t.Errorf("shutdown: %v", err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
			if err := s.Serve(ln); err == nil {
				t.Error("a server that is shut down serves")
			}
		})
	}
}

// TestVectors sends every event vector: what must be accepted is answered, anything else costs the connection.
func TestVectors(t *testing.T) {
	t.Parallel()
	path, _ := protocoltest.Serve(t, fn(func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
		return protocol.Allow(), nil
	}))
	for _, v := range protocoltest.Vectors(t, "../testdata/vectors") {
		if v.Type < protocol.TypeRequestHeaders || v.Type > protocol.TypeConfigure {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			c := protocoltest.Dial(t, path)
			c.Handshake(protocoltest.Hello(v.Encoding))
			c.SendFrame(v.Type, v.Payload)
			if v.Expect != "ok" {
				c.MustClose()
				return
			}
			want := protocol.ActionAllow
			if v.Type == protocol.TypeConfigure || v.Type == protocol.TypeWebSocketFrame {
				want = protocol.ActionBlock // this agent takes no configuration, and does not judge messages
			}
			if r := c.Response(); r.CorrelationID != "c1" || r.Verdict.Action != want {
				t.Errorf("%+v", r)
			}
		})
	}
}

// judge is an agent that answers messages of WebSockets with a fixed verdict.
type judge struct {
	fn
	verdict protocol.Verdict
}

func (j *judge) WebSocketFrame(context.Context, *protocol.WebSocketFrame) (protocol.Verdict, error) {
	return j.verdict, nil
}

// TestSocketVerdicts: a verdict that the proxy could not carry out never leaves as one.
func TestSocketVerdicts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		verdict protocol.Verdict
		op      protocol.Opcode
		ok      bool
	}{
		{"drop a text", protocol.DropMessage(), protocol.OpText, true},
		{"drop a ping", protocol.DropMessage(), protocol.OpPing, true},
		{"drop a close", protocol.DropMessage(), protocol.OpClose, false},
		{"replace a text", protocol.ReplaceMessage([]byte("é")), protocol.OpText, true},
		{"replace by nothing", protocol.ReplaceMessage(nil), protocol.OpText, true},
		{"replace a text by no text", protocol.ReplaceMessage([]byte("\xff")), protocol.OpText, false},
		{"replace a binary by any", protocol.ReplaceMessage([]byte("\xff")), protocol.OpBinary, true},
		{"replace a pong", protocol.ReplaceMessage(nil), protocol.OpPong, false},
		{"replace by too much", protocol.ReplaceMessage(make([]byte, protocol.MaxChunk+1)), protocol.OpBinary, false},
		{"close", protocol.CloseSocket(1008, "no"), protocol.OpText, true},
		{"close with a code of libraries", protocol.CloseSocket(4000, ""), protocol.OpClose, true},
		{"close without a code", protocol.CloseSocket(0, "no"), protocol.OpText, false},
		{"close with the code for none", protocol.CloseSocket(1005, "no"), protocol.OpText, false},
		{"close with a long reason", protocol.CloseSocket(1008, strings.Repeat("x", 124)), protocol.OpText, false},
		{"close with a reason of 123", protocol.CloseSocket(1008, strings.Repeat("x", 123)), protocol.OpText, true},
		{"close with a broken reason", protocol.CloseSocket(1008, "\xff"), protocol.OpText, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path, _ := protocoltest.Serve(t, &judge{verdict: c.verdict})
			r := connect(t, path).Ask(&protocol.WebSocketFrame{CorrelationID: "c", Opcode: c.op})
			if ok := r.Error == "" && r.Verdict.Action == protocol.ActionAllow && r.Verdict.Socket != nil; ok != c.ok {
				t.Errorf("%+v", r)
			}
		})
	}
	path, _ := protocoltest.Serve(t, fn(func(context.Context, *protocol.RequestHeaders) (protocol.Verdict, error) {
		return protocol.DropMessage(), nil
	}))
	if r := connect(t, path).Ask(protocoltest.Request("r")); r.Error == "" {
		t.Errorf("a verdict on a message in answer to a request: %+v", r)
	}
}

// sick is an agent whose health a test sets.
type sick struct {
	fn
	state atomic.Int32
}

func (s *sick) Health() (protocol.Health, string) { return protocol.Health(s.state.Load()), "because" }

func TestHealthIsTold(t *testing.T) {
	t.Parallel()
	s := &sick{}
	s.state.Store(int32(protocol.Degraded))
	path, _ := protocoltest.Serve(t, s)
	c := connect(t, path)
	ft, payload := c.Next() // by the check, within its period
	var h protocol.HealthStatus
	if err := wire.Decode(c.Encoding, payload, &h); ft != protocol.TypeHealthStatus || err != nil || h.State != protocol.Degraded || h.Message != "because" {
		t.Errorf("type %#x, %+v, %v", byte(ft), h, err)
	}
	late := connect(t, path) // hears it after its handshake
	if ft, _ := late.Next(); ft != protocol.TypeHealthStatus {
		t.Errorf("type %#x", byte(ft))
	}
}
