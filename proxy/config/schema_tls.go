package config

import (
	"time"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

func listenerTLSSchema() *Key {
	cert := func() *Key {
		return value("cert-file", "CertFile", materialFile(fileType), nil, "The certificate, followed by those of its issuers, as PEM.").unset("needed unless there is acme").alias("cert")
	}
	key := func() *Key {
		return value("key-file", "KeyFile", materialFile(secretType), nil, "Its private key, as PEM.").unset("needed with cert-file").alias("key")
	}
	alternate := func() *Key {
		return block("alternate", "Alternate", "A second certificate for the same names, with another kind of key: RSA beside ECDSA. A client gets the one it can verify, and ECDSA when it can verify both.", cert().required().unset(""), key().required().unset("")).optional()
	}
	sni := items("sni", "SNI", "Hostname", hostPattern(), "A certificate for clients that ask for this name; \"*.example.com\" stands for one label before example.com.",
		list("hostnames", "Hostnames", hostPattern(), nil, "More names for the same certificate.").alias("priority-hostnames"),
		cert(), key(), alternate(), acmeSchema("Gets this certificate from an ACME server, instead of from files. Until there is one, handshakes for its names are refused.", false),
	)
	return block("tls", "TLS", "How the listener speaks TLS; with protocol `https` only. The files are watched like the configuration: new certificates are used for new connections.",
		cert(), key(), alternate(), sni, acmeSchema("Gets a certificate from an ACME server, by which its terms of service are accepted, and renews it. It is the default certificate unless there is cert-file. "+
			"Until there is one, handshakes are refused.", true),
		value("unknown-sni", "UnknownSNI", keyword("default", "refuse"), "default", "What a client gets that asks for a name without a certificate, or for none: the default certificate, or a refusal."),
		value("host-mismatch", "HostMismatch", keyword("refuse", "allow"), "refuse",
			"What happens to a request whose Host would have been given another certificate than the connection was: it is answered 421, or served. A client that asked for no name is served."),
		value("min-version", "MinVersion", tlsVersion(), "1.2", "The oldest version of TLS that is spoken."),
		value("max-version", "MaxVersion", tlsVersion(), "1.3", "The newest."),
		list("cipher-suite", "CipherSuites", cipherSuite(), nil, "The cipher suites of TLS 1.2, by their IANA names.").alias("cipher-suites"),
		value("session-resumption", "SessionResumption", boolean(), true, "Whether clients may resume sessions with tickets."),
		value("ticket-rotation", "TicketRotation", seconds(time.Second, 7*day), 12*time.Hour, "How long one key encrypts tickets. A ticket can be used until its key was replaced twice."),
		value("handshake-timeout", "HandshakeTimeout", seconds(time.Millisecond, time.Hour), 10*time.Second, "Time a client has for the handshake, waiting for its turn included."),
		value("max-handshakes", "MaxHandshakes", integer(1, 1_000_000), 1000, "Handshakes at work at the same time. More wait for their turn, and one that has taken more than a second makes way for them."),
		value("client-auth", "ClientAuth", clientAuth(), "none", "Whether clients are asked for a certificate, and whether they must have one. What they send is always verified."),
		value("ca-file", "CAFile", materialFile(fileType), "", "Certificates of those who issue client certificates, as PEM.").unset("needed with client-auth").alias("client-ca-file"),
		list("crl-file", "CRLFiles", materialFile(fileType), nil,
			"Revocation lists, as PEM or DER. With any of them, every issuer in a client's chain must have one that is signed and not out of date."),
		block("client-headers", "ClientHeaders", "Headers that tell upstreams and agents who the client is. What a client itself sends under these names, on any listener, is removed.",
			value("subject", "Subject", identityField(), "", "The subject, as RFC 2253 text.").unset("not sent"),
			value("issuer", "Issuer", identityField(), "", "The issuer, as RFC 2253 text.").unset("not sent"),
			value("serial", "Serial", identityField(), "", "The serial number in hex.").unset("not sent"),
			value("fingerprint", "Fingerprint", identityField(), "", "The SHA-256 of the certificate in hex.").unset("not sent"),
			value("names", "Names", identityField(), "", "The alternative names: DNS:a, URI:b, email:c, IP:d.").unset("not sent"),
			value("certificate", "Certificate", identityField(), "", "The certificate as PEM, percent-encoded.").unset("not sent"),
		),
		value("ocsp-stapling", "OCSPStapling", boolean(), true,
			"Whether the answer of the certificate's OCSP responder is fetched in the background and sent along. A handshake never waits for it."),
	).optional().rewriting(nameSNI)
}

// acmeSchema is how a certificate is got: the default one, which has to say for what names, or that of an sni block, whose names are its own.
func acmeSchema(doc string, ownNames bool) *Key {
	domains := list("domains", "Domains", certificateName(), nil, "The names of the certificate. A wildcard needs dns-01.")
	if domains.Required = ownNames; !ownNames {
		domains.Unset = "the names of the sni block"
	}
	return block("acme", "ACME", doc,
		value("email", "Email", emailAddress(), nil, "Where the server writes to when something is wrong.").required(),
		domains,
		value("server-url", "ServerURL", secureURL(), "https://acme-v02.api.letsencrypt.org/directory", "The directory of the server."),
		value("ca-file", "CAFile", materialFile(fileType), "", "Who issued the server's own certificate, as PEM.").unset("those of the system"),
		value("storage", "Storage", absoluteDir(), "/var/lib/sentinel/acme", "Directory of account keys and certificates. Several proxies may share it. Certificates have one account when their storage, server-url, email and eab are the same."),
		value("renew-before-days", "RenewBeforeDays", integer(1, 365), 30, "How long before its end a certificate is renewed, at most a third of its life."),
		value("challenge-type", "ChallengeType", keyword("http-01", "tls-alpn-01", "dns-01").or("dns01", "dns-01", "dns", "dns-01"), "http-01",
			"How the server is convinced: http-01 needs a plain listener that can be reached on port 80, tls-alpn-01 this listener on port 443, dns-01 a dns-provider and no listener that the server could reach."),
		value("key-type", "KeyType", keyword("ecdsa-p256", "ecdsa-p384").or("p256", "ecdsa-p256", "ecdsa", "ecdsa-p256", "p384", "ecdsa-p384"), "ecdsa-p256", "The kind of key the certificate is for."),
		block("eab", "", "Credentials of servers that know their clients beforehand (external account binding).",
			value("kid", "EABKeyID", nonEmpty("key id"), "", "The id of the key.").unset("none"),
			value("hmac-key", "EABKey", base64Key(), "", "The key, as base64url.").unset("needed with kid"),
		),
		dnsProviderSchema(),
	).optional().laterNames("staging")
}

func dnsProviderSchema() *Key {
	return block("dns-provider", "DNS", "Who puts the proofs of dns-01 into the zone, and takes them out again.",
		value("type", "Type", keyword("webhook").not("hetzner", "cloudflare"), "webhook", "webhook: an HTTP server of yours is asked to do it."),
		value("url", "URL", hookURL(), nil, "Where it is asked: by a POST of {\"action\": \"present\" or \"cleanup\", \"domain\", \"fqdn\", \"value\", \"ttl\"} as JSON, answered with a status of 2xx when it is done. "+
			"Failures of the network, 429 and 5xx are tried twice more. Redirects are not followed.").required(),
		value("credentials-file", "CredentialsFile", materialFile(secretType), "", "File whose content is sent in auth-header, as \"Bearer abc\". Needs https, or an address of this machine.").unset("nothing is sent"),
		value("credentials", "Credentials", credential(), "", "The same, written here: \"Bearer ${DNS_TOKEN}\" takes it from the environment. It is not shown to anybody.").unset("those of credentials-file"),
		value("auth-header", "AuthHeader", token("header name"), "Authorization", "The header that carries the credentials."),
		value("ca-file", "CAFile", materialFile(fileType), "", "Certificates of those who issue the webhook's certificate, as PEM.").unset("those of the system"),
		value("api-timeout", "Timeout", seconds(100*time.Millisecond, 5*time.Minute), 30*time.Second, "Time of one request to the webhook."),
		block("propagation", "", "When the proof is taken for visible, and the ACME server told to look.",
			value("initial-delay", "InitialDelay", seconds(0, time.Hour), time.Duration(0), "How long is waited before the name servers are asked for the first time."),
			value("check-interval", "CheckInterval", seconds(50*time.Millisecond, 10*time.Minute), 5*time.Second, "How long is waited between two times."),
			value("timeout", "Patience", seconds(100*time.Millisecond, time.Hour), 2*time.Minute, "How long it may take until all of them have the proof; then the attempt has failed."),
			list("nameservers", "Nameservers", hostPort(), nil, "The name servers that are asked. Name resolvers when _acme-challenge is an alias (CNAME) of a name in another zone.").once().unset("those of the zone"),
		),
	).optional().later(Later{"credentials-env", `write credentials "${NAME}"`})
}

// nameSNI gives sni { hostnames "a" "b" … } its name: the first of the hostnames.
func nameSNI(_ *normalizer, n *kdl.Node) {
	for _, c := range n.Children {
		if c.Name != "sni" || len(c.Args) > 0 {
			continue
		}
		for i, h := range c.Children {
			if h.Name != "hostnames" && h.Name != "priority-hostnames" || len(h.Args) == 0 {
				continue
			}
			c.Args = h.Args[:1:1]
			if h.Args = h.Args[1:]; len(h.Args) == 0 {
				(&normalizer{}).drop(c, i)
			}
			break
		}
	}
}

func upstreamTLSSchema() *Key {
	return block("tls", "TLS", "Speaks TLS with the targets, health checks included. Certificates are verified unless that is switched off.",
		value("sni", "SNI", hostHeaderName(), "", "The name that is asked for and that the certificate must have.").unset("the host of the target"),
		value("ca-cert", "CACert", materialFile(fileType), "", "Certificates of those who issue the targets' certificates, as PEM.").unset("those of the system").alias("ca-file"),
		value("client-cert", "ClientCert", materialFile(fileType), "", "The certificate shown to targets that ask for one, as PEM.").unset("none is shown"),
		value("client-key", "ClientKey", materialFile(secretType), "", "Its private key, as PEM.").unset("needed with client-cert"),
		value("insecure-skip-verify", "InsecureSkipVerify", boolean(), false, "Accept any certificate. Whoever can reach the network between can then read and change everything."),
		value("min-version", "MinVersion", tlsVersion(), "1.2", "The oldest version of TLS that is spoken."),
		value("max-version", "MaxVersion", tlsVersion(), "1.3", "The newest."),
		value("session-resumption", "SessionResumption", boolean(), true, "Whether new connections resume the sessions of earlier ones."),
	).optional()
}

// hostHeaderName is a name or address without a port.
func hostHeaderName() *Type { return text("host", checkHost) }
