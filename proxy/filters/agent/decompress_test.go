package agent_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// dial opens a connection that the test may end when it likes.
func dial(t *testing.T, p *proxytest.Instance) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(proxytest.Patience))
	return c
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// inspector is an agent that decompresses as the file's defaults say, and what it was shown of the last body.
func inspector(t *testing.T) (config.Agent, func() []byte) {
	t.Helper()
	var mu sync.Mutex
	var seen []byte
	a := defaults("inspector", serve(t, &scripted{body: func(c *protocol.BodyChunk) protocol.Verdict {
		mu.Lock()
		defer mu.Unlock()
		if c.Index == 0 {
			seen = nil
		}
		seen = append(seen, c.Data...)
		return protocol.Allow()
	}}), "request_body")
	a.Decompress = config.Decompress{Enabled: true, MaxRatio: 100}
	return a, func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

// Ten gibibytes of zeros in ten megabytes of gzip, sent as they come: they are refused when the first of them have been seen, and the agent is shown no more than
// what no body is measured for.
func TestBomb(t *testing.T) {
	t.Parallel()
	a, seen := inspector(t)
	a.MaxRequestBody = 1 << 40
	p, _, _ := proxy(t, config.FailClosed, a)
	member := gzipped(t, make([]byte, 1<<20))
	c := dial(t, p)
	_, _ = io.WriteString(c, proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Encoding: gzip", "Transfer-Encoding: chunked"))
	sent := make(chan int, 1)
	go func() {
		n := 0
		for ; n < 10<<10; n++ {
			if _, err := fmt.Fprintf(c, "%x\r\n%s\r\n", len(member), member); err != nil {
				break
			}
		}
		sent <- n
	}()
	if res, _ := proxytest.ReadAnswer(t, bufio.NewReader(c), "POST"); res.StatusCode != 413 {
		t.Errorf("answer %s", res.Status)
	}
	_ = c.Close()
	if n := <-sent; n == 10<<10 {
		t.Error("the whole bomb was taken")
	}
	if n := len(seen()); n > 256<<10 {
		t.Errorf("the agent was shown %d bytes", n)
	}
}

// The twin: a long body of honest text in gzip, in many pieces. The agent reads all of it, and the upstream gets the very bytes.
func TestHonestGzip(t *testing.T) {
	t.Parallel()
	a, seen := inspector(t)
	p, _, _ := proxy(t, config.FailClosed, a)
	r := rand.New(rand.NewPCG(1, 2))
	var text []byte
	for len(text) < 900_000 {
		text = strconv.AppendUint(append(text, ", a number: "...), r.Uint64(), 10)
	}
	body := gzipped(t, text)
	c := p.Dial(t)
	go c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Encoding: gzip", "Content-Length: "+strconv.Itoa(len(body))), string(body))
	if res, got := c.Answer("POST"); res.StatusCode != 200 || got != "POST / "+string(body) {
		t.Errorf("answer %s, %d bytes", res.Status, len(got))
	}
	if !bytes.Equal(seen(), text) {
		t.Errorf("the agent was shown %d bytes of %d", len(seen()), len(text))
	}
}

// A client that goes away in the middle of an encoded body leaves its decoder to the next one.
func TestAbortedGzipFreesItsDecoder(t *testing.T) {
	t.Parallel()
	a, seen := inspector(t)
	p, _, _ := proxy(t, config.FailClosed, a)
	noise := make([]byte, 500_000)
	chacha := rand.NewChaCha8([32]byte{2})
	_, _ = chacha.Read(noise)
	body := gzipped(t, noise)
	for range 800 { // more than the memory for decoders holds at a time
		c := dial(t, p)
		_, _ = io.WriteString(c, proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Encoding: gzip", "Content-Length: "+strconv.Itoa(len(body)))+string(body[:20_000]))
		_ = c.Close()
	}
	proxytest.Eventually(t, "a body is inspected again", func() bool {
		c := p.Dial(t)
		whole := gzipped(t, []byte("hello"))
		c.Send(proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Encoding: gzip", "Content-Length: "+strconv.Itoa(len(whole))), string(whole))
		res, _ := c.Answer("POST")
		return res.StatusCode == 200 && string(seen()) == "hello"
	})
}
