package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// secureCalls is a client of gRPC, a proxy and a server of gRPC, with TLS and HTTP/2 by ALPN between each two of them.
func secureCalls(t *testing.T, change func(*config.Config)) (*service, *grpc.ClientConn) {
	t.Helper()
	own := pki.New("own")
	s, backend := grpcBackend(t, grpc.Creds(credentials.NewTLS(certConfig(own.Issue(pki.Options{Names: []string{"127.0.0.1"}})))))
	ca, cfg := secureConfig(t, backend)
	cfg, _ = trusting(t, own, withHTTP2(cfg))
	cfg.Upstreams[0].HTTP = config.HTTPVersion{Min: 1, Max: 2, MaxStreams: 100, StreamWindow: 64 << 10}
	if change != nil {
		change(&cfg)
	}
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	return s, grpcClient(t, p.Addr, credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), ServerName: "t"}))
}

// The real client and server of gRPC, through a proxy that ends TLS on both sides: messages, fields, trailers and outcomes.
func TestSecureGRPCUnary(t *testing.T) {
	t.Parallel()
	s, cc := secureCalls(t, nil)
	unaryCalls(t, cc)
	if s.calls.Load() != 4 {
		t.Errorf("%d calls", s.calls.Load())
	}
}

// Both sides send in turns on one stream, and each answer is there before the next question is asked.
func TestSecureGRPCStream(t *testing.T) {
	t.Parallel()
	_, cc := secureCalls(t, nil)
	st, err := cc.NewStream(callContext(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Calls/Talk")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		text := strconv.Itoa(i) + strings.Repeat("x", i*100)
		if err := st.SendMsg(wrapperspb.String(text)); err != nil {
			t.Fatal(err)
		}
		out := new(call)
		if err := st.RecvMsg(out); err != nil || out.Value != "re: "+text {
			t.Fatalf("message %d: %d bytes, %v", i, len(out.Value), err)
		}
	}
	if err := st.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := st.RecvMsg(new(call)); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
}

// The client's deadline reaches the server, and its end ends the call there.
func TestSecureGRPCDeadline(t *testing.T) {
	t.Parallel()
	s, cc := secureCalls(t, nil)
	ctx, cancel := context.WithTimeout(callContext(t), time.Second)
	defer cancel()
	if err := cc.Invoke(ctx, unaryMethod, wrapperspb.String("hold"), new(call)); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("deadline: %v", err)
	}
	if left := time.Duration(s.timeout.Load()); left <= 0 || left > time.Second {
		t.Errorf("the server had %s left", left)
	}
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		t.Error("the end did not reach the server")
	}
}

// What the proxy refuses itself is an outcome of gRPC.
func TestSecureGRPCRefusals(t *testing.T) {
	t.Parallel()
	_, cc := secureCalls(t, func(c *config.Config) { c.Limits.MaxBodySize = 1000 })
	if err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String("small"), new(call)); err != nil {
		t.Error(err)
	}
	err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String(strings.Repeat("large", 1000)), new(call))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a large message: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	_, cc = secureCalls(t, func(c *config.Config) { c.Upstreams[0].Targets[0].Address = ln.Addr().String() })
	if err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String("x"), new(call)); status.Code(err) != codes.Unavailable {
		t.Errorf("a dead target: %v", err)
	}
	// A target that does not prove who it is gets nothing.
	s, cc := secureCalls(t, func(c *config.Config) {
		c.Upstreams[0].TLS.CACert = pki.WriteFile(t.TempDir(), "ca.pem", pki.New("other").PEM())
	})
	if err := cc.Invoke(callContext(t), unaryMethod, wrapperspb.String("x"), new(call)); status.Code(err) != codes.Unavailable || s.calls.Load() != 0 {
		t.Errorf("an unknown authority: %v after %d calls", err, s.calls.Load())
	}
}
