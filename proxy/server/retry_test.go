package server_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// patient is a retry policy that repeats whatever it may, at once.
func patient() config.Retry {
	return config.Retry{
		MaxAttempts: 3, On: []string{"connect", "reset", "timeout"}, StatusCodes: []int{503}, IdempotentOnly: true,
		BudgetPercent: 100, BudgetMin: 100, ReplayBuffer: 64 << 10,
	}
}

// fickle is a backend that reads each request whole and then, as long as moody says so, gives the answer of fail, or none and a reset. Otherwise it answers with the hash of the body and its trailer.
func fickle(t *testing.T, fail string, moody func() bool) string {
	t.Helper()
	return proxytest.RawBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			sum := sha256.New()
			if _, err := io.Copy(sum, req.Body); err != nil {
				return
			}
			if moody() {
				if fail == "" {
					_ = c.(*net.TCPConn).SetLinger(0)
					return
				}
				if _, err := io.WriteString(c, fail); err != nil {
					return
				}
				continue
			}
			body := hex.EncodeToString(sum.Sum(nil)) + req.Trailer.Get("X-Sum")
			if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
				return
			}
		}
	})
}

// everySecond says yes and no in turn.
func everySecond() func() bool {
	var n atomic.Int64
	return func() bool { return n.Add(1)%2 == 1 }
}

const unavailable = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nsorry"

// A body that was streamed is sent again byte for byte, with its framing and trailers, after the first attempt was reset or answered 503.
func TestStreamedBodiesAreReplayed(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]string{"reset": "", "status": unavailable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := proxytest.ToBackends(fickle(t, fail, everySecond()))
			cfg.Routes[0].Retry = patient()
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			c := p.Dial(t)
			for _, size := range []int{1, 5000, 20_000, 60_000} {
				body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
				sum := sha256.Sum256([]byte(body))
				want := hex.EncodeToString(sum[:])
				c.Send(proxytest.Head("PUT / HTTP/1.1", "Host: t", fmt.Sprintf("Content-Length: %d", size)), body)
				if r, got := c.Answer("PUT"); r.StatusCode != 200 || got != want {
					t.Fatalf("%d bytes: %v %q", size, r.Status, got)
				}
				c.Send(proxytest.Head("PUT / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked", "Trailer: X-Sum"))
				for rest := body; rest != ""; {
					n := min(len(rest), 3000)
					c.Send(fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n]))
					rest = rest[n:]
				}
				c.Send("0\r\nX-Sum: fine\r\n\r\n")
				if r, got := c.Answer("PUT"); r.StatusCode != 200 || got != want+"fine" {
					t.Fatalf("%d bytes in chunks: %v %q", size, r.Status, got)
				}
			}
		})
	}
}

// What does not fit the buffer, may not be done twice, or is answered before it was sent, is not repeated.
func TestWhatIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		request string
		status  int
	}{
		"POST":           {proxytest.Head("POST / HTTP/1.1", "Host: t", "Content-Length: 4") + "body", 503},
		"long body":      {proxytest.Head("PUT / HTTP/1.1", "Host: t", "Content-Length: 70000") + strings.Repeat("x", 70_000), 503},
		"POST in chunks": {proxytest.Head("POST / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + "4\r\nbody\r\n0\r\n\r\n", 503},
		"twin":           {proxytest.Head("PUT / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + "4\r\nbody\r\n0\r\n\r\n", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := proxytest.ToBackends(fickle(t, unavailable, everySecond()))
			cfg.Routes[0].Retry = patient()
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			c := p.Dial(t)
			c.Send(tt.request)
			if r, body := c.Answer("PUT"); r.StatusCode != tt.status || tt.status == 503 && body != "sorry" {
				t.Errorf("%s %q", r.Status, body)
			}
		})
	}
}

// An answer that comes while the client is still sending is passed on: the rest of the body could not be sent again.
func TestEarlyAnswerIsNotRepeated(t *testing.T) {
	t.Parallel()
	cfg := proxytest.ToBackends(proxytest.RawBackend(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, unavailable)
			_, _ = io.Copy(io.Discard, c)
		}
	}))
	cfg.Routes[0].Retry = patient()
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	c := p.Dial(t)
	c.Send(proxytest.Head("PUT / HTTP/1.1", "Host: t", "Content-Length: 30000"), strings.Repeat("x", 100))
	if r, body := c.Answer("PUT"); r.StatusCode != 503 || body != "sorry" {
		t.Errorf("%s %q", r.Status, body)
	}
}

// The last answer is passed on as it came, and the one that was dismissed leaves nothing behind.
func TestLastAnswerIsPassedOn(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	cfg := proxytest.ToBackends(fickle(t, unavailable, func() bool { asked.Add(1); return true }))
	cfg.Routes[0].Retry = patient()
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	c := p.Dial(t)
	for i := range 3 {
		if r, body := c.Get("/"); r.StatusCode != 503 || body != "sorry" || asked.Load() != int64(3*i+3) {
			t.Errorf("%s %q after %d attempts", r.Status, body, asked.Load())
		}
	}
}

// A wait that would be longer than what is left of the exchange is not begun: the failure is answered at once.
func TestBackoffEndsWithTheExchange(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	cfg := proxytest.ToBackends(fickle(t, "", func() bool { asked.Add(1); return true }))
	cfg.Routes[0].Retry = patient()
	cfg.Routes[0].Retry.BackoffBase, cfg.Routes[0].Retry.BackoffMax = 1000*time.Hour, 1000*time.Hour
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	if r, _ := p.Dial(t).Get("/"); r.StatusCode != 502 || asked.Load() != 1 {
		t.Errorf("%s after %d attempts", r.Status, asked.Load())
	}
}

// A client that leaves while its request waits for the next attempt takes the request with it.
func TestClientLeavesDuringBackoff(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	cfg := proxytest.ToBackends(fickle(t, "", func() bool { asked.Add(1); return true }))
	cfg.Routes[0].Retry = patient()
	cfg.Routes[0].Retry.BackoffBase, cfg.Routes[0].Retry.BackoffMax = 100*time.Hour, 100*time.Hour
	cfg.Upstreams[0].Timeouts.Request = 1000 * time.Hour
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	c := p.Dial(t)
	c.Send(proxytest.Head("GET / HTTP/1.1", "Host: t"))
	proxytest.Eventually(t, "the first attempt", func() bool { return asked.Load() == 1 })
	_ = c.SetLinger(0)
	_ = c.Close()
	proxytest.Eventually(t, "the exchange ends", func() bool { return p.Server.InFlight() == 0 && p.Server.Connections() == 0 })
	if n := asked.Load(); n != 1 {
		t.Errorf("%d attempts", n)
	}
}

// Many exchanges fail and are repeated at once: every one is answered, and every place in the budget is given back.
func TestRetriesUnderConcurrency(t *testing.T) {
	t.Parallel()
	cfg := proxytest.ToBackends(fickle(t, "", everySecond()), fickle(t, unavailable, everySecond()))
	cfg.Upstreams = append(cfg.Upstreams, proxytest.ToBackends(fickle(t, "", func() bool { return false })).Upstreams[0])
	cfg.Upstreams[1].ID = "other"
	cfg.Routes[0].Retry = patient()
	cfg.Routes[0].Retry.BackoffBase, cfg.Routes[0].Retry.BackoffMax = time.Millisecond, 2*time.Millisecond
	cfg.Routes[0].Retry.BudgetPercent, cfg.Routes[0].Retry.BudgetMin = 0, 4
	cfg.Routes[0].Fallback = &config.Fallback{Upstream: "other", OnHealth: true, OnConnection: true, OnStatus: []int{503}}
	cfg.Upstreams[0].Breaker = &config.Breaker{Failures: 5, Successes: 1, OpenFor: 5 * time.Millisecond, HalfOpen: 2}
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	done := make(chan error, 8)
	for range 8 {
		c := p.Dial(t)
		go func() {
			for i := range 100 {
				request := proxytest.Head("PUT / HTTP/1.1", "Host: t", "Transfer-Encoding: chunked") + "4\r\nbody\r\n0\r\n\r\n"
				if i%2 == 0 {
					request = proxytest.Head("GET / HTTP/1.1", "Host: t")
				}
				if _, err := io.WriteString(c.TCPConn, request); err != nil {
					done <- err
					return
				}
				r, err := http.ReadResponse(c.R, nil)
				if err != nil {
					done <- err
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if r.StatusCode != 200 {
					done <- fmt.Errorf("request %d: %s", i, r.Status)
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// One of three targets dies under load with the default policy: no request that may be repeated is lost.
func TestNoRequestIsLostWhenATargetDies(t *testing.T) {
	t.Parallel()
	fine := func() bool { return false }
	dying := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	dying.Start()
	defer dying.Close()
	cfg := proxytest.ToBackends(fickle(t, "", fine), dying.Listener.Addr().String(), fickle(t, "", fine))
	cfg.Routes[0].Retry = config.Retry{MaxAttempts: 3, On: []string{"connect", "reset"}, IdempotentOnly: true, BudgetPercent: 50, BudgetMin: 10, BackoffBase: time.Millisecond, BackoffMax: time.Millisecond}
	cfg.Upstreams[0].Breaker = &config.Breaker{Failures: 3, Successes: 1, OpenFor: time.Minute, HalfOpen: 1}
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	done := make(chan error, 8)
	var served atomic.Int64
	dead := make(chan struct{})
	for range 8 {
		c := p.Dial(t)
		go func() {
			for after := 0; after < 50; {
				if _, err := io.WriteString(c.TCPConn, proxytest.Head("GET / HTTP/1.1", "Host: t")); err != nil {
					done <- err
					return
				}
				r, err := http.ReadResponse(c.R, nil)
				if err != nil {
					done <- err
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if r.StatusCode != 200 {
					done <- fmt.Errorf("%s", r.Status)
					return
				}
				served.Add(1)
				select {
				case <-dead:
					after++
				default:
				}
			}
			done <- nil
		}()
	}
	proxytest.Eventually(t, "requests flow", func() bool { return served.Load() > 200 })
	dying.CloseClientConnections()
	_ = dying.Listener.Close()
	close(dead)
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// One of three targets takes requests and never answers: with a time per attempt and outlier detection no request is lost, and it soon gets none.
func TestBlackHoleIsLeftOut(t *testing.T) {
	t.Parallel()
	fine := func() bool { return false }
	var swallowed atomic.Int64
	hole := proxytest.RawBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			swallowed.Add(1)
		}
	})
	cfg := proxytest.ToBackends(fickle(t, "", fine), hole, fickle(t, "", fine))
	cfg.Routes[0].Retry = patient()
	cfg.Routes[0].Retry.Timeout = time.Second
	cfg.Upstreams[0].Outliers = &config.Outliers{ConsecutiveErrors: 2, MaxEjected: 50, Interval: time.Hour, EjectionTime: time.Hour, MaxEjectionTime: time.Hour}
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	done := make(chan error, 4)
	for range 4 {
		c := p.Dial(t)
		go func() {
			for range 100 {
				if _, err := io.WriteString(c.TCPConn, proxytest.Head("GET / HTTP/1.1", "Host: t")); err != nil {
					done <- err
					return
				}
				r, err := http.ReadResponse(c.R, nil)
				if err == nil && r.StatusCode != 200 {
					err = errors.New(r.Status)
				}
				if err != nil {
					done <- err
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := swallowed.Load(); n < 2 || n > 2+3 { // two that count, and at most one of each other client under way beside the second
		t.Errorf("the black hole got %d requests", n)
	}
}
