package tlsconf

import (
	"crypto/tls"
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
}

// ChallengePrefix is what the path of every http-01 challenge begins with.
const ChallengePrefix = "/.well-known/acme-challenge/"

// present shows the proof until the returned function is called.
func (c *Challenges) present(client *acme.Client, chal *acme.Challenge, domain string) (withdraw func(), err error) {
	if chal.Type == "tls-alpn-01" {
		cert, err := client.TLSALPN01ChallengeCert(chal.Token, domain)
		if err != nil {
			return nil, err
		}
		c.change(func() { c.certs[domain] = &cert })
		return func() { c.change(func() { delete(c.certs, domain) }) }, nil
	}
	text, err := client.HTTP01ChallengeResponse(chal.Token)
	if err != nil {
		return nil, err
	}
	path := client.HTTP01ChallengePath(chal.Token)
	c.change(func() { c.paths[path] = []byte(text) })
	return func() { c.change(func() { delete(c.paths, path) }) }, nil
}

func (c *Challenges) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paths == nil {
		c.paths, c.certs = map[string][]byte{}, map[string]*tls.Certificate{}
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
