package attack_test

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/attack"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// TestRequestsOverTLS runs the same turns with TLS on both sides of the proxy: encryption changes nothing about what a message means.
func TestRequestsOverTLS(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	pair := ca.Issue(pki.Options{Names: []string{"t", "127.0.0.1"}})
	dir := t.TempDir()
	cert, key := pair.Write(dir, "t")
	listener := config.ListenerTLS{CertFile: cert, KeyFile: key, UnknownSNI: "default", HostMismatch: "allow", HandshakeTimeout: proxytest.Patience, MaxHandshakes: 100}
	upstream := config.UpstreamTLS{CACert: pki.WriteFile(dir, "ca.pem", ca.PEM()), SessionResumption: true, MaxVersion: "1.3"}
	listener.MaxVersion = "1.3"
	forEachFile(t, "request-*.txt", func(t *testing.T) func(*testing.T, *attack.Turn) {
		backend := &recorder{}
		cfg := proxytest.ToBackends(proxytest.RawBackend(t, func(c net.Conn) {
			backend.serve(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair.TLS()}}))
		}))
		cfg.Listeners[0].Protocol, cfg.Listeners[0].TLS, cfg.Upstreams[0].TLS = "https", &listener, &upstream
		p := proxytest.Proxy(t, cfg, proxytest.Options{})
		secure := p.Addr
		p.Addr = proxytest.RawBackend(t, func(c net.Conn) { bridge(c.(*net.TCPConn), secure, &tls.Config{RootCAs: ca.Pool(), ServerName: "t"}) })
		return func(t *testing.T, turn *attack.Turn) {
			over := *turn
			over.Has = slices.Clone(turn.Has)
			if i := slices.Index(over.Has, "X-Forwarded-Proto: http"); i >= 0 {
				over.Has[i] = "X-Forwarded-Proto: https" // the one thing that is not the same
			}
			runRequest(t, p, backend, &over, func(c io.Writer, raw string) error {
				_, err := io.WriteString(c, raw)
				return err
			})
		}
	})
}

// bridge is a client that speaks TLS for one that does not: bytes and ends of streams pass through it.
func bridge(plain *net.TCPConn, addr string, conf *tls.Config) {
	c, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(proxytest.Patience))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(c, plain)
		_ = c.CloseWrite()
	}()
	_, _ = io.Copy(plain, c)
	_ = plain.Close()
	<-done
}
