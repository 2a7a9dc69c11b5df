package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// served is one certificate that clients are shown.
type served struct {
	cert *tls.Certificate
	path string // of what it comes from in the configuration

	staple  *staple  // nil = nobody is asked about it
	managed *managed // then cert is nil
}

// current is the certificate as it is now: with an OCSP answer while there is a good one. It is nil for a managed one that has not been issued yet.
func (c *served) current(now time.Time) *tls.Certificate {
	if c.managed != nil {
		return c.managed.cert.Load()
	}
	if c.staple != nil {
		if a := c.staple.held.Load(); a != nil && now.Before(a.until) {
			return a.cert
		}
	}
	return c.cert
}

// all lists every certificate of the listener.
func (s *Server) all() iter.Seq[*served] {
	return func(yield func(*served) bool) {
		for _, e := range s.entries {
			for _, c := range e.certs {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// choose returns the first certificate that the client can verify. One that can verify none gets the last one, and ends the handshake with its own alert.
func (e *entry) choose(hello *tls.ClientHelloInfo, now time.Time) *tls.Certificate {
	last := len(e.certs) - 1
	if last > 0 {
		asked := *hello
		asked.ServerName = "" // which certificates are for that name has been decided, also for a name that none is for
		for _, c := range e.certs[:last] {
			if cert := c.current(now); asked.SupportsCertificate(cert) == nil {
				return cert
			}
		}
	}
	return e.certs[last].current(now)
}

// preference is the order in which kinds of keys are tried: by what a signature costs us.
var preference = []string{"ecdsa", "ed25519", "rsa"}

// keyKind says what kind of key a certificate is for, in a word of preference.
func keyKind(c *x509.Certificate) string { return strings.ToLower(c.PublicKeyAlgorithm.String()) }

// fromFiles reads the certificate of a block, and its alternate if there is one. prefix is the path of the block with a dot behind it, or "".
func fromFiles(files Files, first config.CertificatePair, alternate *config.CertificatePair, prefix string) ([]*served, error) {
	cert, err := pair(files, first.CertFile, first.KeyFile, prefix+"cert-file", prefix+"key-file")
	if err != nil {
		return nil, err
	}
	certs := []*served{{cert: cert, path: prefix + "cert-file"}}
	if alternate == nil {
		return certs, nil
	}
	path := prefix + "alternate."
	second, err := pair(files, alternate.CertFile, alternate.KeyFile, path+"cert-file", path+"key-file")
	if err != nil {
		return nil, err
	}
	kind := keyKind(cert.Leaf)
	if kind == keyKind(second.Leaf) {
		return nil, fault(path+"cert-file", "the certificates %s and %s both have a key of kind %s, so that clients who cannot verify one cannot verify the other; an alternate has another kind", first.CertFile, alternate.CertFile, kind)
	}
	if name := notShared(cert.Leaf, second.Leaf); name != "" {
		return nil, fault(path+"cert-file", "the certificates %s and %s are for different names: only one of them is for %s", first.CertFile, alternate.CertFile, name)
	}
	certs = append(certs, &served{cert: second, path: path + "cert-file"})
	slices.SortStableFunc(certs, func(a, b *served) int {
		return slices.Index(preference, keyKind(a.cert.Leaf)) - slices.Index(preference, keyKind(b.cert.Leaf))
	})
	return certs, nil
}

// notShared is a name that one of two certificates is for and the other one is not, "" for none.
func notShared(a, b *x509.Certificate) string {
	for _, name := range namesOf(a) {
		if !covers(b, name) {
			return name
		}
	}
	for _, name := range namesOf(b) {
		if !covers(a, name) {
			return name
		}
	}
	return ""
}
