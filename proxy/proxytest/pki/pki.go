// Package pki issues certificates for tests: good ones, and every kind of bad one. What cannot fail but by a broken test panics.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// Authority issues certificates.
type Authority struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// Options say what a certificate is like; without any it is a server's certificate that is valid for a year.
type Options struct {
	Subject string   // common name
	Names   []string // DNS names, IP addresses, and URIs (with ://)
	After   time.Duration
	Before  time.Duration // how long it has been valid; negative = it will be
	Client  bool          // for a client
	CA      bool          // an intermediate authority
	RSA     bool
	OCSP    string // URL of the responder
	Chain   bool   // the file holds the issuer as well
}

// Pair is a certificate with its key.
type Pair struct {
	Cert *x509.Certificate
	Key  crypto.Signer
	Tail []*x509.Certificate // those of issuers
}

var serial atomic.Int64

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// New makes a root.
func New(name string) *Authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	t := template(Options{Subject: name, CA: true})
	der := must(x509.CreateCertificate(rand.Reader, t, t, key.Public(), key))
	return &Authority{must(x509.ParseCertificate(der)), key}
}

func template(o Options) *x509.Certificate {
	if o.After == 0 {
		o.After = 365 * 24 * time.Hour
	}
	if o.Before == 0 {
		o.Before = time.Hour
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1000 + serial.Add(1)), Subject: pkix.Name{CommonName: o.Subject, Organization: []string{"Test"}},
		NotBefore: now.Add(-o.Before), NotAfter: now.Add(o.After), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if o.Client {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	if o.CA {
		t.IsCA, t.KeyUsage, t.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign|x509.KeyUsageDigitalSignature, nil
	}
	if o.OCSP != "" {
		t.OCSPServer = []string{o.OCSP}
	}
	for _, n := range o.Names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if strings.Contains(n, "://") {
			t.URIs = append(t.URIs, must(url.Parse(n)))
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	return t
}

// Issue makes a certificate.
func (a *Authority) Issue(o Options) *Pair {
	var key crypto.Signer = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	if o.RSA {
		key = must(rsa.GenerateKey(rand.Reader, 2048))
	}
	der := must(x509.CreateCertificate(rand.Reader, template(o), a.Cert, key.Public(), a.Key))
	p := &Pair{Cert: must(x509.ParseCertificate(der)), Key: key}
	if o.Chain {
		p.Tail = []*x509.Certificate{a.Cert}
	}
	return p
}

// Intermediate makes an authority below a.
func (a *Authority) Intermediate(name string) *Authority {
	p := a.Issue(Options{Subject: name, CA: true})
	return &Authority{p.Cert, p.Key}
}

// PEM is the certificate of the authority.
func (a *Authority) PEM() []byte { return certPEM(a.Cert) }

// Pool holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}

// CRL is a revocation list that is good for valid.
func (a *Authority) CRL(valid time.Duration, revoked ...*Pair) []byte {
	now := time.Now()
	list := &x509.RevocationList{Number: big.NewInt(serial.Add(1)), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(valid)}
	for _, p := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: p.Cert.SerialNumber, RevocationTime: now.Add(-time.Minute)})
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: must(x509.CreateRevocationList(rand.Reader, list, a.Cert, a.Key))})
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// CertPEM is the certificate and those behind it.
func (p *Pair) CertPEM() []byte {
	out := certPEM(p.Cert)
	for _, c := range p.Tail {
		out = append(out, certPEM(c)...)
	}
	return out
}

// KeyPEM is the private key.
func (p *Pair) KeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(p.Key))})
}

// TLS is the pair for crypto/tls.
func (p *Pair) TLS() tls.Certificate { return must(tls.X509KeyPair(p.CertPEM(), p.KeyPEM())) }

// Write puts the pair into NAME.pem and NAME.key in dir and returns their paths. Each file appears at once.
func (p *Pair) Write(dir, name string) (cert, key string) {
	return WriteFile(dir, name+".pem", p.CertPEM()), WriteFile(dir, name+".key", p.KeyPEM())
}

// WriteFile writes a file that others cannot read and returns its path.
func WriteFile(dir, name string, data []byte) string {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		panic(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		panic(err)
	}
	return path
}
