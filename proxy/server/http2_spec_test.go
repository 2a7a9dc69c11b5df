package server_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// specProgram is the conformance suite for HTTP/2 servers.
const specProgram = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

// The whole conformance suite, strict, over TLS and without. The backend reads a request to its end before it answers: the suite is confused by answers that come early.
func TestHTTP2Conformance(t *testing.T) {
	t.Parallel()
	program, err := proxytest.GoProgram(t.TempDir(), specProgram, "h2spec")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "all of it has come\n")
	}))
	_, secure := secureConfig(t, backend)
	for name, c := range map[string]struct {
		cfg  config.Config
		args []string
	}{
		"plain": {proxytest.ToBackends(backend), nil},
		"tls":   {secure, []string{"--tls", "--insecure"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := withHTTP2(c.cfg)
			cfg.Listeners[0].HTTP2.Only = true
			p := proxytest.Proxy(t, cfg, proxytest.Options{})
			host, port, _ := net.SplitHostPort(p.Addr)
			out, err := exec.Command(program, append(c.args, "--strict", "--host", host, "--port", port, "--timeout", "10")...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "tests, ") || !strings.Contains(string(out), " 0 skipped, 0 failed") {
				_, failures, _ := strings.Cut(string(out), "Failures:")
				t.Errorf("%v\n%s", err, failures)
			}
			t.Log(strings.TrimSpace(string(out[strings.LastIndex(strings.TrimSpace(string(out)), "\n")+1:])))
		})
	}
}
