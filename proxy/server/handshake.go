package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/filter"
	"github.com/sentinel-stack/sentinel/proxy/observe"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
)

// secured is what is known of a connection after its handshake.
type secured struct {
	facts    filter.TLS
	identity []tlsconf.Header // of the client
	http2    bool             // what was agreed on
}

// codePlainHTTP refuses a client that speaks HTTP where TLS is spoken.
const codePlainHTTP = "plain_http"

// handshake makes the connection one with a session. It reports whether there is something to serve.
//
// The client's first bytes are waited for without a place at the gate, so that who connects and says nothing takes none away.
func (c *conn) handshake() bool {
	m := &c.ln.metrics.TLS
	deadline := c.s.now() + int64(c.tls.HandshakeTimeout)
	c.arm(stageHandshake, deadline)
	if err := c.wire.await(); err != nil {
		m.Failures.Add(whyHandshake(err))
		return false
	}
	first, any := c.wire.first()
	switch {
	case !any: // connected and left: a health check, a port scan
		m.Failures.Add("gone")
		return false
	case first >= 'A' && first <= 'Z': // no TLS record begins so, every method does
		m.Failures.Add("plain-http")
		c.w = c.s.getWork()
		c.runRefused(c.w, 400, codePlainHTTP)
		c.linger()
		return false
	}
	place := c.ln.handshakes.enter(c.tls.MaxHandshakes, time.Duration(deadline-c.s.now()), c.s.aborting, c.kickHandshake)
	if place == nil {
		m.Failures.Add("queue")
		c.s.reached(observe.LimitHandshakes, c.peer.Addr())
		return false
	}
	m.Active.Add(1)
	session, err := c.shake()
	m.Active.Add(-1)
	crowded := c.ln.handshakes.leave(place)
	if err == nil && (crowded || c.s.now() > deadline) { // somebody may be about to end it
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		if crowded {
			m.Failures.Add("crowded")
			c.s.reached(observe.LimitHandshakes, c.peer.Addr())
		} else {
			m.Failures.Add(whyHandshake(err))
		}
		c.s.log.Debug("handshake failed", "listener", c.ln.id, "client", c.peer, "error", err)
		return false
	}
	if tlsconf.IsProof(session.State().NegotiatedProtocol) {
		return false // it has seen what it came for
	}
	c.wire.secure(session, &c.s.boxes, &c.got)
	c.ready = c.onReadySealed
	return true
}

// kickHandshake ends the handshake, whichever side is waited for.
func (c *conn) kickHandshake() {
	c.kick(kickTimeout)
	_ = c.wire.tcp.SetWriteDeadline(past)
}

// shake does the handshake. Its deep stack is a goroutine's that ends with it: the connection's own stays shallow.
func (c *conn) shake() (*tlsconf.Session, error) {
	began := time.Now()
	session := tlsconf.Accept(c.wire.tcp, c.tls.Config())
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				c.s.log.Error("handshake failed", "panic", p, "stack", stack())
				done <- errors.New("panic")
			}
		}()
		done <- session.Handshake()
	}()
	if err := <-done; err != nil {
		return nil, err
	}
	state := session.State()
	c.ln.metrics.TLS.Done(state.Version, state.DidResume, time.Since(began))
	c.secured = c.learn(&state)
	return session, nil
}

// learn is what a handshake found out.
func (c *conn) learn(state *tls.ConnectionState) *secured {
	found := &secured{
		facts:    filter.TLS{ServerName: state.ServerName, Version: versionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite)},
		identity: c.tls.Identity(state), http2: state.NegotiatedProtocol == "h2",
	}
	if len(state.VerifiedChains) > 0 {
		found.facts.Client = state.PeerCertificates[0].Subject.String()
	}
	return found
}

// versionName is a version as agents and logs know it.
func versionName(v uint16) string { return "TLSv" + strings.TrimPrefix(tls.VersionName(v), "TLS ") }

// first looks at the client's first byte.
func (w *wire) first() (b byte, ok bool) {
	var one [1]byte
	err := w.raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ok = err == nil && n == 1
	})
	return one[0], ok && err == nil
}

// whyHandshake is a word for the metric.
func whyHandshake(err error) string {
	var alert tls.AlertError
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "gone"
	case errors.As(err, &alert), errors.As(err, &op) && op.Op == "remote error":
		return "alert" // the client is not content with us
	}
	return whyRefused(err)
}

// whyRefused is a word for the metric when we are not content with the client.
func whyRefused(err error) string {
	var verify *tls.CertificateVerificationError
	switch {
	case errors.Is(err, tlsconf.ErrRevoked):
		return "revoked"
	case errors.As(err, &verify), strings.Contains(err.Error(), "didn't provide a certificate"):
		return "client-certificate"
	case strings.Contains(err.Error(), "unsupported versions"):
		return "version"
	case strings.Contains(err.Error(), "no certificates configured"):
		return "unknown-name"
	}
	return "protocol"
}

// scheme is what the client speaks with us.
func (c *conn) scheme() string {
	if c.tls != nil {
		return "https"
	}
	return "http"
}

func (c *conn) schemeText() []byte {
	if c.tls != nil {
		return valueHTTPS
	}
	return valueHTTP
}

func (c *conn) facts() *filter.TLS {
	if c.secured == nil {
		return nil
	}
	return &c.secured.facts
}
