package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// Server is how one listener of one generation speaks TLS.
type Server struct {
	HandshakeTimeout time.Duration
	MaxHandshakes    int

	conf     *tls.Config
	table    *table
	entries  []*entry
	strict   bool // refuse a host that would have been given another certificate
	clients  *clients
	headers  config.ClientHeaders
	tickets  *tickets // nil = no resumption
	rotation time.Duration
	key      atomic.Uint64 // the number of the key that conf has
}

// What can be spoken over TLS, in order of preference.
var (
	protocols      = []string{"http/1.1"}
	protocolsHTTP2 = []string{"h2", "http/1.1"}
	onlyHTTP2      = []string{"h2"}
)

// OfferHTTP2 lets clients choose HTTP/2, or leaves them no other choice. It is called before the first handshake.
func (s *Server) OfferHTTP2(only bool) {
	s.conf.NextProtos = protocolsHTTP2
	if only {
		s.conf.NextProtos = onlyHTTP2
	}
}

// NewServer makes the Server of a listener. prev is that of the former generation, nil for none. An error is a *Fault.
func NewServer(c *config.ListenerTLS, files Files, prev *Server) (*Server, error) {
	s := &Server{HandshakeTimeout: c.HandshakeTimeout, MaxHandshakes: c.MaxHandshakes, strict: c.HostMismatch != "allow", headers: c.ClientHeaders}
	if err := s.certificates(c, files); err != nil {
		return nil, err
	}
	var err error
	if s.clients, err = newClients(c, files); err != nil {
		return nil, err
	}
	s.conf = &tls.Config{
		MinVersion: version(c.MinVersion), MaxVersion: version(c.MaxVersion), CipherSuites: suites(c.CipherSuites), NextProtos: protocols,
		GetCertificate: s.certificate, SessionTicketsDisabled: !c.SessionResumption, DynamicRecordSizingDisabled: true,
	}
	if s.clients != nil {
		s.conf.ClientAuth, s.conf.ClientCAs, s.conf.VerifyConnection = s.clients.auth, s.clients.pool, s.clients.verify
	}
	if c.OCSPStapling {
		s.staples(prev)
	}
	if c.SessionResumption {
		s.tickets, s.rotation = newTickets(s.clients.digest(), prev.sharedTickets()), c.TicketRotation
	}
	return s, nil
}

// certificates reads the default certificate and those of names.
func (s *Server) certificates(c *config.ListenerTLS, files Files) error {
	var fallback *entry
	if c.ACME != nil {
		m, err := newManaged(c.ACME, files, "acme")
		if err != nil {
			return err
		}
		fallback = &entry{names: c.ACME.Domains, certs: []*served{{managed: m, path: "acme"}}}
	}
	if c.CertFile != "" {
		certs, err := fromFiles(files, config.CertificatePair{CertFile: c.CertFile, KeyFile: c.KeyFile}, c.Alternate, "")
		if err != nil {
			return err
		}
		if fallback != nil {
			s.entries = append(s.entries, fallback)
		}
		fallback = &entry{certs: certs, names: namesOf(certs[0].cert.Leaf)}
	}
	for _, n := range c.SNI {
		e, err := forNames(files, &n)
		if err != nil {
			return err
		}
		s.entries = append(s.entries, e)
	}
	s.entries = append(s.entries, fallback) // last: what a block names goes before what the default certificate says of itself
	s.table = newTable(s.entries, fallback, c.UnknownSNI == "refuse")
	return nil
}

// forNames makes what an sni block says: certificates from files, which must be for its names, or one that an ACME server issues.
func forNames(files Files, n *config.SNI) (*entry, error) {
	path := "sni." + n.Hostname
	if n.ACME != nil {
		m, err := newManaged(n.ACME, files, path+".acme")
		if err != nil {
			return nil, err
		}
		return &entry{names: n.Names(), certs: []*served{{managed: m, path: path + ".acme"}}}, nil
	}
	certs, err := fromFiles(files, config.CertificatePair{CertFile: n.CertFile, KeyFile: n.KeyFile}, n.Alternate, path+".")
	if err != nil {
		return nil, err
	}
	e := &entry{certs: certs, names: n.Names()}
	for _, name := range e.names {
		if leaf := certs[0].cert.Leaf; !covers(leaf, name) {
			return nil, fault(path, "the certificate %s is not for %s but for %v", n.CertFile, name, namesOf(leaf))
		}
	}
	return e, nil
}

// covers reports whether a certificate is good for a name, which may be a wildcard.
func covers(c *x509.Certificate, name string) bool {
	if slices.Contains(namesOf(c), name) {
		return true
	}
	return c.VerifyHostname(name) == nil
}

// certificate chooses by the name a client asks for. Without one the handshake ends with the alert unrecognized_name: crypto/tls sends it when there is
// neither a certificate nor an error.
func (s *Server) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	e := s.table.find(hello.ServerName)
	if e == nil {
		return nil, nil
	}
	return e.choose(hello, time.Now()), nil
}

// Config is what connections are made with.
func (s *Server) Config() *tls.Config {
	if s.tickets != nil {
		if n := s.tickets.turn(time.Now(), s.rotation); s.key.Swap(n) != n {
			s.conf.SetSessionTicketKeys(s.tickets.keys())
		}
	}
	return s.conf
}

// QUIC is what a connection of QUIC is made with: the same certificates, clients and tickets, and nothing below TLS 1.3 (RFC 9001 §4.2). Proofs for ACME servers are not shown there.
func (s *Server) QUIC() *tls.Config {
	c := s.Config().Clone()
	c.MinVersion, c.MaxVersion, c.NextProtos, c.GetConfigForClient = tls.VersionTLS13, 0, []string{"h3"}, nil
	return c
}

// Show makes the listener show proofs to ACME servers that look for them over TLS.
// They have no certificate of their own and are asked for none.
func (s *Server) Show(c *Challenges) {
	proof := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{acme.ALPNProto}, SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return c.cert(hello.ServerName), nil },
	}
	s.conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if asksForProof(hello) {
			return proof, nil
		}
		return nil, nil
	}
}

// Serves reports whether a request for host may be answered on a connection whose client asked for the name sni: when host would have been given the same
// certificate. Clients that asked for no name cannot be compared.
func (s *Server) Serves(sni string, host []byte) bool {
	if !s.strict || sni == "" {
		return true
	}
	host = withoutPort(host)
	if string(host) == sni {
		return true
	}
	return s.table.find(string(host)) == s.table.find(sni)
}

// withoutPort cuts the port off a Host. An IPv6 address keeps its brackets; there is no certificate by name for it.
func withoutPort(host []byte) []byte {
	for i := len(host) - 1; i >= 0; i-- {
		switch c := host[i]; {
		case c == ':':
			return host[:i]
		case c < '0' || c > '9':
			return host
		}
	}
	return host
}

func (s *Server) sharedTickets() *tickets {
	if s == nil {
		return nil
	}
	return s.tickets
}

// Notes are warnings about certificates, by the path of the value they are about.
func (s *Server) Notes(now time.Time) []Fault {
	var out []Fault
	for c := range s.all() {
		if c.managed != nil {
			continue // it is renewed
		}
		if text := validity(c.cert.Leaf, now); text != "" {
			out = append(out, Fault{c.path, errors.New(text)})
		}
	}
	return out
}

func version(v string) uint16 {
	if v == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

func suites(names []string) []uint16 {
	var out []uint16
	for _, c := range tls.CipherSuites() {
		if slices.Contains(names, c.Name) {
			out = append(out, c.ID)
		}
	}
	return out
}
