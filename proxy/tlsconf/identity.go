package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"
)

// Header is one header that carries part of a client's identity.
type Header struct{ Name, Value []byte }

// maxIdentity bounds one such header: certificates may be long, heads may not.
const maxIdentity = 8 << 10

// HeaderNames are the headers that this listener sends about clients.
func (s *Server) HeaderNames() []string {
	if s == nil {
		return nil
	}
	h := &s.headers
	var out []string
	for _, name := range []string{h.Subject, h.Issuer, h.Serial, h.Fingerprint, h.Names, h.Certificate} {
		if name != "" {
			out = append(out, name)
		}
	}
	return out
}

// Identity is what upstreams and agents are told about a client, nothing when it has shown no certificate.
func (s *Server) Identity(state *tls.ConnectionState) []Header {
	if s.clients == nil || len(state.PeerCertificates) == 0 || len(state.VerifiedChains) == 0 {
		return nil
	}
	c, h := state.PeerCertificates[0], &s.headers
	var out []Header
	add := func(name string, value func() string) {
		if name == "" {
			return
		}
		if v := printable(value()); v != "" && len(v) <= maxIdentity {
			out = append(out, Header{[]byte(name), []byte(v)})
		}
	}
	add(h.Subject, func() string { return c.Subject.String() })
	add(h.Issuer, func() string { return c.Issuer.String() })
	add(h.Serial, func() string { return strings.ToUpper(hex.EncodeToString(c.SerialNumber.Bytes())) })
	add(h.Fingerprint, func() string {
		sum := sha256.Sum256(c.Raw)
		return hex.EncodeToString(sum[:])
	})
	add(h.Names, func() string { return alternatives(c) })
	add(h.Certificate, func() string {
		return escape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
	})
	return out
}

// alternatives lists the alternative names of a certificate. A comma within a name is escaped: it can add no other one.
func alternatives(c *x509.Certificate) string {
	var out []string
	add := func(kind, name string) {
		out = append(out, kind+":"+strings.NewReplacer("%", "%25", ",", "%2C").Replace(name))
	}
	for _, n := range c.DNSNames {
		add("DNS", n)
	}
	for _, u := range c.URIs {
		add("URI", u.String())
	}
	for _, m := range c.EmailAddresses {
		add("email", m)
	}
	for _, ip := range c.IPAddresses {
		add("IP", ip.String())
	}
	return strings.Join(out, ",")
}

// printable percent-encodes what may not stand in a header value; a certificate may hold any character.
func printable(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 0x20 && c < 0x7f {
			b.WriteByte(c)
		} else {
			percent(&b, c)
		}
	}
	return strings.Trim(b.String(), " ")
}

// escape percent-encodes everything but letters, digits and -._~, as nginx does with certificates.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			percent(&b, c)
		}
	}
	return b.String()
}

func percent(b *strings.Builder, c byte) {
	const digits = "0123456789ABCDEF"
	b.WriteByte('%')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
}
