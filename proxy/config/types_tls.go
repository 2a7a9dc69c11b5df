package config

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// ListenerTLS says how a listener speaks TLS. Paths of files are resolved: relative ones start from the file they are written in.
type ListenerTLS struct {
	CertFile, KeyFile string // the default certificate
	Alternate         *CertificatePair
	SNI               []SNI
	UnknownSNI        string // "default" or "refuse"
	HostMismatch      string // "refuse" or "allow"
	MinVersion        string // "1.2" or "1.3"
	MaxVersion        string
	CipherSuites      []string // of TLS 1.2; none = all that are safe
	SessionResumption bool
	TicketRotation    time.Duration
	HandshakeTimeout  time.Duration
	MaxHandshakes     int
	ClientAuth        string // "none", "optional" or "required"
	CAFile            string
	CRLFiles          []string
	ClientHeaders     ClientHeaders
	OCSPStapling      bool
	ACME              *ACME // nil = certificates come from files alone
}

// ACME says how a certificate is got from an ACME server.
type ACME struct {
	Email           string
	Domains         []string
	ServerURL       string
	CAFile          string // "" = the system's
	Storage         string
	RenewBeforeDays int
	ChallengeType   string // "http-01", "tls-alpn-01" or "dns-01"
	KeyType         string // "ecdsa-p256" or "ecdsa-p384"
	EABKeyID        string
	EABKey          string
	DNS             *DNSProvider // set with dns-01
}

// DNSProvider is who puts the proofs of dns-01 into the zone.
type DNSProvider struct {
	Type            string // "webhook"
	URL             string
	AuthHeader      string // header that carries the content of CredentialsFile
	CredentialsFile string
	Credentials     string // instead of CredentialsFile; both "" = nothing is sent
	CAFile          string // "" = the system's
	Timeout         time.Duration
	InitialDelay    time.Duration // before the first look at the name servers
	CheckInterval   time.Duration
	Patience        time.Duration // until all of them have the proof
	Nameservers     []string      // host:port; none = those of the zone
}

// RenewBefore is how long before its end a certificate is renewed.
func (a *ACME) RenewBefore() time.Duration { return time.Duration(a.RenewBeforeDays) * day }

// SNI is a certificate for the names that clients ask for.
type SNI struct {
	Hostname          string
	Hostnames         []string // more of them
	CertFile, KeyFile string
	Alternate         *CertificatePair
	ACME              *ACME // instead of files, nil = none
}

// Names are all names of the certificate.
func (s *SNI) Names() []string { return append([]string{s.Hostname}, s.Hostnames...) }

// ACMEs are all certificates of a listener that ACME servers issue, by their paths below the tls block.
func (t *ListenerTLS) ACMEs() map[string]*ACME {
	out := map[string]*ACME{}
	if t.ACME != nil {
		out["acme"] = t.ACME
	}
	for i := range t.SNI {
		if a := t.SNI[i].ACME; a != nil {
			out["sni."+t.SNI[i].Hostname+".acme"] = a
		}
	}
	return out
}

// CertificatePair is another certificate for the same names, with another kind of key; nil = there is none.
type CertificatePair struct {
	CertFile, KeyFile string
}

// ClientHeaders names the headers that carry the identity of a verified client certificate; "" = not sent.
type ClientHeaders struct {
	Subject, Issuer, Serial, Fingerprint, Names, Certificate string
}

// UpstreamTLS says how targets are spoken to over TLS.
type UpstreamTLS struct {
	SNI                   string // "" = the host of the target
	CACert                string // "" = the system's
	ClientCert, ClientKey string
	InsecureSkipVerify    bool
	MinVersion            string
	MaxVersion            string
	SessionResumption     bool
}

// fileType is the path of a file whose content belongs to the configuration: it is read with it, watched with it and part of its hash.
const (
	fileType   = "file"
	secretType = "secret file" // one that others had better not read
)

func materialFile(name string) *Type {
	return &Type{Name: name, parse: func(_ *Type, v kdl.Value, _ string) (any, error) {
		if v.Kind != kdl.String {
			return nil, wrongType("the path of a file", v)
		}
		if v.Str == "" {
			return nil, fmt.Errorf("the path must not be empty")
		}
		return v.Str, noControl(v.Str)
	}}
}

func tlsVersion() *Type {
	return keyword("1.2", "1.3").or("tls1.2", "1.2", "tlsv1.2", "1.2", "tls1.3", "1.3", "tlsv1.3", "1.3")
}

// cipherSuite is a cipher suite of TLS 1.2. Those of TLS 1.3 are all safe and cannot be chosen; unsafe ones are refused.
func cipherSuite() *Type {
	return text("cipher suite", func(s string) error {
		var valid []string
		for _, c := range tls.CipherSuites() {
			if !slices.Contains(c.SupportedVersions, tls.VersionTLS12) {
				if c.Name == s {
					return fmt.Errorf("%s belongs to TLS 1.3, whose cipher suites are all safe and cannot be chosen", s)
				}
				continue
			}
			if c.Name == s {
				return nil
			}
			valid = append(valid, c.Name)
		}
		for _, c := range tls.InsecureCipherSuites() {
			if c.Name == s {
				return fmt.Errorf("the cipher suite %s is not safe", s)
			}
		}
		return fmt.Errorf("unknown cipher suite %s; there are %s", kdl.Quote(s), strings.Join(valid, ", "))
	})
}

// clientAuth also takes #true and #false, as older files write it.
func clientAuth() *Type {
	t := keyword("none", "optional", "required")
	words := t.parse
	t.parse = func(t *Type, v kdl.Value, unit string) (any, error) {
		if v.Kind == kdl.Bool {
			return map[bool]string{false: "none", true: "required"}[v.Bool], nil
		}
		return words(t, v, unit)
	}
	return t
}

// ownFields are written by the proxy on every request, or mean something else to everybody: they cannot tell who a client is.
var ownFields = []string{"host", "forwarded", "via", "x-request-id", "traceparent", "tracestate", "x-real-ip", "cookie", "authorization", "expect"}

// identityField is the name of a header that tells who a client is.
func identityField() *Type {
	return text("header name", func(s string) error {
		name := strings.ReplaceAll(strings.ToLower(s), "_", "-")
		if slices.Contains(ownFields, name) || strings.HasPrefix(name, "x-forwarded-") {
			return fmt.Errorf("the header %s has another meaning and cannot tell who a client is", kdl.Quote(s))
		}
		return editableField().check(s)
	})
}

// certificateName is a DNS name for which a certificate can be had; "*." before it stands for one label.
func certificateName() *Type {
	return text("host", func(s string) error { return checkFullHost(strings.TrimPrefix(s, "*.")) })
}

// plainHost is a full DNS name.
func plainHost() *Type { return text("host", checkFullHost) }

func checkFullHost(s string) error {
	if s != strings.ToLower(s) || net.ParseIP(s) != nil || !strings.Contains(s, ".") {
		return fmt.Errorf("%s is not a full host name in lower case", kdl.Quote(s))
	}
	return checkHost(s)
}

// secureURL is an https address.
func secureURL() *Type {
	return text("URL", func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("%s is not an https:// address", kdl.Quote(s))
		}
		return nil
	})
}

// emailAddress is one address.
func emailAddress() *Type {
	return text("email address", func(s string) error {
		if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
			return fmt.Errorf("%s is not an email address", kdl.Quote(s))
		}
		return nil
	})
}

// base64Key is a key as ACME servers hand it out.
func base64Key() *Type {
	return text("key", func(s string) error {
		if _, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "=")); err != nil || s == "" {
			return fmt.Errorf("the key is not base64url")
		}
		return nil
	})
}

// credential is the value of a header that proves who we are.
func credential() *Type {
	return text("credentials", func(s string) error {
		if s == "" || strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("the credentials must be visible characters, without space around them")
		}
		return nil
	})
}
