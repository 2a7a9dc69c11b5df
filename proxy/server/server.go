package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// Options are what a Server needs for its whole life.
type Options struct {
	Logger  *slog.Logger     // required; what went wrong, never one line per request
	Metrics *observe.Metrics // required
}

// Server serves connections on any number of listeners with the generation of the moment.
type Server struct {
	log     *slog.Logger
	metrics *observe.Metrics
	noRoute *observe.RouteMetrics
	started time.Time // origin of clock
	clock   observe.Clock

	generation atomic.Pointer[Generation]
	older      atomic.Pointer[[]*Generation] // replaced and still used; nil = none; changed under mu
	draining   atomic.Bool
	opened     atomic.Uint32 // connections so far; also says which stripe of the metrics one counts in
	limits     limitLog

	works     sync.Pool // *work
	large     sync.Pool // *[largeBuffer]byte
	pipes     sync.Pool // *pipe
	boxes     sync.Pool // *[]byte, for ciphertext
	exchanges filter.Pool
	hands     hands
	atWork    *atWork

	mu        sync.Mutex // guards the fields below
	conns     []*conn
	streams   []*conn // those that serve streams of conns
	clients   map[netip.Addr]int32
	listeners map[net.Listener]struct{}
	quics     map[*quicListener]struct{}
	closed    bool
	changed   *sync.Cond // a connection ended, or closed was set

	aborting    chan struct{}  // closed when Shutdown's patience ends
	accepting   sync.WaitGroup // Serve calls
	serving     sync.WaitGroup // connection goroutines
	quicServing sync.WaitGroup // ServeQUIC calls
	retiring    sync.WaitGroup // Retire functions
	sweeping    sync.WaitGroup
	swapping    sync.Mutex // serialises Swap
}

// ErrClosed is returned by Serve after Drain or Shutdown.
var ErrClosed = errors.New("server closed")

// New returns a server that runs g. It fails when g is incomplete.
func New(o Options, g *Generation) (*Server, error) {
	if o.Logger == nil || o.Metrics == nil {
		return nil, errors.New("cannot make server: no logger or no metrics")
	}
	if err := g.prepare(); err != nil {
		return nil, err
	}
	s := &Server{
		log: o.Logger, metrics: o.Metrics, noRoute: o.Metrics.Route(observe.NoRoute), started: time.Now(),
		clients: make(map[netip.Addr]int32), listeners: make(map[net.Listener]struct{}), quics: make(map[*quicListener]struct{}),
		aborting: make(chan struct{}), hands: newHands(), atWork: newAtWork(),
	}
	s.large.New = func() any { return new([largeBuffer]byte) }
	s.changed = sync.NewCond(&s.mu)
	s.generation.Store(g)
	o.Metrics.Process.Generation.Store(g.Number)
	s.sweeping.Go(s.sweep)
	return s, nil
}

// Generation returns what is running now.
func (s *Server) Generation() *Generation { return s.generation.Load() }

// Swap makes g the running generation: exchanges that start from now on use it, those that run keep theirs. The old one is retired when its last exchange
// is over. Swap fails, and changes nothing, when g is incomplete or lacks a listener that is being served.
func (s *Server) Swap(g *Generation) error {
	if err := g.prepare(); err != nil {
		return err
	}
	s.swapping.Lock()
	defer s.swapping.Unlock()
	s.mu.Lock()
	for ln := range s.listeners {
		if id := ln.(*served).id; g.listener(id) == nil {
			s.mu.Unlock()
			return fmt.Errorf("cannot swap generation: listener %q is being served but not configured", id)
		}
	}
	s.mu.Unlock()
	old := s.generation.Swap(g)
	s.keep(old)
	s.metrics.Process.Generation.Store(g.Number)
	old.replaced.Store(true)
	if old.users.Load() == 0 {
		s.retire(old)
	}
	return nil
}

// acquire returns the running generation with one more user.
func (s *Server) acquire() *Generation {
	for {
		g := s.generation.Load()
		g.users.Add(1)
		if s.generation.Load() == g {
			return g
		}
		s.release(g) // replaced in between: it may already be retired
	}
}

// release ends one use of g.
func (s *Server) release(g *Generation) {
	if g.users.Add(-1) == 0 && g.replaced.Load() {
		s.retire(g)
	}
}

func (s *Server) retire(g *Generation) {
	if !g.retired.CompareAndSwap(false, true) {
		return
	}
	s.drop(g)
	if g.Retire != nil {
		s.retiring.Go(g.Retire)
	}
}

// keep notes a generation that was replaced, because its exchanges still count.
func (s *Server) keep(g *Generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []*Generation{g}
	if old := s.older.Load(); old != nil {
		all = append(all, *old...)
	}
	s.older.Store(&all)
}

// drop forgets it.
func (s *Server) drop(g *Generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.older.Load()
	if old == nil {
		return
	}
	if rest := slices.DeleteFunc(slices.Clone(*old), func(o *Generation) bool { return o == g }); len(rest) > 0 {
		s.older.Store(&rest)
	} else {
		s.older.Store(nil)
	}
}

// Connections is the number of client connections open now.
func (s *Server) Connections() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.conns))
}

// InFlight is the number of exchanges that run now, on whatever generation.
func (s *Server) InFlight() int64 {
	n := s.generation.Load().users.Load()
	if old := s.older.Load(); old != nil {
		for _, g := range *old {
			n += g.users.Load()
		}
	}
	return n
}

// Draining reports whether Drain was called.
func (s *Server) Draining() bool { return s.draining.Load() }

// Drain stops accepting and lets every connection end with its present exchange or, when it waits for one, with the next: the answer says Connection: close.
// One that goes on waiting is closed after a second, since a client must not learn of the end by losing a request that it may not send twice.
// The listening sockets themselves are closed in this process only: whoever shares them goes on accepting.
func (s *Server) Drain() {
	if !s.draining.Swap(true) {
		close(s.hands.folded)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for ln := range s.listeners {
		_ = ln.Close()
	}
	for l := range s.quics {
		l.stop()
	}
}

// Shutdown drains and waits until the last connection is gone. When ctx ends first, what is left is closed and ctx's error returned.
// The generation that runs is retired.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	s.accepting.Wait() // the last connection may just have been accepted
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.aborting)
		for _, c := range s.conns {
			c.abort()
		}
	})
	s.serving.Wait()
	s.quicServing.Wait()
	var err error
	if !stop() {
		err = ctx.Err()
	}
	s.mu.Lock()
	s.closed = true
	s.changed.Broadcast()
	s.mu.Unlock()
	s.sweeping.Wait()
	if g := s.generation.Load(); !g.replaced.Swap(true) && g.users.Load() == 0 {
		s.retire(g)
	}
	s.retiring.Wait()
	return err
}

// now is the server's clock: nanoseconds since it was made, never stepped.
func (s *Server) now() int64 { return int64(time.Since(s.started)) }

// at converts a time with a monotonic reading to the server's clock.
func (s *Server) at(t time.Time) int64 { return int64(t.Sub(s.started)) }
