package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// bodyEnd ends every body here, chunked or not, so that both sides know the end when they see it.
const bodyEnd = "0\r\n\r\n"

// lastChunk looks for bodyEnd in a stream that comes in pieces.
type lastChunk struct{ tail [len(bodyEnd)]byte }

func (l *lastChunk) seen(piece []byte) bool {
	if k := len(l.tail) - len(piece); k > 0 {
		copy(l.tail[:k], l.tail[len(piece):])
		copy(l.tail[k:], piece)
	} else {
		copy(l.tail[:], piece[len(piece)-len(l.tail):])
	}
	return string(l.tail[:]) == bodyEnd
}

// bodyBackend takes and gives bodies without keeping or allocating them: "/take" answers when N bytes or the last chunk have come, "/give" sends N bytes.
func bodyBackend(t *testing.T) string {
	piece := bytes.Repeat([]byte("x"), 64<<10)
	chunk := append(append([]byte("10000\r\n"), piece...), "\r\n"...)
	return proxytest.RawBackend(t, func(c net.Conn) {
		b := make([]byte, 64<<10)
		for {
			have := 0
			for !bytes.Contains(b[:have], []byte("\r\n\r\n")) {
				n, err := c.Read(b[have:])
				if err != nil {
					return
				}
				have += n
			}
			var method, what string
			var size int
			fmt.Sscanf(string(bytes.ReplaceAll(b[:64], []byte("/"), []byte(" "))), "%s %s %d", &method, &what, &size)
			switch what {
			case "take":
				left := size - (have - bytes.Index(b[:have], []byte("\r\n\r\n")) - 4)
				for left > 0 {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					left -= n
				}
			case "take-chunks":
				var end lastChunk
				for n := have; !end.seen(b[:n]); {
					var err error
					if n, err = c.Read(b); err != nil {
						return
					}
				}
			case "give":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size+len(bodyEnd))
				for ; size > 0; size -= len(piece) {
					c.Write(piece)
				}
				io.WriteString(c, bodyEnd)
				continue
			case "give-chunks":
				io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				for ; size > 0; size -= len(piece) {
					c.Write(chunk)
				}
				io.WriteString(c, bodyEnd)
				continue
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(bodyEnd), bodyEnd)
		}
	})
}

// Bodies stream: sixteen times the bytes allocate no more. Allocations are counted over the whole process, so the test runs alone.
func TestMemoryDoesNotGrowWithBodies(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const small, large, room = 4 << 20, 64 << 20, 1 << 20
	cfg := proxytest.ToBackends(bodyBackend(t))
	cfg.Limits.MaxBodySize = large
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	piece := bytes.Repeat([]byte("x"), 64<<10)
	chunk := append(append([]byte("10000\r\n"), piece...), "\r\n"...)
	in := make([]byte, 64<<10)
	for _, what := range []string{"take", "take-chunks", "give", "give-chunks"} {
		c := p.Dial(t)
		c.SetDeadline(noDeadline)
		run := func(size int) {
			head, body, end := proxytest.Head(fmt.Sprintf("GET /%s/%d HTTP/1.1", what, size), "Host: t"), []byte(nil), ""
			switch what {
			case "take":
				head, body = proxytest.Head(fmt.Sprintf("POST /%s/%d HTTP/1.1", what, size), "Host: t", fmt.Sprint("Content-Length: ", size)), piece
			case "take-chunks":
				head, body, end = proxytest.Head(fmt.Sprintf("POST /%s/%d HTTP/1.1", what, size), "Host: t", "Transfer-Encoding: chunked"), chunk, bodyEnd
			}
			c.Send(head)
			for left := size; body != nil && left > 0; left -= len(piece) {
				if _, err := c.Write(body); err != nil {
					t.Fatal(what, err)
				}
			}
			c.Send(end)
			got, final := 0, lastChunk{}
			for over := false; !over; {
				n, err := c.TCPConn.Read(in)
				if err != nil {
					t.Fatal(what, err)
				}
				got += n
				over = final.seen(in[:n]) && (body != nil || got > size)
			}
		}
		run(small) // buffers come into the pools
		cost := func(size int) int64 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			run(size)
			runtime.ReadMemStats(&after)
			return int64(after.TotalAlloc - before.TotalAlloc)
		}
		few, many := cost(small), cost(large)
		t.Logf("%s: %d bytes allocated for %d MiB, %d for %d", what, few, small>>20, many, large>>20)
		if many > few+room {
			t.Errorf("%s: memory grows with the body: %d bytes for %d MiB, %d for %d", what, few, small>>20, many, large>>20)
		}
	}
}

// What serving a request took is given back when many connections fall silent, although they make no garbage that would call the collector.
// Stacks are counted over the whole process, so the test runs alone.
func TestBurstOfConnectionsIsSettled(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs larger stacks")
	}
	const n, most = 1500, 5 << 10
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the collector that other garbage calls must not help
	cfg := proxytest.ToBackends(proxytest.Backend(t, http.NotFoundHandler()))
	cfg.Limits.MaxTotalConnections, cfg.Limits.MaxConnectionsPerClient = 2*n, 2*n
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	stacks := func() int {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.StackInuse)
	}
	before := stacks()
	for range n {
		if res, _ := p.Dial(t).Get("/"); res.StatusCode != 404 {
			t.Fatal(res.Status)
		}
	}
	t.Logf("%d bytes of stack for each connection after its request", (stacks()-before)/n)
	proxytest.Eventually(t, "at most 5 KiB of stack for each connection", func() bool { return (stacks()-before)/n <= most })
	t.Logf("%d after settling", (stacks()-before)/n)
}
