package server_test

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// steadyBackend answers every request, which must come whole, without allocating.
func steadyBackend(t testing.TB) string {
	answer := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Length: 1024\r\n\r\n"), make([]byte, 1024)...)
	return proxytest.RawBackend(t, func(c net.Conn) {
		b := make([]byte, 64<<10)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if !bytes.HasSuffix(b[:n], []byte("\r\n\r\n")) && !bytes.HasSuffix(b[:n], []byte("body")) {
				t.Errorf("request came in pieces: %q", b[:n])
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
}

// A keep-alive request costs no heap allocation: neither in the request path nor in the upstream pool, the metrics and the access log.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	plain := proxytest.ToBackends(steadyBackend(t))
	t.Run("plain", func(t *testing.T) { allocations(t, plain) })
	guarded := proxytest.ToBackends(steadyBackend(t), steadyBackend(t))
	u := &guarded.Upstreams[0]
	u.LoadBalancing = "sticky"
	u.Balancing = config.Balancing{Fallback: "power-of-two-choices", SlowStart: time.Second, PanicThreshold: 50, Cookie: config.StickyCookie{Name: "id", Path: "/", SameSite: "lax"}}
	u.Outliers = &config.Outliers{ConsecutiveErrors: 5, SuccessRateGap: 30, LatencyFactor: 1000, MinRequests: 10, Interval: time.Minute, EjectionTime: time.Minute}
	u.Breaker = &config.Breaker{Failures: 5, Successes: 1, OpenFor: time.Minute, HalfOpen: 1}
	guarded.Routes[0].Retry = config.Retry{
		MaxAttempts: 3, On: []string{"connect", "reset", "timeout"}, StatusCodes: []int{503}, Timeout: time.Minute, IdempotentOnly: true,
		BudgetPercent: 20, BudgetMin: 3, ReplayBuffer: 64 << 10,
	}
	t.Run("guarded", func(t *testing.T) { allocations(t, guarded) })
	hashed := proxytest.ToBackends(steadyBackend(t), steadyBackend(t))
	hashed.Upstreams[0].LoadBalancing = "consistent-hash"
	hashed.Upstreams[0].Balancing = config.Balancing{HashKey: "header:User-Agent", VirtualNodes: 150, LoadFactor: 125}
	t.Run("hashed", func(t *testing.T) { allocations(t, hashed) })
}

func allocations(t *testing.T, cfg config.Config) {
	log := &proxytest.Log{}
	p := proxytest.Proxy(t, cfg, proxytest.Options{AccessLog: log})
	for name, request := range map[string]string{
		"get":  proxytest.Head("GET /some/path?x=1 HTTP/1.1", "Host: test", "User-Agent: x", "Accept: */*", "Accept-Encoding: gzip", "Cookie: a=b"),
		"post": proxytest.Head("POST /some/path HTTP/1.1", "Host: test", "Content-Length: 4") + "body",
	} {
		t.Run(name, func(t *testing.T) {
			c := p.Dial(t)
			out, in := []byte(request), make([]byte, 4096)
			ask := func() {
				if _, err := c.Write(out); err != nil {
					t.Fatal(err)
				}
				for total := 0; ; {
					n, err := c.TCPConn.Read(in[total:])
					if err != nil {
						t.Fatal(err)
					}
					total += n
					if i := bytes.Index(in[:total], []byte("\r\n\r\n")); i >= 0 && total == i+4+1024 {
						return
					}
				}
			}
			requests := 100_000
			if testing.Short() {
				requests = 10_000
			}
			c.SetDeadline(noDeadline)
			for range 1000 {
				ask()
			}
			log.Discard()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range requests {
				ask()
			}
			runtime.ReadMemStats(&after)
			each := float64(after.Mallocs-before.Mallocs) / float64(requests)
			t.Logf("%.4f allocations and %.1f bytes per request", each, float64(after.TotalAlloc-before.TotalAlloc)/float64(requests))
			if each > 0.02 { // the sweeper, the log writer and the clock allocate now and then, not per request
				t.Errorf("%.3f allocations per request", each)
			}
		})
	}
}

// Idle connections hold no buffers and a shallow stack.
func TestIdleMemory(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("the race detector changes the size of everything")
	}
	const n = 2000
	cfg := proxytest.ToBackends(steadyBackend(t))
	cfg.Limits.MaxConnectionsPerClient = n + 10
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	p.Dial(t).Get("/warm-up")
	before := inUse()
	var clients []net.Conn
	for range n {
		c, err := net.Dial("tcp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	buf := make([]byte, 4096)
	for _, c := range clients {
		io.WriteString(c, proxytest.Head("GET /some/path HTTP/1.1", "Host: test", "User-Agent: x"))
		for total := 0; total < 1100; {
			k, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			total += k
		}
	}
	each := (inUse() - before) / n
	t.Logf("%d bytes per connection, both ends", each)
	if each > 8<<10 {
		t.Errorf("%d bytes per idle connection", each)
	}
	runtime.KeepAlive(clients)
}

// inUse is the memory of heap objects and stacks after a collection.
func inUse() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
