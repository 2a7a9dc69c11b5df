package server_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"runtime"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// A keep-alive request over TLS costs no heap allocation of ours. crypto/tls makes a small reader (24 bytes) each time it looks for a record: that is twice here,
// for the request and to find that nothing more has come, and once in the client of this test.
func TestSecureAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	ca, cfg := secureConfig(t, steadyBackend(t))
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	c := dialSecure(t, p, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	_ = c.SetDeadline(noDeadline)
	out, in := []byte(proxytest.Head("GET /some/path?x=1 HTTP/1.1", "Host: t", "User-Agent: x", "Accept: */*", "Cookie: a=b")), make([]byte, 4096)
	ask := func() {
		if _, err := c.Conn.Write(out); err != nil {
			t.Fatal(err)
		}
		for total := 0; ; {
			n, err := c.Conn.Read(in[total:])
			if err != nil {
				t.Fatal(err)
			}
			total += n
			if i := bytes.Index(in[:total], []byte("\r\n\r\n")); i >= 0 && total == i+4+1024 {
				return
			}
		}
	}
	requests := 50_000
	if testing.Short() {
		requests = 5_000
	}
	for range 1000 {
		ask()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range requests {
		ask()
	}
	runtime.ReadMemStats(&after)
	each := float64(after.Mallocs-before.Mallocs) / float64(requests)
	t.Logf("%.4f allocations and %.1f bytes per request", each, float64(after.TotalAlloc-before.TotalAlloc)/float64(requests))
	if each > 3.05 {
		t.Errorf("%.3f allocations per request", each)
	}
}

// An idle TLS connection holds what crypto/tls keeps, and no buffer of ours.
func TestSecureIdleMemory(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("the race detector changes the size of everything")
	}
	const n = 1000
	ca, cfg := secureConfig(t, steadyBackend(t))
	cfg.Limits.MaxConnectionsPerClient = n + 10
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	dialSecure(t, p, conf).get("/warm-up")
	before := inUse()
	var clients []*tls.Conn
	buf := make([]byte, 4096)
	for range n {
		c, err := tls.Dial("tcp", p.Addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
		io.WriteString(c, proxytest.Head("GET /some/path HTTP/1.1", "Host: t", "User-Agent: x"))
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
	if each > 60<<10 {
		t.Errorf("%d bytes per idle connection", each)
	}
	runtime.KeepAlive(clients)
}
