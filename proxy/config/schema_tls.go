package config

import (
	"time"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

func listenerTLSSchema() *Key {
	cert := func() *Key {
		return value("cert-file", "CertFile", materialFile(fileType), nil, "The certificate, followed by those of its issuers, as PEM.").required().alias("cert")
	}
	key := func() *Key {
		return value("key-file", "KeyFile", materialFile(secretType), nil, "Its private key, as PEM.").required().alias("key")
	}
	sni := items("sni", "SNI", "Hostname", hostPattern(), "A certificate for clients that ask for this name; \"*.example.com\" stands for one label before example.com.",
		list("hostnames", "Hostnames", hostPattern(), nil, "More names for the same certificate.").alias("priority-hostnames"),
		cert(), key(),
	).laterNames("acme")
	return block("tls", "TLS", "How the listener speaks TLS; with protocol `https` only. The files are watched like the configuration: new certificates are used for new connections.",
		cert(), key(), sni,
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
	).optional().laterNames("acme").rewriting(nameSNI)
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
