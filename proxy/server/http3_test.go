package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	quichttp3 "github.com/quic-go/quic-go/http3"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// withHTTP3 is a listener that speaks it.
func withHTTP3(t testing.TB, backends ...string) (*pki.Authority, config.Config) {
	ca, cfg := secureConfig(t, backends...)
	cfg.Listeners[0].HTTP2 = config.HTTP2{ALPN: true}
	cfg.Listeners[0].HTTP3 = config.HTTP3{Enabled: true, ValidateAbove: 64}
	return ca, cfg
}

// http3Client is a client that speaks nothing else.
func http3Client(t *testing.T, conf *tls.Config) *http.Client {
	t.Helper()
	tr := &quichttp3.Transport{TLSClientConfig: conf, DisableCompression: true, QUICConfig: &quic.Config{MaxIdleTimeout: time.Minute}}
	t.Cleanup(func() { tr.Close() })
	return &http.Client{Transport: tr} // a timeout of its own would leave goroutines behind for answers that are left alone
}

func TestHTTP3Request(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Saw", fmt.Sprintf("%s %s %s cookie=%q xff=%q proto=%q", r.Method, r.Host, r.URL, r.Header.Get("Cookie"), r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto")))
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%d bytes, trailer %q", len(body), r.Trailer.Get("X-Client"))
		w.Header().Set("X-Sum", fmt.Sprintf("%x", sha256.Sum256(body)))
	}))
	log := &proxytest.Log{}
	ca, cfg := withHTTP3(t, backend)
	cfg.Limits.MaxBodySize = 16 << 20
	p := proxytest.Proxy(t, cfg, proxytest.Options{AccessLog: log})
	client := http3Client(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	for _, size := range []int{0, 1, 5000, 100_000, 8 << 20} {
		for _, length := range []bool{true, false} {
			body := bytes.Repeat([]byte("b"), size)
			req, _ := http.NewRequest("POST", "https://"+p.Addr+"/a/../b?q=1", bytes.NewReader(body))
			req.Host = "t"
			trailer := ""
			if !length {
				req.ContentLength = -1
				req.Body = io.NopCloser(bytes.NewReader(body))
				req.Trailer = http.Header{"X-Client": {"yes"}}
				trailer = "yes"
			}
			req.AddCookie(&http.Cookie{Name: "a", Value: "1"})
			req.AddCookie(&http.Cookie{Name: "b", Value: "2"})
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(res.Body)
			if want := fmt.Sprintf("%d bytes, trailer %q", size, trailer); err != nil || res.StatusCode != 200 || res.Proto != "HTTP/3.0" || string(answer) != want {
				t.Fatalf("%d bytes: %s %s %q %v, want %q", size, res.Proto, res.Status, answer, err, want)
			}
			if saw, want := res.Header.Get("X-Saw"), `POST t /b?q=1 cookie="a=1; b=2" xff="127.0.0.1" proto="https"`; saw != want {
				t.Errorf("backend saw %s, want %s", saw, want)
			}
			if got, want := res.Trailer.Get("X-Sum"), fmt.Sprintf("%x", sha256.Sum256(body)); got != want {
				t.Errorf("%d bytes: trailer %q, want %q", size, got, want)
			}
		}
	}
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS"} {
		req, _ := http.NewRequest(method, "https://"+p.Addr+"/", nil)
		req.Host = "t"
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
			t.Errorf("%s: %s %v", method, res.Status, err)
		}
	}
	proxytest.Eventually(t, "access log", func() bool { return strings.Contains(log.String(), `"HTTP/3.0"`) })
	var out bytes.Buffer
	p.Metrics.WriteText(&out)
	text := out.String()
	for _, want := range []string{`http3_connections{listener="test"} 1`, `sentinel_open_connections{listener="test"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

// Large answers, many at once, bodies in both directions, clients that leave in the middle.
func TestHTTP3Stress(t *testing.T) {
	t.Parallel()
	ca, cfg := withHTTP3(t, stressBackend(t))
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	client := http3Client(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	manyStreams(t, client, p.Addr, 20, 8<<20)
}

// A client that does not want its answer any more ends the exchange with the backend.
func TestHTTP3Cancel(t *testing.T) {
	t.Parallel()
	begun, gone := make(chan struct{}), make(chan struct{})
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(gone)
	}))
	ca, cfg := withHTTP3(t, backend)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	client := http3Client(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		<-begun
		stop()
	}()
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://"+p.Addr+"/", nil)
	if _, err := client.Do(req); err == nil {
		t.Error("answered")
	}
	select {
	case <-gone:
	case <-time.After(proxytest.Patience):
		t.Error("the backend is still asked")
	}
}

// During a drain requests at work are answered, and clients that come are told to go elsewhere.
func TestHTTP3Drain(t *testing.T) {
	t.Parallel()
	begun, answer := make(chan struct{}), make(chan struct{})
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-answer
		w.Write(bytes.Repeat([]byte("x"), 1<<20))
	}))
	ca, cfg := withHTTP3(t, backend)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	client := http3Client(t, conf)
	type result struct {
		n   int
		err error
	}
	got := make(chan result, 1)
	go func() {
		res, err := client.Get("https://" + p.Addr + "/")
		if err != nil {
			got <- result{0, err}
			return
		}
		b, err := io.ReadAll(res.Body)
		got <- result{len(b), err}
	}()
	<-begun
	p.Server.Drain()
	if _, err := http3Client(t, conf).Get("https://" + p.Addr + "/"); err == nil || !strings.Contains(err.Error(), "CONNECTION_REFUSED") {
		t.Errorf("a new connection: %v", err)
	}
	time.Sleep(3 * time.Second) // the second GOAWAY is out
	close(answer)
	if r := <-got; r.err != nil || r.n != 1<<20 {
		t.Errorf("the request at work: %d bytes, %v", r.n, r.err)
	}
}

// A reload with other certificates and clients: connections that begin from then on see it.
func TestHTTP3Reload(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Who")) }))
	ca, cfg := withHTTP3(t, backend)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	old := http3Client(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	if res, err := old.Get("https://" + p.Addr + "/"); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	} else {
		io.Copy(io.Discard, res.Body)
	}
	people := pki.New("people")
	ca2, next := withHTTP3(t, backend)
	next.Listeners[0].TLS.ClientAuth = "required"
	next.Listeners[0].TLS.CAFile = pki.WriteFile(t.TempDir(), "people.pem", people.PEM())
	next.Listeners[0].TLS.ClientHeaders.Names = "X-Who"
	p.Swap(t, next)
	if res, err := old.Get("https://" + p.Addr + "/"); err != nil || res.StatusCode != 200 {
		t.Error("a connection from before:", err)
	} else {
		io.Copy(io.Discard, res.Body)
	}
	if _, err := http3Client(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}).Get("https://" + p.Addr + "/"); err == nil {
		t.Error("the old certificate is still shown")
	}
	if _, err := http3Client(t, &tls.Config{RootCAs: ca2.Pool(), ServerName: "t"}).Get("https://" + p.Addr + "/"); err == nil {
		t.Error("no client certificate was asked for")
	}
	ann := people.Issue(pki.Options{Names: []string{"ann"}, Client: true})
	res, err := http3Client(t, &tls.Config{RootCAs: ca2.Pool(), ServerName: "t", Certificates: []tls.Certificate{ann.TLS()}}).Get("https://" + p.Addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(res.Body); !strings.Contains(string(b), "ann") {
		t.Errorf("the backend heard of %q", b)
	}
}

// Reloads under load cost no request, on connections that last and on new ones.
func TestHTTP3ReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	}))
	ca, cfg := withHTTP3(t, backend)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}
	end := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 6 {
		client := http3Client(t, conf)
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				c := client
				if i%2 == 0 { // a connection for each
					c = &http.Client{Transport: &quichttp3.Transport{TLSClientConfig: conf}}
				}
				res, err := c.Post("https://"+p.Addr+"/", "text/plain", strings.NewReader(strings.Repeat("z", 10_000)))
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || len(b) != 10_000 {
					t.Errorf("%s, %d bytes, %v", res.Status, len(b), err)
				}
				res.Body.Close()
				if c != client {
					c.Transport.(*quichttp3.Transport).Close()
				}
			}
		})
	}
	for range 50 {
		p.Swap(t, cfg)
		time.Sleep(10 * time.Millisecond) // so that something happens between two
	}
	close(end)
	wg.Wait()
}
