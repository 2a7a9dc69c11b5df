package tlsconf

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// clients is what a listener demands of client certificates.
type clients struct {
	auth tls.ClientAuthType
	pool *x509.CertPool
	crls []*revocations
	hash string
}

// revocations is one revocation list.
type revocations struct {
	issuer  []byte // raw subject of who signed it
	until   time.Time
	serials map[string]bool
}

// newClients returns nil when clients are asked for nothing.
func newClients(c *config.ListenerTLS, files Files) (*clients, error) {
	if c.ClientAuth == "none" || c.ClientAuth == "" {
		return nil, nil
	}
	k := &clients{auth: tls.RequireAndVerifyClientCert}
	if c.ClientAuth == "optional" {
		k.auth = tls.VerifyClientCertIfGiven
	}
	pool, issuers, err := authorities(files, c.CAFile, "ca-file")
	if err != nil {
		return nil, err
	}
	k.pool = pool
	h := sha256.New()
	h.Write([]byte(c.ClientAuth))
	for _, ca := range issuers {
		h.Write(ca.Raw)
	}
	for _, file := range c.CRLFiles {
		text, err := files(file)
		if err != nil {
			return nil, &Fault{"crl-file", err}
		}
		h.Write(text)
		lists, err := readCRL(text, issuers)
		if err != nil {
			return nil, fault("crl-file", "cannot use the revocation list %s: %v", file, err)
		}
		k.crls = append(k.crls, lists...)
	}
	k.hash = hex.EncodeToString(h.Sum(nil))
	return k, nil
}

// digest tells what is demanded from anything else that could be.
func (k *clients) digest() string {
	if k == nil {
		return ""
	}
	return k.hash
}

// readCRL reads the lists in a file, DER or PEM, and checks who signed them.
func readCRL(text []byte, issuers []*x509.Certificate) ([]*revocations, error) {
	var out []*revocations
	for _, der := range lists(text) {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, errors.New(strings.TrimPrefix(err.Error(), "x509: "))
		}
		if !signedByOne(list, issuers) {
			return nil, fmt.Errorf("no certificate of ca-file signed the list of %s", list.Issuer)
		}
		r := &revocations{issuer: list.RawIssuer, until: list.NextUpdate, serials: map[string]bool{}}
		for _, e := range list.RevokedCertificateEntries {
			r.serials[e.SerialNumber.String()] = true
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, errors.New("there is none in it")
	}
	return out, nil
}

// lists takes the lists out of a PEM file; what is no PEM is one list.
func lists(text []byte) (out [][]byte) {
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		return [][]byte{text}
	}
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return out
		}
		if text = rest; block.Type == "X509 CRL" {
			out = append(out, block.Bytes)
		}
	}
}

func signedByOne(list *x509.RevocationList, issuers []*x509.Certificate) bool {
	for _, ca := range issuers {
		if bytes.Equal(ca.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(ca) == nil {
			return true
		}
	}
	return false
}

// ErrRevoked is why a client with a revoked certificate, or one that cannot be looked up, is refused.
var ErrRevoked = errors.New("client certificate is revoked or cannot be looked up")

// verify refuses a client whose certificate is revoked. It runs for resumed sessions too.
func (k *clients) verify(state tls.ConnectionState) error {
	if len(k.crls) == 0 || len(state.PeerCertificates) == 0 {
		return nil
	}
	for _, chain := range state.VerifiedChains {
		if k.alive(chain, time.Now()) {
			return nil
		}
	}
	return ErrRevoked
}

// alive reports whether every certificate of a chain is on a valid list's good side. Those that issued themselves are on nobody's list; an intermediate one in
// ca-file is, although it is trusted without its issuer.
func (k *clients) alive(chain []*x509.Certificate, now time.Time) bool {
	for _, c := range chain {
		if bytes.Equal(c.RawIssuer, c.RawSubject) {
			continue
		}
		known := false
		for _, r := range k.crls {
			if !bytes.Equal(r.issuer, c.RawIssuer) {
				continue
			}
			if !r.until.IsZero() && now.After(r.until) || r.revokes(c.SerialNumber) {
				return false
			}
			known = true
		}
		if !known {
			return false
		}
	}
	return true
}

func (r *revocations) revokes(serial *big.Int) bool { return r.serials[serial.String()] }
