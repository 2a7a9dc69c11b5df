package tlsconf

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

const (
	acmeTimeout = 5 * time.Minute // for one certificate
	acmeRetry   = 2 * time.Minute // after the first failure; doubles: no more failures in an hour than Let's Encrypt bears
	acmeSlowest = 6 * time.Hour
)

// managed is a certificate that an ACME server issues.
type managed struct {
	conf    config.ACME
	roots   *x509.CertPool // nil = the system's
	storage storage
	dns     *dnsProvider                    // for dns-01
	cert    atomic.Pointer[tls.Certificate] // nil until there is one
	fails   atomic.Int32                    // in a row
	trouble atomic.Pointer[string]          // what the last failure was, nil = the last attempt was none
}

// newManaged reads what is stored; nothing is asked for before Run. path is where c stands.
func newManaged(c *config.ACME, files Files, path string) (*managed, error) {
	m := &managed{conf: *c, storage: storage{c.Storage}}
	var err error
	if m.roots, err = rootsOf(files, c.CAFile, path+".ca-file"); err != nil {
		return nil, err
	}
	if m.dns, err = newDNSProvider(c.DNS, files, path+".dns-provider"); err != nil {
		return nil, err
	}
	if cert, err := m.storage.certificate(c.Domains); err == nil {
		m.cert.Store(cert)
	}
	return m, nil
}

// due is when a new certificate is wanted: at once without one, else before the end of the present one.
func (m *managed) due() time.Time {
	cert := m.cert.Load()
	if cert == nil {
		return time.Time{}
	}
	life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
	return cert.Leaf.NotAfter.Add(-min(m.conf.RenewBefore(), life/3))
}

// run keeps the certificate good until ctx ends.
func (m *managed) run(ctx context.Context, b *Background) {
	next := m.due()
	for {
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		err := m.renew(ctx, b)
		if ctx.Err() != nil {
			return
		}
		result := "issued"
		if err != nil {
			result = "failed"
			wait := min(acmeSlowest, acmeRetry<<min(m.fails.Load(), 10))
			m.fails.Add(1)
			what := err.Error()
			m.trouble.Store(&what)
			next = time.Now().Add(wait)
			b.Log.Warn("no certificate from the ACME server", "domains", m.conf.Domains, "server", m.conf.ServerURL, "error", err, "again_secs", wait.Seconds())
		} else {
			m.fails.Store(0)
			m.trouble.Store(nil)
			next = m.due()
			b.Log.Info("certificate issued", "domains", m.conf.Domains, "expires", m.cert.Load().Leaf.NotAfter)
		}
		if b.Issued != nil {
			b.Issued(m.conf.Domains[0], result)
		}
	}
}

// renew gets a certificate, unless another process that shares the storage just did.
func (m *managed) renew(ctx context.Context, b *Background) error {
	ctx, cancel := context.WithTimeout(ctx, m.patience())
	defer cancel()
	unlock, err := m.storage.lock(ctx, m.conf.Domains)
	if err != nil {
		return err
	}
	defer unlock()
	if stored, err := m.storage.certificate(m.conf.Domains); err == nil {
		old := m.cert.Swap(stored)
		if time.Now().Before(m.due()) {
			return nil
		}
		m.cert.Store(old)
	}
	client, err := m.register(ctx)
	if err != nil {
		return fmt.Errorf("account: %w", err)
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(m.conf.Domains...))
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	for _, url := range order.AuthzURLs {
		if err := m.authorize(ctx, client, url, b); err != nil {
			return err
		}
	}
	if _, err = client.WaitOrder(ctx, order.URI); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	return m.finish(ctx, client, order)
}

// register makes the account, or finds it again.
func (m *managed) register(ctx context.Context) (*acme.Client, error) {
	key, err := m.storage.account(ctx, m.conf.ServerURL, m.conf.Email, m.conf.EABKeyID)
	if err != nil {
		return nil, err
	}
	client := &acme.Client{Key: key, DirectoryURL: m.conf.ServerURL, HTTPClient: &http.Client{Transport: transportTo(m.roots), Timeout: time.Minute}, UserAgent: "sentinel"}
	account := &acme.Account{Contact: []string{"mailto:" + m.conf.Email}}
	if m.conf.EABKeyID != "" {
		mac, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(m.conf.EABKey, "="))
		if err != nil {
			return nil, errors.New("eab hmac-key is not base64url")
		}
		account.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: m.conf.EABKeyID, Key: mac}
	}
	if _, err = client.Register(ctx, account, acme.AcceptTOS); errors.Is(err, acme.ErrAccountAlreadyExists) {
		err = nil
	}
	return client, err
}

// authorize proves that a domain is ours.
func (m *managed) authorize(ctx context.Context, client *acme.Client, url string, b *Background) error {
	z, err := client.GetAuthorization(ctx, url)
	if err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	if z.Status == acme.StatusValid {
		return nil
	}
	domain := z.Identifier.Value
	for _, c := range z.Challenges {
		if c.Type != m.conf.ChallengeType {
			continue
		}
		withdraw, err := m.present(ctx, client, c, domain, b)
		if err != nil {
			return fmt.Errorf("challenge for %s: %w", domain, err)
		}
		defer withdraw()
		if _, err := client.Accept(ctx, c); err != nil {
			return fmt.Errorf("challenge for %s: %w", domain, err)
		}
		if _, err := client.WaitAuthorization(ctx, z.URI); err != nil {
			return fmt.Errorf("authorization of %s: %w", domain, err)
		}
		return nil
	}
	return fmt.Errorf("the server offers no %s for %s", m.conf.ChallengeType, domain)
}

// present shows the proof where the server looks for it, until the returned function is called.
func (m *managed) present(ctx context.Context, client *acme.Client, c *acme.Challenge, domain string, b *Background) (withdraw func(), err error) {
	if m.dns != nil {
		return m.dns.present(ctx, client, c.Token, domain, b)
	}
	return b.Challenges.present(ctx, client, c, domain)
}

// patience is how long one certificate may take.
func (m *managed) patience() time.Duration {
	if m.dns == nil {
		return acmeTimeout
	}
	d := m.dns.conf
	return acmeTimeout + time.Duration(len(m.conf.Domains))*(d.InitialDelay+d.Patience+2*dnsTries*d.Timeout)
}

// finish turns a ready order into a certificate that is stored and used.
func (m *managed) finish(ctx context.Context, client *acme.Client, order *acme.Order) error {
	curve := elliptic.P256()
	if m.conf.KeyType == "ecdsa-p384" {
		curve = elliptic.P384()
	}
	var key crypto.Signer
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: m.conf.Domains}, key)
	if err != nil {
		return err
	}
	chain, _, err := client.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if err != nil { // some servers do not say again where the order is, without which the client gives up: the order knows whether it was a failure
		o, wait := client.WaitOrder(ctx, order.URI)
		if wait != nil || o.CertURL == "" {
			return fmt.Errorf("certificate: %w", err)
		}
		if chain, err = client.FetchCert(ctx, o.CertURL, true); err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
	}
	cert, err := m.storage.keep(m.conf.Domains, key, chain)
	if err != nil {
		return err
	}
	m.cert.Store(cert)
	return nil
}
