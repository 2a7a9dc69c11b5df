package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Files gives the content of a file that the configuration names.
type Files func(path string) ([]byte, error)

// Fault is what is wrong with the value at Path, below the block it came from: "key-file", "sni.a.example.cert-file".
type Fault struct {
	Path string
	Err  error
}

func (f *Fault) Error() string { return f.Path + ": " + f.Err.Error() }

// Unwrap gives what is wrong.
func (f *Fault) Unwrap() error { return f.Err }

func fault(path, format string, args ...any) error { return &Fault{path, fmt.Errorf(format, args...)} }

// pair reads a certificate and its key. certPath and keyPath are where the configuration names them.
func pair(files Files, certFile, keyFile, certPath, keyPath string) (*tls.Certificate, error) {
	certPEM, err := files(certFile)
	if err != nil {
		return nil, &Fault{certPath, err}
	}
	keyPEM, err := files(keyFile)
	if err != nil {
		return nil, &Fault{keyPath, err}
	}
	if _, err := certificates(certPEM); err != nil {
		return nil, fault(certPath, "cannot use the certificate %s: %v", certFile, err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fault(keyPath, "cannot use the key %s with the certificate %s: %s", keyFile, certFile, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &cert, nil
}

// certificates reads all certificates of a PEM file.
func certificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New(strings.TrimPrefix(err.Error(), "x509: "))
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return out, nil
}

// authorities reads the certificates of issuers.
func authorities(files Files, file, path string) (*x509.CertPool, []*x509.Certificate, error) {
	text, err := files(file)
	if err != nil {
		return nil, nil, &Fault{path, err}
	}
	list, err := certificates(text)
	if err != nil {
		return nil, nil, fault(path, "cannot use the certificates %s: %v", file, err)
	}
	pool := x509.NewCertPool()
	for _, c := range list {
		if c.BasicConstraintsValid && !c.IsCA {
			return nil, nil, fault(path, "cannot use the certificates %s: %q may not issue certificates", file, c.Subject)
		}
		pool.AddCert(c)
	}
	return pool, list, nil
}

// rootsOf are the authorities of a file, nil = those of the system when there is none.
func rootsOf(files Files, file, path string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pool, _, err := authorities(files, file, path)
	return pool, err
}

// transportTo is for a server that is asked now and then, and that these authorities vouch for.
func transportTo(roots *x509.CertPool) *http.Transport {
	return &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
}

// soon is how long before its end a certificate is warned about.
const soon = 14 * 24 * time.Hour

// validity says what is wrong with the time of a certificate, "" for nothing.
func validity(c *x509.Certificate, now time.Time) string {
	switch {
	case now.After(c.NotAfter):
		return fmt.Sprintf("the certificate for %s has expired on %s", subjectOf(c), c.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("the certificate for %s is not valid before %s", subjectOf(c), c.NotBefore.UTC().Format(time.DateTime))
	case now.Add(soon).After(c.NotAfter):
		return fmt.Sprintf("the certificate for %s expires on %s", subjectOf(c), c.NotAfter.UTC().Format(time.DateOnly))
	}
	return ""
}

func subjectOf(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.String()
}

// namesOf are the names that a certificate is for.
func namesOf(c *x509.Certificate) []string {
	var out []string
	for _, n := range c.DNSNames {
		out = append(out, strings.ToLower(n))
	}
	return out
}
