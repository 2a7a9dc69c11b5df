package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// Many clients with bodies of every size and framing, pipelining, aborts at random moments, and backends that drop connections: whoever gets an answer gets
// the right one, and nothing is left behind.
func TestStress(t *testing.T) {
	t.Parallel()
	cfg := proxytest.ToBackends(stressBackend(t))
	stress(t, cfg, func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) })
}

// The same with TLS on the clients' side.
func TestStressSecure(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, stressBackend(t))
	stress(t, cfg, func(addr string) (net.Conn, error) {
		return tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	})
}

func stressBackend(t *testing.T) string { return proxytest.Backend(t, stressHandler()) }

func stressHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		if r.URL.Query().Has("drop") {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
		w.Header().Set("X-Size", strconv.FormatInt(n, 10))
		if r.URL.Query().Has("length") {
			w.Header().Set("Content-Length", strconv.Itoa(size))
		}
		for ; size > 0; size -= 5000 {
			w.Write(bytes.Repeat([]byte(r.URL.Query().Get("char")), min(size, 5000)))
		}
	})
}

func stress(t *testing.T, cfg config.Config, dial func(addr string) (net.Conn, error)) {
	t.Helper()
	cfg.Upstreams[0].Targets = append(cfg.Upstreams[0].Targets, cfg.Upstreams[0].Targets[0])
	cfg.Upstreams[0].Pool.MaxIdle = 5
	cfg.Limits.MaxConnectionsPerClient = 1000 // connections that linger after an abort count as well
	p := proxytest.Proxy(t, cfg, proxytest.Options{AccessLog: &proxytest.Log{}})
	span := 4 * time.Second
	if testing.Short() {
		span = time.Second
	}
	end := time.Now().Add(span)
	var wg sync.WaitGroup
	for i := range 16 {
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		wg.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				if err := stressConn(p.Addr, dial, rng, end); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	proxytest.Eventually(t, "nothing left", func() bool { return p.Server.Connections() == 0 && p.Server.InFlight() == 0 })
	snapshot := p.Server.Generation().Routes[0].Pool.Snapshot()
	for _, target := range snapshot.Targets {
		if target.Active != 0 {
			t.Errorf("%d exchanges are still counted on %s", target.Active, target.Address)
		}
	}
}

// stressConn makes some requests on one connection; it returns an error when an answer is wrong.
func stressConn(addr string, dial func(string) (net.Conn, error), rng *rand.Rand, end time.Time) error {
	nc, err := dial(addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(end.Add(proxytest.Patience))
	r := bufio.NewReader(nc)
	for range 1 + rng.IntN(8) {
		sizes := []int{0, 1, 100, 5000, 16000, 17000, 70000, 400000}
		up, down := sizes[rng.IntN(len(sizes))], sizes[rng.IntN(len(sizes))]
		body := make([]byte, up)
		for i := range body {
			body[i] = byte(rng.Uint32())
		}
		method, drop := "POST", rng.IntN(20) == 0
		if rng.IntN(2) == 0 {
			method = "PUT"
		}
		char := string(rune('a' + rng.IntN(26)))
		target := fmt.Sprintf("/?size=%d&char=%s", down, char)
		if rng.IntN(2) == 0 {
			target += "&length"
		}
		if drop {
			target += "&drop"
		}
		var msg bytes.Buffer
		fmt.Fprintf(&msg, "%s %s HTTP/1.1\r\nHost: t\r\n", method, target)
		if rng.IntN(2) == 0 {
			fmt.Fprintf(&msg, "Content-Length: %d\r\n\r\n%s", up, body)
		} else {
			msg.WriteString("Transfer-Encoding: chunked\r\n\r\n")
			for rest := body; len(rest) > 0; {
				n := min(len(rest), 1+rng.IntN(30000))
				fmt.Fprintf(&msg, "%x\r\n%s\r\n", n, rest[:n])
				rest = rest[n:]
			}
			msg.WriteString("0\r\n\r\n")
		}
		if rng.IntN(10) == 0 { // leave in the middle
			_, _ = nc.Write(msg.Bytes()[:rng.IntN(msg.Len())])
			return nil
		}
		written, piece := make(chan error, 1), 1+rng.IntN(50000)
		go func() {
			for b := msg.Bytes(); len(b) > 0; {
				n := min(len(b), piece)
				if _, err := nc.Write(b[:n]); err != nil {
					written <- err
					return
				}
				b = b[n:]
			}
			written <- nil
		}()
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return fmt.Errorf("%s %s with %d bytes: %v", method, target, up, err)
		}
		if rng.IntN(10) == 0 {
			nc.Close()
			<-written
			return nil
		}
		got, err := io.ReadAll(res.Body)
		werr := <-written
		switch {
		case drop:
			if res.StatusCode != 502 {
				return fmt.Errorf("dropped request got %s", res.Status)
			}
		case err != nil || werr != nil || res.StatusCode != 200:
			return fmt.Errorf("%s %s with %d bytes: %s %v %v", method, target, up, res.Status, err, werr)
		case res.Header.Get("X-Sum") != fmt.Sprintf("%x", sha256.Sum256(body)):
			return fmt.Errorf("%s %s: the backend got another body: %s bytes instead of %d", method, target, res.Header.Get("X-Size"), up)
		case !bytes.Equal(got, bytes.Repeat([]byte(char), down)):
			return fmt.Errorf("%s %s: wrong answer of %d bytes", method, target, len(got))
		}
		if res.Close {
			return nil
		}
	}
	return nil
}

// manyStreams makes 32 times as many requests as rounds, as many at once on the client's connection as it likes, with bodies in both directions; some it gives up in the middle. The
// first asks for large bytes, unless that is 0.
func manyStreams(t *testing.T, client *http.Client, addr string, rounds, large int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 32 {
		rng := rand.New(rand.NewPCG(uint64(i), 3))
		wg.Go(func() {
			for round := range rounds {
				size, send := []int{0, 1, 5000, 70_000, 400_000}[rng.IntN(5)], make([]byte, []int{0, 10, 20_000, 300_000}[rng.IntN(4)])
				if i == 0 && round == 0 && large > 0 {
					size = large
				}
				url := fmt.Sprintf("https://%s/?size=%d&char=%c", addr, size, 'a'+rune(i%26))
				if rng.IntN(2) == 0 {
					url += "&length"
				}
				cancel := rng.IntN(8) == 0
				ctx, stop := context.WithCancel(context.Background())
				req, _ := http.NewRequestWithContext(ctx, "POST", url, bytes.NewReader(send))
				res, err := client.Do(req)
				if err != nil {
					t.Error(err)
					stop()
					return
				}
				if cancel {
					io.CopyN(io.Discard, res.Body, int64(size/2))
					stop()
					res.Body.Close()
					continue
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				stop()
				if err != nil || res.StatusCode != 200 || !bytes.Equal(got, bytes.Repeat([]byte{byte('a' + i%26)}, size)) && size%5000 == 0 {
					t.Errorf("%s: %s, %d bytes, %v", url, res.Status, len(got), err)
				}
				if res.Header.Get("X-Sum") != fmt.Sprintf("%x", sha256.Sum256(send)) {
					t.Error("another body arrived")
				}
			}
		})
	}
	wg.Wait()
}
