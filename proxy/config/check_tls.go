package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// listenerTLS checks what the keys of a tls block say together.
func (c *checker) listenerTLS(l *Listener) {
	path := "listeners." + l.ID
	switch {
	case l.TLS == nil && l.Protocol == "https" && !c.partial:
		c.fail(c.at(path+".protocol"), "missing-key", `write tls { cert-file "…"; key-file "…" }`, "listener %s speaks https, so it needs tls", kdl.Quote(l.ID))
	case l.TLS != nil && l.Protocol != "https":
		c.fail(c.at(path+".tls"), "no-effect", `write protocol "https"`, "listener %s speaks %s, so tls has no effect", kdl.Quote(l.ID), l.Protocol)
	}
	t := l.TLS
	if t == nil {
		return
	}
	path += ".tls"
	c.sources(path, l, t)
	c.versions(path, t.MinVersion, t.MaxVersion)
	if len(t.CipherSuites) > 0 && t.MinVersion == "1.3" {
		c.fail(c.at(path+".cipher-suite"), "no-effect", "", "cipher suites can be chosen for TLS 1.2 only, and min-version is 1.3")
	}
	names := map[string]string{}
	for _, s := range t.SNI {
		at := path + ".sni." + s.Hostname
		for i, name := range s.Names() {
			if i > 0 && names[name] != "" {
				c.fail(c.element(at+".hostnames", i-1), "duplicate-id", "first in sni "+kdl.Quote(names[name]), "there are two certificates for %s", kdl.Quote(name))
			}
			names[name] = s.Hostname
		}
	}
	c.clientAuth(path, t)
}

// sources checks that there is a certificate from somewhere.
func (c *checker) sources(path string, l *Listener, t *ListenerTLS) {
	if !c.together(path, "cert-file", "key-file") && t.ACME == nil && !c.partial {
		c.fail(c.at(path), "missing-key", `write cert-file "…"; key-file "…"`, "listener %s has no certificate", kdl.Quote(l.ID))
	}
	c.alternate(path)
	for i := range t.SNI {
		c.sniSource(path+".sni."+t.SNI[i].Hostname, &t.SNI[i])
	}
	all := t.ACMEs()
	for _, below := range slices.Sorted(maps.Keys(all)) {
		c.acme(path+"."+below, all[below])
	}
}

// sniSource checks that a certificate by name comes from one place, and gives that of an ACME server its names.
func (c *checker) sniSource(path string, s *SNI) {
	if s.ACME == nil {
		if !c.together(path, "cert-file", "key-file") && !c.partial {
			c.fail(c.at(path), "missing-key", `write cert-file "…"; key-file "…"`, "there is no certificate for %s", kdl.Quote(s.Hostname))
			return
		}
		c.alternate(path)
		return
	}
	if c.written(path, "cert-file") || c.written(path, "key-file") {
		c.fail(c.at(path+".acme"), "no-effect", "remove acme, or cert-file and key-file", "the certificate for %s comes from files or from an ACME server, not from both", kdl.Quote(s.Hostname))
	} else {
		c.alternate(path)
	}
	if len(s.ACME.Domains) == 0 {
		s.ACME.Domains = s.Names()
		return
	}
	for _, name := range s.Names() {
		if !slices.Contains(s.ACME.Domains, name) && !slices.Contains(s.ACME.Domains, wildcardOf(name)) {
			c.fail(c.at(path+".acme.domains"), "invalid-value", "add it, or leave domains out", "the certificate would not be for %s", kdl.Quote(name))
		}
	}
}

// alternate checks that a second certificate is beside a first one, which must come from files as well.
func (c *checker) alternate(path string) {
	if c.written(path, "alternate") && !c.written(path, "cert-file") {
		c.fail(c.at(path+".alternate"), "missing-key", `write cert-file "…"; key-file "…" beside it`, "alternate needs cert-file: it is a second certificate for the names of one that comes from files")
	}
}

// written reports whether a key stands in a block.
func (c *checker) written(path, key string) bool {
	_, ok := c.origins[path+"."+key]
	return ok
}

// together refuses one of two keys without the other. It reports whether either is written.
func (c *checker) together(path, one, other string) bool {
	have, lacks := one, other
	if !c.written(path, one) {
		have, lacks = other, one
	}
	if !c.written(path, have) {
		return false
	}
	if !c.written(path, lacks) {
		c.fail(c.at(path+"."+have), "missing-key", "", "%s needs %s", have, lacks)
	}
	return true
}

// wildcardOf is the wildcard that stands for a name.
func wildcardOf(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	return "*." + rest
}

// acme checks how one certificate is got.
func (c *checker) acme(path string, a *ACME) {
	_, kid := c.origins[path+".eab.kid"]
	_, hmac := c.origins[path+".eab.hmac-key"]
	if kid != hmac {
		c.fail(c.at(path+".eab"), "missing-key", "", "eab needs both kid and hmac-key")
	}
	plain := slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Protocol == "http" })
	if a.ChallengeType == "http-01" && !plain && !c.partial {
		c.fail(c.at(path), "no-effect", `add a listener with protocol "http" on port 80, or write challenge-type "tls-alpn-01"`, "the challenge http-01 cannot be answered: no listener speaks plain HTTP")
	}
	at := c.at(path + ".dns-provider")
	switch {
	case a.ChallengeType == "dns-01" && a.DNS == nil && !c.partial:
		c.fail(c.at(path), "missing-key", `write dns-provider { url "https://…" }`, "the challenge dns-01 needs dns-provider")
	case a.ChallengeType != "dns-01" && a.DNS != nil:
		c.fail(at, "no-effect", `write challenge-type "dns-01"`, "dns-provider has no effect with the challenge %s", a.ChallengeType)
	case a.DNS != nil:
		c.credentials(path+".dns-provider", a.DNS)
	}
	for i, name := range a.Domains {
		if len(name) > 1 && name[0] == '*' && a.ChallengeType != "dns-01" {
			c.fail(c.element(path+".domains", i), "invalid-value", `write challenge-type "dns-01"`, "a certificate for %s needs the challenge dns-01", kdl.Quote(name))
		}
	}
}

// credentials checks that they are written once, and sent to nobody on the way.
func (c *checker) credentials(path string, d *DNSProvider) {
	file, inFile := c.origins[path+".credentials-file"]
	here, written := c.origins[path+".credentials"]
	at := file
	if written {
		at = here
	}
	switch {
	case inFile && written:
		c.fail(here, "duplicate-key", "remove one of them", "credentials and credentials-file say the same thing")
	case (inFile || written) && !confidential(d.URL):
		c.fail(at, "insecure", "write https in the url", "the credentials would be sent in clear")
	}
}

func (c *checker) clientAuth(path string, t *ListenerTLS) {
	h := t.ClientHeaders
	seen := map[string]string{}
	for _, f := range [][2]string{{"subject", h.Subject}, {"issuer", h.Issuer}, {"serial", h.Serial}, {"fingerprint", h.Fingerprint}, {"names", h.Names}, {"certificate", h.Certificate}} {
		key, name := f[0], strings.ToLower(f[1])
		if first := seen[name]; first != "" && name != "" {
			c.fail(c.at(path+".client-headers."+key), "duplicate-key", "", "the header %s already carries the %s", kdl.Quote(f[1]), first)
		}
		seen[name] = key
	}
	_, hasCA := c.origins[path+".ca-file"]
	if (t.ClientAuth == "optional" || t.ClientAuth == "required") && !hasCA {
		c.fail(c.at(path+".client-auth"), "missing-key", `write ca-file "…"`, "client-auth needs the certificates of those who issue client certificates")
	}
	if t.ClientAuth != "none" {
		return
	}
	for _, key := range []string{"ca-file", "crl-file", "client-headers"} {
		if at, written := c.origins[path+"."+key]; written {
			c.fail(at, "no-effect", `write client-auth "required" or "optional"`, "%s has no effect without client-auth", key)
		}
	}
}

func (c *checker) versions(path, lowest, highest string) {
	if lowest > highest {
		c.fail(c.at(path+".min-version"), "invalid-value", "", "min-version %s is above max-version %s", lowest, highest)
	}
}

func (c *checker) upstreamTLS(u *Upstream) {
	t := u.TLS
	if t == nil {
		return
	}
	path := "upstreams." + u.ID + ".tls"
	c.versions(path, t.MinVersion, t.MaxVersion)
	if t.SNI == "" && slices.ContainsFunc(u.Targets, func(t Target) bool { return strings.HasPrefix(t.Address, unixScheme) }) {
		c.fail(c.at(path), "missing-key", "write sni \"app.example\"", "tls needs sni with a target on a Unix socket: its path is no name that a certificate could be for")
	}
	c.together(path, "client-cert", "client-key")
	if at, written := c.origins[path+".ca-cert"]; written && t.InsecureSkipVerify {
		c.fail(at, "no-effect", "remove insecure-skip-verify", "ca-cert has no effect when nothing is verified")
	}
	if t.InsecureSkipVerify {
		c.report.warn(c.at(path+".insecure-skip-verify"), "insecure", "write ca-cert with the certificate of their issuer", "the certificates of upstream %s are not verified", kdl.Quote(u.ID))
	}
}
