package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/acme"
)

// Challenges are the proofs that ACME servers come to look at. One serves all listeners and outlives generations. Its zero value is ready.
type Challenges struct {
	mu    sync.Mutex // guards the rest
	paths map[string][]byte
	certs map[string]*tls.Certificate
	taken map[string]chan struct{} // domains that have one of certs, closed when it goes
}

// ChallengePrefix is what the path of every http-01 challenge begins with.
const ChallengePrefix = "/.well-known/acme-challenge/"

// present shows the proof until the returned function is called. Of tls-alpn-01 there can be one for a domain only: the second one of two orders at work waits.
func (c *Challenges) present(ctx context.Context, client *acme.Client, chal *acme.Challenge, domain string) (withdraw func(), err error) {
	if chal.Type == "tls-alpn-01" {
		cert, err := client.TLSALPN01ChallengeCert(chal.Token, domain)
		if err != nil {
			return nil, err
		}
		return c.take(ctx, domain, &cert)
	}
	text, err := client.HTTP01ChallengeResponse(chal.Token)
	if err != nil {
		return nil, err
	}
	path := client.HTTP01ChallengePath(chal.Token)
	c.change(func() { c.paths[path] = []byte(text) })
	return func() { c.change(func() { delete(c.paths, path) }) }, nil
}

// take shows a certificate for a domain as soon as no other one is shown.
func (c *Challenges) take(ctx context.Context, domain string, cert *tls.Certificate) (withdraw func(), err error) {
	gone := make(chan struct{})
	for {
		var other chan struct{}
		c.change(func() {
			if other = c.taken[domain]; other == nil {
				c.certs[domain], c.taken[domain] = cert, gone
			}
		})
		if other == nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("another certificate for the same domain is being proved all the time")
		case <-other:
		}
	}
	return func() {
		c.change(func() {
			delete(c.certs, domain)
			delete(c.taken, domain)
		})
		close(gone)
	}, nil
}

func (c *Challenges) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paths == nil {
		c.paths, c.certs, c.taken = map[string][]byte{}, map[string]*tls.Certificate{}, map[string]chan struct{}{}
	}
	f()
}

// Path is the proof that belongs at a path, nil for none.
func (c *Challenges) Path(path []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paths[string(path)]
}

// asksForProof reports whether a client is an ACME server that looks for a certificate (RFC 8737): it offers that protocol and no other.
func asksForProof(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto})
}

func (c *Challenges) cert(domain string) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.certs[strings.ToLower(domain)]
}

// IsProof reports whether a negotiated protocol is that of an ACME server, which has seen all it wants after the handshake.
func IsProof(protocol string) bool { return protocol == acme.ALPNProto }
