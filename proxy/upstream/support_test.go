package upstream

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a TCP server that keeps every connection it accepts.
type backend struct {
	ln       net.Listener
	addr     string
	accepted atomic.Int64
	conns    chan net.Conn
	closed   chan struct{} // one value per connection that the other side closed
	wg       sync.WaitGroup
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{ln: ln, addr: ln.Addr().String(), conns: make(chan net.Conn, 10_000), closed: make(chan struct{}, 10_000)}
	b.wg.Go(b.accept)
	t.Cleanup(b.stop)
	return b
}

func (b *backend) accept() {
	for {
		c, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.accepted.Add(1)
		b.conns <- c
		b.wg.Go(func() {
			var buf [512]byte
			for {
				n, err := c.Read(buf[:])
				if err != nil {
					break
				}
				c.Write(buf[:n])
			}
			c.Close()
			b.closed <- struct{}{}
		})
	}
}

func (b *backend) stop() {
	b.ln.Close()
	for {
		select {
		case c := <-b.conns:
			c.Close()
			continue
		default:
		}
		break
	}
	b.wg.Wait()
}

// conn is the server's end of the next connection.
func (b *backend) conn(t *testing.T) net.Conn {
	t.Helper()
	select {
	case c := <-b.conns:
		t.Cleanup(func() { c.Close() })
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("no connection arrived")
		return nil
	}
}

func (b *backend) waitClosed(t *testing.T) {
	t.Helper()
	select {
	case <-b.closed:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection was not closed")
	}
}

func testDeps() Deps {
	return Deps{Metrics: observe.NewMetrics("test", nil), Logger: slog.New(slog.DiscardHandler)}
}

// upstreamConfig is an upstream with plain, ample settings.
func upstreamConfig(addrs ...string) config.Upstream {
	u := config.Upstream{
		ID: "web", LoadBalancing: "round-robin",
		Timeouts: config.UpstreamTimeouts{Connect: 5 * time.Second},
		Pool:     config.ConnectionPool{MaxConnections: 100, MaxIdle: 50, IdleTimeout: time.Minute},
	}
	for _, a := range addrs {
		u.Targets = append(u.Targets, config.Target{Address: a, Weight: 1})
	}
	return u
}

func newTestPool(t *testing.T, cfg config.Upstream, deps Deps) *Pool {
	t.Helper()
	p, err := NewPool(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func mustPick(t *testing.T, p *Pool) *Target {
	t.Helper()
	tg, err := p.Pick(nil)
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

func mustAcquire(t *testing.T, tg *Target, wantReused bool) *Conn {
	t.Helper()
	c, reused, err := tg.Acquire(time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if reused != wantReused {
		t.Fatalf("reused is %v, want %v", reused, wantReused)
	}
	return c
}

// eventually polls until the condition holds; it is for states that another goroutine reaches on its own.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("never true: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func wantFailure(t *testing.T, err error, kind observe.Failure) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got %v, want an Error of kind %s", err, kind)
	}
}

// names is a Resolver with an answer that can be changed.
type names struct {
	mu    sync.Mutex // guards the rest
	addrs []netip.Addr
	err   error
	asked int
}

func (n *names) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	return n.addrs, n.err
}

func (n *names) set(err error, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs, n.err = nil, err
	for _, a := range addrs {
		n.addrs = append(n.addrs, netip.MustParseAddr(a))
	}
}

func (n *names) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}
