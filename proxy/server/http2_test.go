package server_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// withHTTP2 lets clients of the only listener begin with HTTP/2, or choose it when there is TLS.
func withHTTP2(cfg config.Config) config.Config {
	if len(cfg.Listeners) == 0 {
		cfg.Listeners = []config.Listener{{ID: proxytest.ListenerID}}
	}
	cfg.Listeners[0].HTTP2 = config.HTTP2{ALPN: true, PriorKnowledge: true}
	return cfg
}

// http2Client is a client that speaks nothing else.
func http2Client(t *testing.T, conf *tls.Config) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: conf, DisableCompression: true}
	tr.Protocols.SetHTTP2(true)
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func TestHTTP2Request(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Saw", fmt.Sprintf("%s %s %s cookie=%q te=%q xff=%q", r.Method, r.Host, r.URL, r.Header.Get("Cookie"), r.Header.Get("Te"), r.Header.Get("X-Forwarded-For")))
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%d bytes", len(body))
		w.Header().Set("X-Sum", fmt.Sprintf("%x", sha256.Sum256(body)))
	}))
	log := &proxytest.Log{}
	p := proxytest.Proxy(t, withHTTP2(proxytest.ToBackends(backend)), proxytest.Options{AccessLog: log})
	client := http2Client(t, nil)
	for _, size := range []int{0, 1, 5000, 100_000, 3 << 20} {
		for _, length := range []bool{true, false} {
			body := bytes.Repeat([]byte("b"), size)
			req, _ := http.NewRequest("POST", "http://"+p.Addr+"/a/../b?q=1", bytes.NewReader(body))
			req.Host = "h2.test"
			if !length {
				req.ContentLength = -1
				req.Body = io.NopCloser(bytes.NewReader(body))
			}
			req.AddCookie(&http.Cookie{Name: "a", Value: "1"})
			req.AddCookie(&http.Cookie{Name: "b", Value: "2"})
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 200 || res.Proto != "HTTP/2.0" || string(answer) != fmt.Sprintf("%d bytes", size) {
				t.Fatalf("%d bytes: %s %s %q %v", size, res.Proto, res.Status, answer, err)
			}
			if saw, want := res.Header.Get("X-Saw"), `POST h2.test /b?q=1 cookie="a=1; b=2" te="" xff="127.0.0.1"`; saw != want {
				t.Errorf("backend saw %s, want %s", saw, want)
			}
			if got, want := res.Trailer.Get("X-Sum"), fmt.Sprintf("%x", sha256.Sum256(body)); got != want {
				t.Errorf("%d bytes: trailer %q, want %q", size, got, want)
			}
		}
	}
	proxytest.Eventually(t, "access log", func() bool { return strings.Contains(log.String(), `"HTTP/2.0"`) })
}

// Many streams at once, in both directions, on one connection.
func TestHTTP2Stress(t *testing.T) {
	t.Parallel()
	ca, cfg := secureConfig(t, stressBackend(t))
	p := proxytest.Proxy(t, withHTTP2(cfg), proxytest.Options{})
	client := http2Client(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"})
	manyStreams(t, client, p.Addr, 40, 0)
}
