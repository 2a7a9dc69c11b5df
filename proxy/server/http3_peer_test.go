package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// Clients that are not quic-go, where they are installed.
func TestHTTP3Peers(t *testing.T) {
	t.Parallel()
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Write([]byte(strings.Repeat("y", int(n)+1)))
	}))
	ca, cfg := withHTTP3(t, backend)
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	_, port, _ := net.SplitHostPort(p.Addr)
	file := pki.WriteFile(t.TempDir(), "ca.pem", ca.PEM())
	t.Run("aioquic", func(t *testing.T) {
		python := os.Getenv("SENTINEL_TEST_PYTHON")
		if python == "" {
			python = "python3"
		}
		if exec.Command(python, "-c", "import aioquic").Run() != nil {
			t.Skip("aioquic is not installed (pip install aioquic; SENTINEL_TEST_PYTHON names a python that has it)")
		}
		out, err := exec.Command(python, "testdata/http3_client.py", port, file, "t", "20", "300000").CombinedOutput()
		if want := strings.Repeat("200 300001\n", 20); err != nil || string(out) != want {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("curl", func(t *testing.T) {
		if out, err := exec.Command("curl", "--version").Output(); err != nil || !strings.Contains(string(out), "HTTP3") {
			t.Skip("curl is missing, or was built without HTTP/3 as Debian's is")
		}
		out, err := exec.Command("curl", "-sS", "--http3-only", "--cacert", file, "--resolve", "t:"+port+":127.0.0.1", "-o", os.DevNull, "-w", "%{http_version} %{http_code}", fmt.Sprintf("https://t:%s/", port)).CombinedOutput()
		if err != nil || string(out) != "3 200" {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
