package server_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

func TestMain(m *testing.M) {
	if os.Getenv("SERVE_TUNNELS") != "" {
		serveTunnels()
	}
	goleak.VerifyTestMain(m)
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Path", r.URL.RequestURI())
	fmt.Fprintf(w, "%s %s", r.Method, b)
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	p := proxytest.Proxy(t, proxytest.ToBackends(proxytest.Backend(t, http.HandlerFunc(echo))), proxytest.Options{})
	c := p.Dial(t)
	for range 3 {
		r, body := c.Get("/x?y=1")
		if r.StatusCode != 200 || body != "GET " || r.Header.Get("X-Path") != "/x?y=1" || r.Header.Get("X-Request-Id") == "" {
			t.Fatal(r, body)
		}
	}
}
