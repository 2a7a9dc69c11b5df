package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// TestDrainEndsCalls: a call of gRPC that streams on in a drain ends with a status that sends its client elsewhere; one that has not begun to answer is waited for.
func TestDrainEndsCalls(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string]func(...string) config.Config{"h2 to h2": overHTTP2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, backend := grpcBackend(t)
			cfg := configure(backend)
			cfg.System.StreamDrainTimeout = 600 * time.Millisecond
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			cc := grpcClient(t, p.Addr, nil)
			st, err := cc.NewStream(callContext(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Calls/Talk")
			if err != nil {
				t.Fatal(err)
			}
			talk := func() error {
				if err := st.SendMsg(wrapperspb.String("hello")); err != nil {
					return err
				}
				return st.RecvMsg(new(call))
			}
			if err := talk(); err != nil {
				t.Fatal(err)
			}
			unary := make(chan error, 1)
			go func() { unary <- cc.Invoke(callContext(t), unaryMethod, wrapperspb.String("hold"), new(call)) }()
			proxytest.Eventually(t, "the other call", func() bool { return s.calls.Load() == 1 })
			begun := time.Now()
			p.Server.Drain()
			if err := talk(); err != nil {
				t.Errorf("early in the drain: %v", err)
			}
			err = st.RecvMsg(new(call))
			if took := time.Since(begun); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "going away") || took < 300*time.Millisecond {
				t.Errorf("after %v: %v", took, err)
			}
			close(s.hold)
			if err := <-unary; err != nil {
				t.Errorf("the other call: %v", err)
			}
		})
	}
}

// TestDrainEndsEvents: so does an event stream; an answer that would seem complete is left to finish.
func TestDrainEndsEvents(t *testing.T) {
	t.Parallel()
	finish := make(chan struct{})
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		fmt.Fprint(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-finish:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, "data: 2\n\n")
	}))
	cfg := proxytest.ToBackends(backend)
	cfg.System.StreamDrainTimeout = 400 * time.Millisecond
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	get := func(kind string) *http.Response {
		r, err := http.Get("http://" + p.Addr + "/?type=" + url.QueryEscape(kind))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	events, plain := get("text/event-stream;charset=utf-8"), get("text/plain")
	defer events.Body.Close()
	defer plain.Body.Close()
	p.Server.Drain()
	if b, err := io.ReadAll(events.Body); err != nil || string(b) != "data: 1\n\n" {
		t.Errorf("events: %q, %v", b, err)
	}
	close(finish)
	if b, err := io.ReadAll(plain.Body); err != nil || string(b) != "data: 1\n\ndata: 2\n\n" {
		t.Errorf("plain: %q, %v", b, err)
	}
}
