package server_test

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// openSSL is an interactive openssl s_client.
type openSSL struct {
	in  io.WriteCloser
	out *bufio.Reader
	t   *testing.T
}

func startOpenSSL(t *testing.T, addr string, options ...string) *openSSL {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed, and CI=true: this test must run")
		}
		t.Skip("SKIP: openssl is not installed")
	}
	cmd := exec.Command("openssl", append([]string{"s_client", "-connect", addr, "-servername", "t"}, options...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	_ = r.SetReadDeadline(time.Now().Add(proxytest.Patience))
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = r.Close()
	})
	return &openSSL{in, bufio.NewReader(r), t}
}

// expect reads until a line holds one of the texts, and returns that text.
func (o *openSSL) expect(texts ...string) string {
	o.t.Helper()
	var seen strings.Builder
	for {
		line, err := o.out.ReadString('\n')
		seen.WriteString(line)
		for _, text := range texts {
			if strings.Contains(line, text) {
				return text
			}
		}
		if err != nil {
			o.t.Fatalf("no %q in\n%s", texts, seen.String())
		}
	}
}

func (o *openSSL) say(text string) {
	o.t.Helper()
	if _, err := io.WriteString(o.in, text); err != nil {
		o.t.Fatal(err)
	}
}

// A client may ask for new keys whenever it likes: what it is sent next is sealed with them.
func TestKeyUpdate(t *testing.T) {
	t.Parallel()
	_, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(echo)))
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	o := startOpenSSL(t, p.Addr, "-tls1_3")
	o.expect("Verify return code")
	for range 3 {
		o.say("K\n") // with a request that we do the same
		o.expect("KEYUPDATE")
		o.say("GET /updated HTTP/1.1\r\nHost: t\r\n\r\n")
		o.expect("HTTP/1.1 200 OK")
		o.expect("X-Path: /updated")
	}
}

// Renegotiation is refused, and the connection ends with it.
func TestRenegotiation(t *testing.T) {
	t.Parallel()
	_, cfg := secureConfig(t, proxytest.Backend(t, http.HandlerFunc(echo)))
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	o := startOpenSSL(t, p.Addr, "-tls1_2")
	o.expect("Verify return code")
	o.say("GET /first HTTP/1.1\r\nHost: t\r\n\r\n")
	o.expect("X-Path: /first")
	o.say("R\n")
	o.expect("RENEGOTIATING")
	o.expect("alert", "no renegotiation", "unexpected message", "closed")
	proxytest.Eventually(t, "no connection left", func() bool { return p.Server.Connections() == 0 })
}
