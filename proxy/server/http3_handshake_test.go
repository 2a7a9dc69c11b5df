package server_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// firstOnly passes the first datagram of a client on and swallows the others: a client that begins a handshake and falls silent.
type firstOnly struct {
	net.PacketConn
	sent atomic.Int32
}

func (f *firstOnly) WriteTo(p []byte, to net.Addr) (int, error) {
	if f.sent.Add(1) > 1 {
		return len(p), nil
	}
	return f.PacketConn.WriteTo(p, to)
}

// Why a handshake of HTTP/3 did not succeed is counted by the same words as for one over TCP.
func TestHTTP3HandshakeFailures(t *testing.T) {
	t.Parallel()
	ca, cfg := withHTTP3(t, "127.0.0.1:1")
	own := pki.New("clients")
	cfg.Listeners[0].TLS.HandshakeTimeout = 300 * time.Millisecond
	cfg.Listeners[0].TLS.ClientAuth, cfg.Listeners[0].TLS.CAFile = "required", pki.WriteFile(t.TempDir(), "clients.pem", own.PEM())
	p := proxytest.Proxy(t, cfg, proxytest.Options{})
	good := &tls.Config{RootCAs: ca.Pool(), ServerName: "t", NextProtos: []string{"h3"}, Certificates: []tls.Certificate{own.Issue(pki.Options{Client: true}).TLS()}}
	with := func(change func(*tls.Config)) *tls.Config {
		c := good.Clone()
		change(c)
		return c
	}
	for _, tt := range []struct {
		why    string
		conf   *tls.Config
		silent bool
	}{
		{"client-certificate", with(func(c *tls.Config) { c.Certificates = nil }), false},
		{"client-certificate", with(func(c *tls.Config) {
			c.Certificates = []tls.Certificate{pki.New("strangers").Issue(pki.Options{Client: true}).TLS()}
		}), false},
		{"alert", with(func(c *tls.Config) { c.RootCAs = own.Pool() }), false},
		{"protocol", with(func(c *tls.Config) { c.NextProtos = []string{"h9"} }), false},
		{"timeout", good, true},
		{"", good, false},
	} {
		socket, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if tt.silent {
			socket = &firstOnly{PacketConn: socket}
		}
		to, err := net.ResolveUDPAddr("udp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		failures := &p.Metrics.Listener(cfg.Listeners[0].ID).TLS.Failures
		before := failures.Get(tt.why)
		ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
		if tt.silent {
			ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
		}
		c, err := quic.Dial(ctx, socket, to, tt.conf, nil)
		cancel()
		if tt.why == "" {
			if err != nil {
				t.Errorf("the twin that is in order: %v", err)
			} else {
				_ = c.CloseWithError(0, "")
			}
			_ = socket.Close()
			continue
		}
		proxytest.Eventually(t, "a failure is counted as "+tt.why, func() bool { return failures.Get(tt.why) == before+1 })
		if c != nil {
			_ = c.CloseWithError(0, "")
		}
		_ = socket.Close()
	}
}
