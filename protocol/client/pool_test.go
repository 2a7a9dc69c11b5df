package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/agent"
	"github.com/sentinel-stack/sentinel/protocol/client"
	"github.com/sentinel-stack/sentinel/protocol/protocoltest"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// pooled is a pool of ready clients, one for each socket.
func pooled(t *testing.T, o client.Options, paths ...string) *client.Pool {
	t.Helper()
	var members []*client.Client
	for _, path := range paths {
		members = append(members, ready(t, dial(t, path, o)))
	}
	p := client.NewPool(members...)
	t.Cleanup(p.Close)
	return p
}

func head(p *client.Pool, id string, timeout time.Duration) error {
	s := p.Session(id)
	defer s.End()
	var r protocol.Response
	return s.Call(view(id), time.Now().Add(timeout), nil, &r)
}

// mortal is an agent whose connections can be cut, which counts its events and may be told to hold answers back.
type mortal struct {
	events atomic.Int64
	hold   atomic.Bool
	fatal  atomic.Bool // every event ends the connection

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

func (m *mortal) behave(c *protocoltest.Conn) {
	if _, ok := c.Accept(protocol.MsgPack); !ok {
		return
	}
	m.mu.Lock()
	m.conns[c.Conn] = true
	m.mu.Unlock()
	for {
		t, id, ok := c.NextEvent()
		if !ok {
			return
		}
		if t == protocol.TypeCancel || t == protocol.TypePing {
			continue
		}
		m.events.Add(1)
		if m.fatal.Load() {
			return
		}
		if !m.hold.Load() && !c.TrySend(allowing(id)) {
			return
		}
	}
}

func (m *mortal) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		c.Close()
	}
	clear(m.conns)
}

func mortals(t *testing.T, n int) (all []*mortal, paths []string) {
	t.Helper()
	for range n {
		m := &mortal{conns: map[net.Conn]bool{}}
		all, paths = append(all, m), append(paths, protocoltest.Fake(t, m.behave))
	}
	return all, paths
}

// TestPoolSharesCallsOut: equally idle instances take turns, and one with calls at work is passed over.
func TestPoolSharesCallsOut(t *testing.T) {
	t.Parallel()
	all, paths := mortals(t, 3)
	p := pooled(t, client.Options{}, paths...)
	for i := range 30 {
		if err := head(p, fmt.Sprint("turn", i), 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range all {
		if n := m.events.Load(); n != 10 {
			t.Errorf("instance %d got %d of 30 calls", i, n)
		}
	}
	for _, m := range all {
		m.hold.Store(true)
	}
	var held sync.WaitGroup
	defer held.Wait()
	for i := range 4 { // the fourth goes to one that has a call already
		held.Go(func() { head(p, fmt.Sprint("held", i), 2*time.Second) })
		eventually(t, "the call is at work", func() bool { return p.Snapshot().InFlight == int64(i+1) })
	}
	for i, c := range p.Members() {
		if n := c.Snapshot().InFlight; n < 1 || n > 2 {
			t.Errorf("instance %d has %d calls at work", i, n)
		}
	}
}

// TestPoolStaysWithTheInstance: what follows a head goes where the head went; when that instance is lost, pieces of a body fail, and what can be judged by itself goes elsewhere.
func TestPoolStaysWithTheInstance(t *testing.T) {
	t.Parallel()
	all, paths := mortals(t, 2)
	p := pooled(t, client.Options{}, paths...)
	s := p.Session("loyal")
	defer s.End()
	var r protocol.Response
	call := func(m any) error { return s.Call(m, time.Now().Add(5*time.Second), nil, &r) }
	if err := call(view("loyal")); err != nil {
		t.Fatal(err)
	}
	own, other := all[0], all[1]
	if own.events.Load() == 0 {
		own, other = other, own
	}
	for i := range 20 {
		if err := call(&wire.RequestBody{CorrelationID: "loyal", Data: []byte("x"), Index: uint32(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := own.events.Load(), other.events.Load(); a != 21 || b != 0 {
		t.Fatalf("%d events here and %d there, want 21 and 0", a, b)
	}
	own.cut()
	eventually(t, "the loss is noticed", func() bool {
		err := head(p, "probe", time.Second)
		return err == nil && other.events.Load() > 0
	})
	before := other.events.Load()
	if err := call(&wire.ResponseView{CorrelationID: "loyal", Status: 200, Headers: twelve()}); err != nil { // needs nothing of what came before
		t.Errorf("the head of the answer: %v", err)
	}
	if own.events.Load()+other.events.Load() <= before {
		t.Error("no instance saw the head of the answer")
	}

	s2 := p.Session("mid-body")
	defer s2.End()
	if err := s2.Call(view("mid-body"), time.Now().Add(5*time.Second), nil, &r); err != nil {
		t.Fatal(err)
	}
	own.cut()
	other.cut()
	var err error
	eventually(t, "the loss is noticed", func() bool {
		err = s2.Call(&wire.RequestBody{CorrelationID: "mid-body", Data: []byte("x")}, time.Now().Add(time.Second), nil, &r)
		return err != nil
	})
	if !errors.Is(err, client.ErrLost) {
		t.Errorf("a piece of a body after its instance was lost: %v, want ErrLost", err)
	}
}

// TestPoolSurvivesLosses: while instances are cut one after the other, no call about a head fails.
func TestPoolSurvivesLosses(t *testing.T) {
	t.Parallel()
	all, paths := mortals(t, 3)
	p := pooled(t, client.Options{}, paths...)
	stop := make(chan struct{})
	var failed atomic.Int64
	var calls [6]atomic.Int64
	var wg sync.WaitGroup
	for w := range calls {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := head(p, fmt.Sprintf("w%d-%d", w, i), 5*time.Second); err != nil {
					failed.Add(1)
					t.Error(err)
				}
				calls[w].Add(1)
			}
		})
	}
	for i := range 30 {
		all[i%3].cut()
		var before [6]int64
		for w := range calls {
			before[w] = calls[w].Load()
		}
		eventually(t, "it is back, and no call that was cut is still under way", func() bool {
			for w := range calls {
				if calls[w].Load() < before[w]+5 {
					return false
				}
			}
			return p.Members()[i%3].Snapshot().Connected
		})
	}
	close(stop)
	wg.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d calls failed", failed.Load())
	}
}

// TestPoolBoundsResends: a request that kills whoever gets it does not kill every instance.
func TestPoolBoundsResends(t *testing.T) {
	t.Parallel()
	all, paths := mortals(t, 6)
	p := pooled(t, client.Options{}, paths...)
	for _, m := range all {
		m.fatal.Store(true)
	}
	if err := head(p, "poison", 5*time.Second); !errors.Is(err, client.ErrLost) {
		t.Errorf("%v, want ErrLost", err)
	}
	total := int64(0)
	for _, m := range all {
		total += m.events.Load()
	}
	if total != 3 {
		t.Errorf("%d instances died of one request, want 3", total)
	}
}

// TestPoolWithoutInstances: when none is there calls wait no longer than their deadline, and whichever comes first takes them.
func TestPoolWithoutInstances(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "a.sock"), filepath.Join(dir, "b.sock"), filepath.Join(dir, "c.sock")}
	var members []*client.Client
	for _, path := range paths {
		members = append(members, dial(t, path, client.Options{Connections: 1}))
	}
	p := client.NewPool(members...)
	t.Cleanup(p.Close)
	began := time.Now()
	if err := head(p, "early", 50*time.Millisecond); !errors.Is(err, client.ErrUnavailable) || time.Since(began) < 50*time.Millisecond {
		t.Errorf("%v after %v, want ErrUnavailable after its deadline", err, time.Since(began))
	}
	if s := p.Snapshot(); s.Connected || s.Health != protocol.HealthUnknown {
		t.Errorf("%+v", s)
	}
	answers := make(chan error, 3)
	for i := range 3 { // one waits on each instance
		go func() { answers <- head(p, fmt.Sprint("waits", i), 10*time.Second) }()
	}
	eventually(t, "three calls wait", func() bool { return p.Snapshot().InFlight == 3 })
	ln, err := net.Listen("unix", paths[1])
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln)
	for range 3 {
		if err := <-answers; err != nil {
			t.Errorf("a call that waited: %v", err)
		}
	}
	if s := p.Snapshot(); !s.Connected || s.Circuit != "closed" || s.Health != protocol.Degraded {
		t.Errorf("one of three is there: %+v", s)
	}
}

// TestPoolPassesOpenCircuitsOver: an instance that keeps failing loses its calls to the others, until a probe succeeds.
func TestPoolPassesOpenCircuitsOver(t *testing.T) {
	t.Parallel()
	all, paths := mortals(t, 2)
	rules := client.Breaker{Failures: 2, Successes: 1, OpenFor: 100 * time.Millisecond, HalfOpen: 1}
	p := pooled(t, client.Options{Limits: client.Limits{Breaker: rules}}, paths...)
	sick := p.Members()[0]
	all[0].hold.Store(true)
	failures := 0
	for i := 0; sick.Snapshot().Circuit != "open"; i++ {
		if err := head(p, fmt.Sprint("sick", i), 20*time.Millisecond); err != nil {
			failures++
		}
		if i > 100 {
			t.Fatal("the circuit never opened")
		}
	}
	if failures < 2 {
		t.Errorf("%d failures opened the circuit", failures)
	}
	if s := p.Snapshot(); s.Circuit != "closed" {
		t.Errorf("the pool's circuit is %s while one instance is well", s.Circuit)
	}
	all[0].hold.Store(false)
	eventually(t, "the circuit closes", func() bool {
		if err := head(p, fmt.Sprint("probe", time.Now().UnixNano()), 5*time.Second); err != nil {
			t.Errorf("while one instance is well: %v", err)
		}
		return sick.Snapshot().Circuit == "closed"
	})
}

// serveOn answers every event that comes to ln with allow.
func serveOn(t *testing.T, ln net.Listener) {
	t.Helper()
	s := agent.NewServer(allow{}, slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
}
