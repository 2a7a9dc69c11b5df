package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// TestReplacementWithHTTP3: the old process answers what it was asked for over QUIC and refuses new connections, which is said at once; then the new one has the UDP port.
// Over TCP nothing is refused meanwhile.
func TestReplacementWithHTTP3(t *testing.T) {
	t.Parallel()
	begun, answer := make(chan struct{}), make(chan struct{})
	backend := proxytest.Backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-answer
		}
		io.WriteString(w, strings.Repeat("x", 500_000))
	}))
	ca := pki.New("ca")
	s := newStack(t, "")
	ca.Issue(pki.Options{Names: []string{"127.0.0.1"}}).Write(s.dir, "web")
	s.write(fmt.Sprintf(`system { graceful-shutdown-timeout-secs 30 }
listeners { listener "web" { address "127.0.0.1:PORT"; protocol "https"; tls { cert-file "DIR/web.pem"; key-file "DIR/web.key" }; http3 { enabled #true } } }
routes { route "all" { upstream "u" } }
upstreams { upstream "u" { target %q } }`, backend))
	s.up()
	url := fmt.Sprintf("https://127.0.0.1:%d", s.port)
	conf := &tls.Config{RootCAs: ca.Pool()}
	ask := func(tr http.RoundTripper, path string) error {
		res, err := (&http.Client{Transport: tr}).Get(url + path)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if b, err := io.ReadAll(res.Body); err != nil || len(b) != 500_000 || res.StatusCode != 200 {
			return fmt.Errorf("%s, %d bytes, %w", res.Status, len(b), err)
		}
		return nil
	}
	quic := func(path string) error {
		tr := &http3.Transport{TLSClientConfig: conf}
		defer tr.Close()
		return ask(tr, path)
	}
	if err := quic("/"); err != nil {
		t.Fatal(err)
	}
	slow := make(chan error, 1)
	go func() { slow <- quic("/slow") }()
	<-begun
	before := s.service("proxy").PID
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.must(0, "restart", "proxy")
	}()
	var took time.Duration
	eventually(t, "a refused connection", func() bool {
		began := time.Now()
		err := quic("/")
		took = time.Since(began)
		return err != nil && strings.Contains(err.Error(), "CONNECTION_REFUSED")
	})
	if took > 2*time.Second {
		t.Errorf("refused after %v", took)
	}
	tcp := &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}
	for range 20 {
		if err := ask(tcp, "/"); err != nil {
			t.Errorf("over TCP: %v", err)
		}
	}
	close(answer)
	if err := <-slow; err != nil {
		t.Errorf("the request at work: %v", err)
	}
	<-done
	eventually(t, "HTTP/3 with the new process", func() bool { return quic("/") == nil })
	if s.service("proxy").PID == before {
		t.Error("it is still the old one")
	}
}
