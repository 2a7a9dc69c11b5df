package server_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// Bodies long enough for splice arrive whole however they come, and their faults are faults for the client too.
func TestLongBodies(t *testing.T) {
	t.Parallel()
	const size = 3<<20 + 7
	body := make([]byte, size)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range body {
		body[i] = byte(rng.Uint32())
	}
	addr := proxytest.RawBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			switch req.URL.Path {
			case "/cut":
				c.Write(body[:2<<20])
				return
			case "/stop":
				c.Write(body[:2<<20])
				io.Copy(io.Discard, c)
				return
			case "/extra":
				c.Write(body)
				c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"))
			case "/pieces":
				for rest := body; len(rest) > 0; {
					n := min(len(rest), 100_001)
					c.Write(rest[:n])
					rest = rest[n:]
					time.Sleep(time.Millisecond)
				}
			default:
				c.Write(body)
			}
		}
	})
	cfg := proxytest.ToBackends(addr)
	cfg.Upstreams[0].Timeouts.Read = time.Second
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	for _, path := range []string{"/plain", "/pieces", "/extra"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c := p.Dial(t)
			for range 3 {
				if r, got := c.Get(path); r.StatusCode != 200 || !bytes.Equal([]byte(got), body) {
					t.Fatal(r, len(got))
				}
			}
			if strings.HasPrefix(path, "/extra") {
				if r, got := c.Get("/plain"); r.StatusCode != 200 || len(got) != size {
					t.Fatal(r, len(got))
				}
			}
		})
	}
	for _, path := range []string{"/cut", "/stop"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c := p.Dial(t)
			c.Send(proxytest.Head("GET "+path+" HTTP/1.1", "Host: t"))
			r, err := http.ReadResponse(c.R, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r.Body); err == nil || len(got) != 2<<20 {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		})
	}
	t.Run("slow reader", func(t *testing.T) {
		t.Parallel()
		c := p.Dial(t)
		c.SetReadBuffer(128 << 10)
		c.Send(proxytest.Head("GET /plain HTTP/1.1", "Host: t"))
		time.Sleep(300 * time.Millisecond)
		if r, got := c.Answer("GET"); r.StatusCode != 200 || !bytes.Equal([]byte(got), body) {
			t.Fatal(r, len(got))
		}
	})
	t.Run("client leaves", func(t *testing.T) {
		t.Parallel()
		c := p.Dial(t)
		c.Send(proxytest.Head("GET /plain HTTP/1.1", "Host: t"))
		c.R.Peek(1000)
		c.Close()
	})
	t.Cleanup(func() {
		proxytest.Eventually(t, "no connection left", func() bool { return p.Server.InFlight() == 0 })
	})
}
