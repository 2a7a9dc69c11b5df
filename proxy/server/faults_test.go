package server_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// demand asks for url with each client until stop is called, which waits for them; every answer that is not 200 fails the test.
func demand(t *testing.T, url string, clients []*http.Client) (answered *atomic.Int64, stop func()) {
	answered = new(atomic.Int64)
	var wg sync.WaitGroup
	var over atomic.Bool
	for _, c := range clients {
		wg.Go(func() {
			defer c.CloseIdleConnections()
			for !over.Load() && !t.Failed() {
				if err := ask(c, url); err != nil {
					t.Error(err)
					return
				}
				answered.Add(1)
			}
		})
	}
	return answered, func() {
		over.Store(true)
		wg.Wait()
	}
}

func ask(c *http.Client, url string) error {
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return err
	}
	req.Host = "t"
	r, err := c.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != 200 {
		return fmt.Errorf("answered %s", r.Status)
	}
	return nil
}

// bothVersions are clients of HTTP/1.1 and of HTTP/2.
func bothVersions(t *testing.T, conf *tls.Config) []*http.Client {
	one := func() *http.Client {
		tr := &http.Transport{TLSClientConfig: conf.Clone()}
		return &http.Client{Transport: tr, Timeout: proxytest.Patience}
	}
	return []*http.Client{one(), http2Client(t, conf.Clone()), one(), http2Client(t, conf.Clone())}
}

// restartable is a backend that can be killed with all its connections and started again on its port.
type restartable struct {
	addr   string
	server *httptest.Server
	served atomic.Int64 // since the last start
}

func (r *restartable) start(t *testing.T) {
	t.Helper()
	at := r.addr
	if at == "" {
		at = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	r.served.Store(0)
	r.addr = ln.Addr().String()
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.served.Add(1)
		_, _ = io.WriteString(w, "ok")
	}))
	_ = r.server.Listener.Close()
	r.server.Listener = ln
	r.server.Start()
}

func (r *restartable) kill() {
	_ = r.server.Listener.Close()
	r.server.CloseClientConnections()
	r.server.Close()
}

// Every target is killed and started again, one after the other, twice, under HTTP/1.1 and HTTP/2: no request fails, and each gets work again.
func TestTargetsRestartOneByOne(t *testing.T) {
	t.Parallel()
	var targets [3]restartable
	var addrs []string
	for i := range targets {
		targets[i].start(t)
		defer targets[i].kill()
		addrs = append(addrs, targets[i].addr)
	}
	ca, cfg := secureConfig(t, addrs...)
	cfg.Routes[0].Retry = config.Retry{MaxAttempts: 3, On: []string{"connect", "reset"}, IdempotentOnly: true, BudgetPercent: 50, BudgetMin: 10, BackoffBase: time.Millisecond, BackoffMax: time.Millisecond}
	cfg.Upstreams[0].Breaker = &config.Breaker{Failures: 3, Successes: 1, OpenFor: 50 * time.Millisecond, HalfOpen: 1}
	p := proxytest.Proxy(t, withHTTP2(cfg), proxytest.Options{})
	answered, stop := demand(t, "https://"+p.Addr+"/", bothVersions(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}))
	flow := func(n int64) {
		before := answered.Load()
		proxytest.Eventually(t, "requests flow", func() bool { return answered.Load() > before+n || t.Failed() })
	}
	for range 2 {
		for i := range targets {
			flow(50)
			targets[i].kill()
			flow(100)
			targets[i].start(t)
			proxytest.Eventually(t, "work for the target that is back", func() bool { return targets[i].served.Load() > 10 || t.Failed() })
		}
	}
	stop()
	t.Logf("%d requests", answered.Load())
}

// One of three targets becomes slow: nothing fails, and after the interval in which that shows it gets no more requests, so that the others' latency is the clients' again.
func TestSlowTargetIsLeftOut(t *testing.T) {
	t.Parallel()
	var slow atomic.Bool
	var waited atomic.Int64
	fine := func() bool { return false }
	lazy := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slow.Load() {
			waited.Add(1)
			select {
			case <-time.After(40 * time.Millisecond): // the fault itself
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "ok")
	}))
	cfg := proxytest.ToBackends(fickle(t, "", fine), lazy, fickle(t, "", fine))
	cfg.Upstreams[0].Outliers = &config.Outliers{Interval: 300 * time.Millisecond, MinRequests: 3, LatencyFactor: 3, LatencyFloor: 20 * time.Millisecond, MaxEjected: 50, EjectionTime: time.Hour, MaxEjectionTime: time.Hour}
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	var clients []*http.Client
	for range 4 {
		clients = append(clients, &http.Client{Transport: &http.Transport{}, Timeout: proxytest.Patience})
	}
	answered, stop := demand(t, "http://"+p.Addr+"/", clients)
	proxytest.Eventually(t, "requests flow", func() bool { return answered.Load() > 300 })
	slow.Store(true)
	proxytest.Eventually(t, "the slow target is noticed", func() bool {
		for _, target := range p.Server.Generation().Routes[0].Pool.Snapshot().Targets {
			if target.Address == lazy && target.Status == "ejected" {
				return true
			}
		}
		return false
	})
	had, before := waited.Load(), answered.Load()
	proxytest.Eventually(t, "requests flow", func() bool { return answered.Load() > before+500 || t.Failed() })
	stop()
	if n := waited.Load(); n < 3 || n > had+4 { // at most one of each client was under way to it
		t.Errorf("the slow target got %d requests, %d of them after it was left out", n, n-had)
	}
}

// Certificates are replaced under HTTP/2 as well as HTTP/1.1; see TestSecureRotation.
func TestRotationUnderBothVersions(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(echo)))
	rotate(t, ca, withHTTP2(cfg), 20, bothVersions(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}))
}

// rotate replaces the certificate of a proxy so many times, each time after the clients have got some answers; every answer must be good.
func rotate(t *testing.T, ca *pki.Authority, cfg config.Config, times int, clients []*http.Client) {
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	answered, stop := demand(t, "https://"+p.Addr+"/", clients)
	dir := t.TempDir()
	for range times {
		next := *cfg.Listeners[0].TLS
		next.CertFile, next.KeyFile = ca.Issue(pki.Options{Names: []string{"t"}}).Write(dir, "t")
		cfg.Listeners[0].TLS = &next
		p.Swap(t, cfg)
		before := answered.Load()
		proxytest.Eventually(t, "some requests", func() bool { return answered.Load() > before+8 || t.Failed() })
	}
	stop()
	t.Logf("%d requests", answered.Load())
}
