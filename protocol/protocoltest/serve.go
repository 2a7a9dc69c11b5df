// Package protocoltest tests agents and clients over real sockets. Conformance is the test every agent runs; Conn plays a proxy, Fake plays an agent that
// behaves, or does not, as a test wants. The checks themselves are in package conformance, which does without the testing package.
package protocoltest

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/conformance"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// Conn is one end of a connection, used frame by frame.
type Conn = conformance.Conn

// Dial connects to an agent's socket. The connection is closed when the test ends.
func Dial(tb testing.TB, path string) *Conn { tb.Helper(); return conformance.Dial(tb, path) }

// Hello is the handshake of a proxy that offers these encodings.
func Hello(offer ...protocol.Encoding) *protocol.HandshakeRequest { return conformance.Hello(offer...) }

// Request is an ordinary request for tests.
func Request(id string) *protocol.RequestHeaders { return conformance.Request(id) }

// Conformance checks that an agent keeps the rules of SPEC.md. fresh makes an agent that has not been served yet, with whatever configuration it starts with. All checks ask
// one agent, one after the other; the one that stops it is the last.
func Conformance(t *testing.T, fresh func() agent.Agent) {
	path, s := Serve(t, fresh())
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return s.Shutdown(ctx)
	}
	for _, c := range conformance.Checks() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, &conformance.Agent{Socket: path, Stop: stop}) })
	}
}

// Serve serves an agent on a socket of its own and returns the path and the server. The agent is started as Main would, and shut down when the test ends.
func Serve(tb testing.TB, a agent.Agent) (path string, s *agent.Server) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "agent.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	if st, ok := a.(agent.Starter); ok {
		if err := st.Start(ctx, log); err != nil {
			tb.Fatal(err)
		}
	}
	s = agent.NewServer(a, log)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	tb.Cleanup(func() {
		stop, cancelStop := context.WithTimeout(context.Background(), patience)
		defer cancelStop()
		if err := s.Shutdown(stop); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
		cancel()
		if err := <-served; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	return path, s
}

// Fake is an agent that does what a test wants. behave is called for every connection, in its own goroutine; the connection is closed when it returns, and
// its reads fail when the test ends. It returns the socket's path.
func Fake(tb testing.TB, behave func(*Conn)) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "fake.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[nc] = true
			mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				behave(conformance.NewConn(tb, nc))
			})
		}
	})
	tb.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for nc := range open {
			nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return path
}
