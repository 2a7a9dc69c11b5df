package tlsconf_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
	"github.com/sentinel-stack/sentinel/proxy/tlsconf"
)

// listener is the tls block of a listener with the certificate of a pair.
func listener(t *testing.T, p *pki.Pair) *config.ListenerTLS {
	l := &config.ListenerTLS{
		UnknownSNI: "default", HostMismatch: "refuse", MinVersion: "1.2", MaxVersion: "1.3", SessionResumption: true, TicketRotation: time.Hour,
		HandshakeTimeout: 10 * time.Second, MaxHandshakes: 10, ClientAuth: "none",
	}
	l.CertFile, l.KeyFile = p.Write(t.TempDir(), "default")
	return l
}

// sni adds a certificate for names.
func sni(t *testing.T, l *config.ListenerTLS, p *pki.Pair, names ...string) {
	n := config.SNI{Hostname: names[0], Hostnames: names[1:]}
	n.CertFile, n.KeyFile = p.Write(t.TempDir(), "sni")
	l.SNI = append(l.SNI, n)
}

// alternate adds a second default certificate.
func alternate(t *testing.T, l *config.ListenerTLS, p *pki.Pair) {
	l.Alternate = &config.CertificatePair{}
	l.Alternate.CertFile, l.Alternate.KeyFile = p.Write(t.TempDir(), "alternate")
}

func newServer(t *testing.T, l *config.ListenerTLS, prev *tlsconf.Server) *tlsconf.Server {
	t.Helper()
	s, err := tlsconf.NewServer(l, os.ReadFile, prev)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// patience is how long a test waits for what ought to happen.
const patience = 10 * time.Second

// meet makes the handshake of a client with a server, and one round trip, after which a ticket has come.
func meet(s *tlsconf.Server, conf *tls.Config) (tls.ConnectionState, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		b, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer b.Close()
		_ = b.SetDeadline(time.Now().Add(patience))
		c := tls.Server(b, s.Config())
		if err = c.Handshake(); err == nil {
			_, err = c.Write([]byte("x"))
		}
		done <- err
	}()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer a.Close()
	_ = a.SetDeadline(time.Now().Add(patience))
	c := tls.Client(a, conf)
	if err = c.Handshake(); err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	state := c.ConnectionState()
	a.Close()
	return state, errors.Join(err, <-done)
}

func TestNames(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	fallback := ca.Issue(pki.Options{Names: []string{"default.example", "*.default.example"}})
	one, wild := ca.Issue(pki.Options{Names: []string{"one.example"}}), ca.Issue(pki.Options{Names: []string{"*.example", "x.wild.example", "*.wild.example"}})
	l := listener(t, fallback)
	sni(t, l, one, "one.example")
	sni(t, l, wild, "*.example", "*.wild.example")
	strict := *l
	strict.UnknownSNI = "refuse"
	lenient, refusing := newServer(t, l, nil), newServer(t, &strict, nil)
	for name, want := range map[string]*pki.Pair{
		"one.example": one, "ONE.example": one, "two.example": wild, "a.wild.example": wild, "default.example": fallback, "a.default.example": fallback,
		"a.b.wild.example": nil, "example": nil, "": nil, "other": nil,
	} {
		conf := &tls.Config{RootCAs: ca.Pool(), ServerName: name, InsecureSkipVerify: true}
		state, err := meet(lenient, conf)
		if expected := or(want, fallback); err != nil || !state.PeerCertificates[0].Equal(expected.Cert) {
			t.Errorf("%q: %v %v", name, state.PeerCertificates, err)
		}
		state, err = meet(refusing, conf)
		switch {
		case want == nil && (err == nil || !strings.Contains(err.Error(), "unrecognized name")):
			t.Errorf("%q is not refused: %v", name, err)
		case want != nil && (err != nil || !state.PeerCertificates[0].Equal(want.Cert)):
			t.Errorf("%q, strictly: %v %v", name, state.PeerCertificates, err)
		}
	}
	for _, c := range []struct {
		sni, host string
		ok        bool
	}{
		{"one.example", "one.example", true}, {"one.example", "One.Example:443", true}, {"one.example", "two.example", false}, {"two.example", "three.example", true},
		{"two.example", "one.example", false}, {"other", "other", true}, {"other", "another:80", true}, {"other", "one.example", false}, {"", "one.example", true},
		{"one.example", "127.0.0.1", false}, {"one.example", "[::1]:443", false},
	} {
		if got := lenient.Serves(c.sni, []byte(c.host)); got != c.ok {
			t.Errorf("SNI %q and Host %q: %v", c.sni, c.host, got)
		}
	}
}

func or(a, b *pki.Pair) *pki.Pair {
	if a != nil {
		return a
	}
	return b
}

// Every mistake in a file is found, and its path is that of the key that names the file.
func TestFaults(t *testing.T) {
	t.Parallel()
	ca, other := pki.New("ca"), pki.New("ca")
	good, strong := ca.Issue(pki.Options{Names: []string{"a"}}), ca.Issue(pki.Options{Names: []string{"a"}, RSA: true})
	dir := t.TempDir()
	file := func(name string, data []byte) string { return pki.WriteFile(dir, name, data) }
	for name, c := range map[string]struct {
		change func(l *config.ListenerTLS)
		path   string
	}{
		"no certificate": {func(l *config.ListenerTLS) { l.CertFile = file("empty", []byte("nothing")) }, "cert-file"},
		"broken": {func(l *config.ListenerTLS) {
			l.CertFile = file("broken", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}, "cert-file"},
		"no key":       {func(l *config.ListenerTLS) { l.KeyFile = l.CertFile }, "key-file"},
		"another key":  {func(l *config.ListenerTLS) { _, l.KeyFile = ca.Issue(pki.Options{}).Write(dir, "x") }, "key-file"},
		"another name": {func(l *config.ListenerTLS) { sni(t, l, good, "b") }, "sni.b"},
		"no second certificate": {func(l *config.ListenerTLS) {
			l.Alternate = &config.CertificatePair{CertFile: file("none", nil), KeyFile: l.KeyFile}
		}, "alternate.cert-file"},
		"the second one's key": {func(l *config.ListenerTLS) { alternate(t, l, strong); l.Alternate.KeyFile = l.KeyFile }, "alternate.key-file"},
		"two of a kind":        {func(l *config.ListenerTLS) { alternate(t, l, ca.Issue(pki.Options{Names: []string{"a"}})) }, "alternate.cert-file"},
		"one more name": {func(l *config.ListenerTLS) {
			alternate(t, l, ca.Issue(pki.Options{Names: []string{"a", "b"}, RSA: true}))
		}, "alternate.cert-file"},
		"one name less":  {func(l *config.ListenerTLS) { alternate(t, l, ca.Issue(pki.Options{RSA: true})) }, "alternate.cert-file"},
		"leaf as issuer": {func(l *config.ListenerTLS) { l.ClientAuth, l.CAFile = "required", l.CertFile }, "ca-file"},
		"another's list": {func(l *config.ListenerTLS) {
			l.ClientAuth, l.CAFile, l.CRLFiles = "required", file("ca.pem", ca.PEM()), []string{file("crl", other.CRL(time.Hour))}
		}, "crl-file"},
		"no list": {func(l *config.ListenerTLS) {
			l.ClientAuth, l.CAFile, l.CRLFiles = "required", file("ca.pem", ca.PEM()), []string{file("none", ca.PEM())}
		}, "crl-file"},
	} {
		l := listener(t, good)
		c.change(l)
		_, err := tlsconf.NewServer(l, os.ReadFile, nil)
		var f *tlsconf.Fault
		if !errors.As(err, &f) || f.Path != c.path {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Tickets outlive a generation, and their key a rotation, but not a change of what clients must show.
func TestTickets(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	l := listener(t, ca.Issue(pki.Options{Names: []string{"a"}}))
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "a", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	want := func(s *tlsconf.Server, resumed bool) {
		t.Helper()
		state, err := meet(s, conf)
		if err != nil || state.DidResume != resumed {
			t.Errorf("resumed %v, %v", state.DidResume, err)
		}
	}
	first := newServer(t, l, nil)
	want(first, false)
	want(first, true)
	second := newServer(t, l, first)
	want(second, true)
	asks := *l
	asks.ClientAuth, asks.CAFile = "optional", pki.WriteFile(t.TempDir(), "ca", ca.PEM())
	want(newServer(t, &asks, second), false)
	off := *l
	off.SessionResumption = false
	want(newServer(t, &off, second), false)
	want(newServer(t, &off, second), false)
}

// A client that was welcome is turned away when its certificate has been revoked, also when it resumes a session.
func TestRevokedSession(t *testing.T) {
	t.Parallel()
	ca, people := pki.New("ca"), pki.New("people")
	middle := people.Intermediate("middle")
	alice := middle.Issue(pki.Options{Client: true, Subject: "alice"})
	alice.Tail = []*x509.Certificate{middle.Cert}
	dir := t.TempDir()
	l := listener(t, ca.Issue(pki.Options{Names: []string{"a"}}))
	l.ClientAuth, l.CAFile = "required", pki.WriteFile(dir, "people.pem", append(people.PEM(), middle.PEM()...))
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "a", Certificates: []tls.Certificate{alice.TLS()}, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	try := func(s *tlsconf.Server, ok bool) {
		t.Helper()
		if _, err := meet(s, conf); (err == nil) != ok {
			t.Errorf("%v", err)
		}
	}
	first := newServer(t, l, nil)
	try(first, true)
	try(first, true)
	lists := func(data ...[]byte) *config.ListenerTLS {
		with := *l
		with.CRLFiles = nil
		for i, d := range data {
			with.CRLFiles = append(with.CRLFiles, pki.WriteFile(dir, string(rune('a'+i)), d))
		}
		return &with
	}
	try(newServer(t, lists(middle.CRL(time.Hour), people.CRL(time.Hour)), first), true)
	try(newServer(t, lists(middle.CRL(time.Hour, alice), people.CRL(time.Hour)), first), false)
	try(newServer(t, lists(middle.CRL(time.Hour), people.CRL(time.Hour, &pki.Pair{Cert: middle.Cert})), first), false) // its issuer
	try(newServer(t, lists(middle.CRL(time.Hour)), first), false)                                                      // nobody knows about its issuer
	try(newServer(t, lists(middle.CRL(-time.Minute), people.CRL(time.Hour)), first), false)                            // out of date
}

// What a certificate holds cannot end a header.
func TestIdentity(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	l := listener(t, ca.Issue(pki.Options{Names: []string{"a"}}))
	l.ClientAuth, l.CAFile = "optional", pki.WriteFile(t.TempDir(), "ca", ca.PEM())
	l.ClientHeaders = config.ClientHeaders{Subject: "S", Issuer: "I", Serial: "N", Fingerprint: "F", Names: "A", Certificate: "C"}
	s := newServer(t, l, nil)
	evil := ca.Issue(pki.Options{Client: true, Subject: "x\r\nAdmin: yes\x00é", Names: []string{"spiffe://a/b,DNS:root", "10.0.0.1"}})
	state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{evil.Cert}, VerifiedChains: [][]*x509.Certificate{{evil.Cert, ca.Cert}}}
	got := map[string]string{}
	for _, h := range s.Identity(state) {
		got[string(h.Name)] = string(h.Value)
		for _, b := range h.Value {
			if b < 0x20 || b > 0x7e {
				t.Errorf("%s: %q", h.Name, h.Value)
			}
		}
	}
	if len(got) != 6 || !strings.Contains(got["S"], "%0D%0A") || got["A"] != "URI:spiffe://a/b%2CDNS:root,IP:10.0.0.1" || strings.ContainsAny(got["C"], " \n") {
		t.Errorf("%q", got)
	}
	if h := s.Identity(&tls.ConnectionState{PeerCertificates: state.PeerCertificates}); h != nil {
		t.Errorf("an identity that nobody verified: %q", h)
	}
}

// Only a good answer of now, about this certificate, signed by its issuer, is sent along.
func TestStaples(t *testing.T) {
	t.Parallel()
	ca, other := pki.New("ca"), pki.New("ca")
	type reply func(r ocsp.Response) []byte
	sign := func(by *pki.Authority, change func(*ocsp.Response)) reply {
		return func(r ocsp.Response) []byte {
			change(&r)
			out, err := ocsp.CreateResponse(by.Cert, by.Cert, r, by.Key)
			if err != nil {
				t.Error(err)
			}
			return out
		}
	}
	same := func(*ocsp.Response) {}
	for name, c := range map[string]struct {
		reply  reply
		result string
	}{
		"good":            {sign(ca, same), "good"},
		"revoked":         {sign(ca, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, time.Now() }), "revoked"},
		"unknown":         {sign(ca, func(r *ocsp.Response) { r.Status = ocsp.Unknown }), "unknown"},
		"another's":       {sign(other, same), "failed"},
		"another serial":  {sign(ca, func(r *ocsp.Response) { r.SerialNumber = ca.Cert.SerialNumber }), "failed"},
		"old":             {sign(ca, func(r *ocsp.Response) { r.NextUpdate = time.Now().Add(-time.Minute) }), "failed"},
		"of the future":   {sign(ca, func(r *ocsp.Response) { r.ThisUpdate = time.Now().Add(time.Hour) }), "failed"},
		"garbage":         {func(ocsp.Response) []byte { return []byte("hello") }, "failed"},
		"far too long":    {func(ocsp.Response) []byte { return make([]byte, 1<<20) }, "failed"},
		"nothing, slowly": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hang := make(chan struct{})
			responder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				q, err := ocsp.ParseRequest(body)
				if err != nil {
					t.Error(err)
					return
				}
				if c.reply == nil {
					<-hang
					return
				}
				now := time.Now()
				_, _ = w.Write(c.reply(ocsp.Response{SerialNumber: q.SerialNumber, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}))
			}))
			t.Cleanup(responder.Close)
			t.Cleanup(func() { close(hang) })
			l := listener(t, ca.Issue(pki.Options{Names: []string{"a"}, Chain: true, OCSP: responder.URL}))
			l.OCSPStapling = true
			s := newServer(t, l, nil)
			ctx, cancel := context.WithCancel(t.Context())
			asked, ended := make(chan string, 10), make(chan struct{})
			go func() {
				defer close(ended)
				s.Run(ctx, tlsconf.Background{Log: slog.New(slog.DiscardHandler), Client: responder.Client(), Asked: func(r string) { asked <- r }})
			}()
			defer func() { cancel(); <-ended }()
			if c.reply != nil {
				if got := <-asked; got != c.result {
					t.Errorf("result %q, not %q", got, c.result)
				}
			}
			state, err := meet(s, &tls.Config{RootCAs: ca.Pool(), ServerName: "a"})
			if err != nil || (len(state.OCSPResponse) > 0) != (c.result == "good") {
				t.Errorf("stapled %d bytes, %v", len(state.OCSPResponse), err)
			}
			next := newServer(t, l, s)
			if state, err := meet(next, &tls.Config{RootCAs: ca.Pool(), ServerName: "a"}); err != nil || (len(state.OCSPResponse) > 0) != (c.result == "good") {
				t.Errorf("the next generation stapled %d bytes, %v", len(state.OCSPResponse), err)
			}
		})
	}
}
