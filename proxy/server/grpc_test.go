package server_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// call is a message: text is all that the tests need.
type call = wrapperspb.StringValue

// service is what the backend of gRPC does.
type service struct {
	calls   atomic.Int64
	codes   sync.Map      // what unary calls are refused with: number of the call -> codes.Code
	ended   chan error    // how streams ended, as their handlers saw it
	timeout atomic.Int64  // what was left of the last call's deadline
	hold    chan struct{} // unary calls of "hold" wait for it
}

func (s *service) unary(ctx context.Context, in *call) (*call, error) {
	n := s.calls.Add(1)
	if d, ok := ctx.Deadline(); ok {
		s.timeout.Store(int64(time.Until(d)))
	}
	if c, found := s.codes.Load(n); found {
		return nil, status.Error(c.(codes.Code), "as told")
	}
	switch in.Value {
	case "hold":
		select {
		case <-ctx.Done():
			s.ended <- ctx.Err()
			return nil, ctx.Err()
		case <-s.hold:
		}
	case "fail":
		return nil, status.Error(codes.FailedPrecondition, "not now: ü%")
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-head", "h"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-tail", "t", "x-tail-bin", "\x00\xff"))
	return wrapperspb.String("re: " + in.Value), nil
}

func (s *service) stream(stream grpc.ServerStream, each bool) error {
	var all []string
	for {
		in := new(call)
		err := stream.RecvMsg(in)
		switch {
		case errors.Is(err, io.EOF) && each:
			return nil
		case errors.Is(err, io.EOF):
			return stream.SendMsg(wrapperspb.String(strings.Join(all, ",")))
		case err != nil:
			s.ended <- err
			return err
		case in.Value == "enough": // the server ends first
			return status.Error(codes.Aborted, "enough")
		case each:
			if err := stream.SendMsg(wrapperspb.String("re: " + in.Value)); err != nil {
				return err
			}
		}
		all = append(all, in.Value)
	}
}

func (s *service) many(in *call, stream grpc.ServerStream) error {
	n := 50
	if in.Value == "q" {
		n = longStream
	}
	for range n {
		if err := stream.SendMsg(wrapperspb.String(strings.Repeat(in.Value, 2000))); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) desc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "test.Calls", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(call)
			if err := dec(in); err != nil {
				return nil, err
			}
			return s.unary(ctx, in)
		}}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Collect", ClientStreams: true, Handler: func(_ any, st grpc.ServerStream) error { return s.stream(st, false) }},
			{StreamName: "Talk", ClientStreams: true, ServerStreams: true, Handler: func(_ any, st grpc.ServerStream) error { return s.stream(st, true) }},
			{StreamName: "Many", ServerStreams: true, Handler: func(_ any, st grpc.ServerStream) error {
				in := new(call)
				if err := st.RecvMsg(in); err != nil {
					return err
				}
				return s.many(in, st)
			}},
		},
	}
}

// grpcBackend runs a real server of gRPC.
func grpcBackend(t *testing.T, opts ...grpc.ServerOption) (*service, string) {
	t.Helper()
	s := &service{ended: make(chan error, 100), hold: make(chan struct{})}
	srv := grpc.NewServer(opts...)
	srv.RegisterService(s.desc(), nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() { srv.Stop(); wg.Wait() })
	return s, ln.Addr().String()
}

// overHTTP2 lets both sides of the proxy speak HTTP/2 without TLS.
func overHTTP2(addresses ...string) config.Config {
	cfg := withHTTP2(proxytest.ToBackends(addresses...))
	cfg.Upstreams[0].HTTP = config.HTTPVersion{Min: 2, Max: 2, MaxStreams: 100, StreamWindow: 64 << 10}
	return cfg
}

func grpcClient(t *testing.T, address string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	cc, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

func callContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// longStream is a number of messages that takes peers a while.
const longStream = 20_000

// Peers of gRPC measure a connection with pings, as many as there are round trips while data flows. That is no flood.
func TestGRPCLongStreams(t *testing.T) {
	t.Parallel()
	_, backend := grpcBackend(t)
	cfg := overHTTP2(backend)
	cfg.Limits.MaxBodySize = 1 << 30
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	cc := grpcClient(t, p.Addr, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		st, err := cc.NewStream(callContext(t), &grpc.StreamDesc{ServerStreams: true}, "/test.Calls/Many")
		if err == nil {
			err = st.SendMsg(wrapperspb.String("q"))
		}
		if err == nil {
			err = st.CloseSend()
		}
		n := 0
		for ; err == nil; n++ {
			err = st.RecvMsg(new(call))
		}
		if !errors.Is(err, io.EOF) || n != longStream+1 {
			t.Errorf("down: %d messages, then %v", n-1, err)
		}
	})
	wg.Go(func() {
		st, err := cc.NewStream(callContext(t), &grpc.StreamDesc{ClientStreams: true}, "/test.Calls/Collect")
		if err != nil {
			t.Error(err)
			return
		}
		for i := range longStream {
			if err := st.SendMsg(wrapperspb.String(strings.Repeat("w", 2000))); err != nil {
				t.Errorf("up: %v after %d messages: %v", err, i, st.RecvMsg(new(call)))
				return
			}
		}
		_ = st.CloseSend()
		if err := st.RecvMsg(new(call)); status.Code(err) != codes.ResourceExhausted { // the sum of them is larger than what a client takes
			t.Errorf("up: %v", err)
		}
	})
	wg.Wait()
	if n := p.Metrics.Target("backend", backend).Violations.Load(); n != 0 {
		t.Errorf("%d violations", n)
	}
}

const unaryMethod = "/test.Calls/Unary"

// unaryCalls makes calls whose messages, fields, trailers and outcome must be those of the server; four in all.
func unaryCalls(t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	var head, tail metadata.MD
	for _, text := range []string{"a", "", strings.Repeat("long", 500_000)} {
		out := new(call)
		if err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String(text), out, grpc.Header(&head), grpc.Trailer(&tail)); err != nil {
			t.Fatal(err)
		}
		if out.Value != "re: "+text || head.Get("x-head")[0] != "h" || tail.Get("x-tail")[0] != "t" || tail.Get("x-tail-bin")[0] != "\x00\xff" {
			t.Errorf("%d bytes, head %v, tail %v", len(out.Value), head, tail)
		}
	}
	err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String("fail"), new(call))
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "not now: ü%" {
		t.Errorf("outcome %v", err)
	}
}

func TestGRPCUnary(t *testing.T) {
	t.Parallel()
	_, backend := grpcBackend(t)
	p := proxytest.Proxy(t, overHTTP2(backend), proxytest.Options{})
	cc := grpcClient(t, p.Addr, nil)
	unaryCalls(t, cc)
	if err := cc.Invoke(callContext(t), "/test.Calls/None", wrapperspb.String(""), new(call)); status.Code(err) != codes.Unimplemented {
		t.Errorf("unknown method: %v", err)
	}
}

func TestGRPCStreams(t *testing.T) {
	t.Parallel()
	_, backend := grpcBackend(t)
	p := proxytest.Proxy(t, overHTTP2(backend), proxytest.Options{})
	cc := grpcClient(t, p.Addr, nil)
	open := func(method string) grpc.ClientStream {
		st, err := cc.NewStream(callContext(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Calls/"+method)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	recv := func(st grpc.ClientStream) string {
		out := new(call)
		if err := st.RecvMsg(out); err != nil {
			t.Fatal(err)
		}
		return out.Value
	}
	send := func(st grpc.ClientStream, text string) {
		if err := st.SendMsg(wrapperspb.String(text)); err != nil {
			t.Fatal(err)
		}
	}

	talk := open("Talk") // each answer is waited for: nothing may be held back in either direction
	for range 20 {
		send(talk, "x")
		if got := recv(talk); got != "re: x" {
			t.Fatalf("got %q", got)
		}
	}
	_ = talk.CloseSend()
	if err := talk.RecvMsg(new(call)); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}

	collect := open("Collect")
	send(collect, "a")
	send(collect, "b")
	_ = collect.CloseSend()
	if got := recv(collect); got != "a,b" {
		t.Errorf("collected %q", got)
	}

	many := open("Many")
	send(many, "z")
	_ = many.CloseSend()
	for range 50 {
		if got := recv(many); len(got) != 2000 {
			t.Fatalf("%d bytes", len(got))
		}
	}

	early := open("Talk")
	send(early, "enough")
	if err := early.RecvMsg(new(call)); status.Code(err) != codes.Aborted {
		t.Errorf("a server that ends first: %v", err)
	}
}

// Cancel and deadline of the client reach the server; the deadline bounds the exchange, and the route's time bounds the deadline.
func TestGRPCCancelAndDeadline(t *testing.T) {
	t.Parallel()
	s, backend := grpcBackend(t)
	cfg := overHTTP2(backend)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	cc := grpcClient(t, p.Addr, nil)
	ended := func(what string) {
		t.Helper()
		select {
		case <-s.ended:
		case <-time.After(20 * time.Second):
			t.Errorf("%s did not reach the server", what)
		}
	}
	ctx, cancel := context.WithCancel(callContext(t))
	st, err := cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Calls/Talk")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.SendMsg(wrapperspb.String("x")); err != nil {
		t.Fatal(err)
	}
	if err := st.RecvMsg(new(call)); err != nil {
		t.Fatal(err)
	}
	cancel()
	ended("cancel")
	ctx, cancel = context.WithTimeout(callContext(t), 300*time.Millisecond)
	defer cancel()
	if err := cc.Invoke(ctx, unaryMethod, wrapperspb.String("hold"), new(call)); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("deadline: %v", err)
	}
	ended("deadline")
}

// The proxy itself ends a call whose time is over, though its client does not, and long before the route would.
func TestGRPCTimeoutField(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	backend := proxytest.RawBackend(t, func(c net.Conn) { <-hang; c.Close() })
	t.Cleanup(func() { close(hang) })
	cfg := proxytest.ToBackends(backend)
	cfg.Routes[0].Retry.MaxAttempts = 1
	access := &proxytest.Log{}
	p := proxytest.Proxy(t, cfg, proxytest.Options{AccessLog: access})
	for field, want := range map[string]bool{"grpc-timeout: 50m": true, "grpc-timeout: 5x": false, "x: y": false} {
		c := p.Dial(t)
		began := time.Now()
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/grpc\r\n", field, "\r\nContent-Length: 0\r\n\r\n")
		res, _ := c.Answer("POST")
		if early := time.Since(began) < 4*time.Second; early != want || res.Header.Get("Grpc-Status") != "4" {
			t.Errorf("%s: %s after %s", field, res.Status, time.Since(began))
		}
	}
	proxytest.Eventually(t, "the status in the log", func() bool { return strings.Count(access.String(), `"status":504`) == 3 })
}

// What the proxy refuses itself is an outcome of gRPC, with a message in words.
func TestGRPCRefusals(t *testing.T) {
	t.Parallel()
	_, backend := grpcBackend(t)
	cfg := overHTTP2(backend)
	cfg.Limits.MaxBodySize = 1000
	cc := grpcClient(t, proxytest.Proxy(t, cfg, proxytest.Options{}).Addr, nil)
	if err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String("small"), new(call)); err != nil {
		t.Error(err)
	}
	err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String(strings.Repeat("large", 1000)), new(call))
	if s := status.Convert(err); s.Code() != codes.ResourceExhausted || s.Message() != "Content Too Large" {
		t.Errorf("a large message: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	cc = grpcClient(t, proxytest.Proxy(t, overHTTP2(ln.Addr().String()), proxytest.Options{}).Addr, nil)
	if err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String("x"), new(call)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "Bad Gateway") {
		t.Errorf("a dead target: %v", err)
	}
}

func TestGRPCRetryCodes(t *testing.T) {
	t.Parallel()
	s, backend := grpcBackend(t)
	cfg := overHTTP2(backend)
	cfg.Routes[0].Retry = config.Retry{MaxAttempts: 3, On: []string{"connect"}, IdempotentOnly: true, GRPCCodes: []string{"unavailable"}, ReplayBuffer: 64 << 10, BudgetPercent: 100, BudgetMin: 10}
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	cc := grpcClient(t, p.Addr, nil)
	s.codes.Store(int64(1), codes.Unavailable)
	s.codes.Store(int64(2), codes.Unavailable)
	out := new(call)
	if err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String("x"), out); err != nil || out.Value != "re: x" || s.calls.Load() != 3 {
		t.Fatalf("%q, %v after %d calls", out.Value, err, s.calls.Load())
	}
	s.codes.Store(int64(4), codes.Internal) // not in the list
	if err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String("x"), out); status.Code(err) != codes.Internal || s.calls.Load() != 4 {
		t.Errorf("%v after %d calls", err, s.calls.Load())
	}
	for n := int64(5); n < 8; n++ {
		s.codes.Store(n, codes.Unavailable)
	}
	if err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String("x"), out); status.Code(err) != codes.Unavailable || s.calls.Load() != 7 {
		t.Errorf("%v after %d calls: the last outcome is passed on", err, s.calls.Load())
	}
}

// A client of HTTP/1.1 reaches a target that speaks HTTP/2 only.
func TestHTTP1ToHTTP2(t *testing.T) {
	t.Parallel()
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		echo(w, r)
	})}
	srv.Protocols.SetUnencryptedHTTP2(true)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() { srv.Close(); wg.Wait() })
	p := proxytest.Proxy(t, overHTTP2(ln.Addr().String()), proxytest.Options{})
	c := p.Dial(t)
	for range 3 {
		r, body := c.Get("/x?y=1")
		if r.StatusCode != 200 || body != "GET " || r.Header.Get("X-Path") != "/x?y=1" || r.Header.Get("X-Proto") != "HTTP/2.0" {
			t.Fatal(r, body)
		}
		c.Send("POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "0\r\n\r\n")
		if r, body := c.Answer("POST"); body != "POST abc" {
			t.Fatal(r, body)
		}
	}
	m := p.Metrics.Target("backend", ln.Addr().String())
	if n := m.Sessions.Load(); n != 1 {
		t.Errorf("%d connections for one request at a time", n)
	}
	if n := m.Failures[observe.FailureRead].Load(); n != 0 {
		t.Errorf("%d failures", n)
	}
}
