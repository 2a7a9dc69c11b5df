package script

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// certificates holds what a script has issued.
type certificates struct {
	authorities map[string]*pki.Authority
	pairs       map[string]*pki.Pair
	status      map[string]int // OCSP, by serial number
	responders  []*httptest.Server
}

// responder answers about the certificates of one authority.
func (c call) responder(name string) error {
	ca := c.issued.authorities[name]
	if ca == nil {
		return usage("no authority " + name)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q, err := ocsp.ParseRequest(body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		status := c.issued.status[q.SerialNumber.String()]
		c.mu.Unlock()
		now := time.Now()
		out, err := ocsp.CreateResponse(ca.Cert, ca.Cert, ocsp.Response{Status: status, SerialNumber: q.SerialNumber, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(2 * time.Second), RevokedAt: now}, ca.Key)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(out)
	}))
	c.issued.responders = append(c.issued.responders, s)
	c.set("OCSP", s.URL)
	c.setenv("OCSP", s.URL)
	return nil
}

// pki makes certificates and lists as files beside the configuration.
//
//	pki ca NAME                                      an authority: NAME.pem
//	pki cert NAME CA [-name N]... [FLAG]...          a certificate: NAME.pem, NAME.key; flags: -client, -expired, -chain (its issuer is in NAME.pem too), -rsa, -ocsp URL, -subject TEXT, -age D, -rest D
//	pki crl FILE CA [-old] [NAME...]                 a revocation list of these certificates
//	pki responder CA                                 an OCSP responder, at $OCSP; pki status NAME good|revoked says what it says, at first good
//	pki mix FILE NAME...                             the certificates of several authorities in one file
func (c call) pki(args []string) error {
	if len(args) < 2 {
		return usage("pki ca|cert|crl|mix|responder|status NAME ...")
	}
	name := args[1]
	switch args[0] {
	case "responder":
		return c.responder(name)
	case "status":
		status, known := map[string]int{"good": ocsp.Good, "revoked": ocsp.Revoked}[args[2]]
		if !known || c.issued.pairs[name] == nil {
			return usage("pki status NAME good|revoked")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.issued.status[c.issued.pairs[name].Cert.SerialNumber.String()] = status
		return nil
	case "ca":
		a := pki.New(name)
		c.issued.authorities[name] = a
		pki.WriteFile(c.dir, name+".pem", a.PEM())
		return nil
	case "mix":
		var all []byte
		for _, n := range args[2:] {
			all = append(all, c.issued.authorities[n].PEM()...)
		}
		pki.WriteFile(c.dir, name, all)
		return nil
	}
	if len(args) < 3 || c.issued.authorities[args[2]] == nil {
		return usage("pki " + args[0] + " NAME CA ...")
	}
	ca := c.issued.authorities[args[2]]
	if args[0] == "cert" {
		o, err := parseCertificate(name, args[3:])
		if err != nil {
			return err
		}
		p := ca.Issue(o)
		c.issued.pairs[name] = p
		p.Write(c.dir, name)
		return nil
	}
	valid, names := time.Hour, args[3:]
	if len(names) > 0 && names[0] == "-old" {
		valid, names = -time.Minute, names[1:]
	}
	var revoked []*pki.Pair
	for _, n := range names {
		revoked = append(revoked, c.issued.pairs[n])
	}
	pki.WriteFile(c.dir, name, ca.CRL(valid, revoked...))
	return nil
}

func parseCertificate(name string, args []string) (pki.Options, error) {
	o := pki.Options{Subject: name}
	for len(args) > 0 {
		switch args[0] {
		case "-client":
			o.Client = true
		case "-rsa":
			o.RSA = true
		case "-chain":
			o.Chain = true
		case "-expired":
			o.Before, o.After = 48*time.Hour, -time.Hour
		default:
			if len(args) < 2 {
				return o, usage("pki cert " + args[0])
			}
			switch args[0] {
			case "-name":
				o.Names = append(o.Names, args[1])
			case "-subject":
				o.Subject = args[1]
			case "-ocsp":
				o.OCSP = args[1]
			case "-age", "-rest":
				d, err := time.ParseDuration(args[1])
				if err != nil {
					return o, usage(err.Error())
				}
				if args[0] == "-age" {
					o.Before = d
				} else {
					o.After = d
				}
			default:
				return o, usage("pki cert " + args[0])
			}
			args = args[1:]
		}
		args = args[1:]
	}
	return o, nil
}

// secure is how an exchange uses TLS. Options of http:
//
//	-tls                over TLS, and the certificate is verified
//	-trust CA           by this authority instead of "ca"
//	-sni NAME           the name asked for and verified, instead of test.example; "" asks for none and verifies nothing
//	-served NAME        the certificate is the one called NAME
//	-cert NAME          show this client certificate
//	-version V          this version only: 1.0, 1.1, 1.2 or 1.3
//	-cipher NAME        this cipher suite only, of TLS 1.2
//	-resumed yes|no     whether the session of an earlier such exchange of the script was resumed
//	-stapled yes|no     whether an OCSP answer came along
type secure struct {
	on                                    bool
	trust, sni, served, cert, ver, cipher string
	resumed, stapled                      string
}

func (s *secure) option(name, value string) bool {
	into := map[string]*string{"-trust": &s.trust, "-sni": &s.sni, "-served": &s.served, "-cert": &s.cert, "-version": &s.ver, "-cipher": &s.cipher,
		"-resumed": &s.resumed, "-stapled": &s.stapled}[name]
	if into == nil {
		return false
	}
	*into, s.on = value, true
	return true
}

var tlsVersions = map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func (w *world) tlsConfig(s *secure) (*tls.Config, error) {
	ca := w.issued.authorities[s.trust]
	if ca == nil {
		return nil, usage("no authority " + s.trust)
	}
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: s.sni, InsecureSkipVerify: s.sni == "", MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, ClientSessionCache: w.sessions}
	if s.ver != "" {
		conf.MinVersion, conf.MaxVersion = tlsVersions[s.ver], tlsVersions[s.ver]
	}
	if s.cert != "" {
		cert := w.issued.pairs[s.cert].TLS() // shown even to those who ask for another authority's
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		conf.ClientSessionCache = nil
	}
	if s.resumed == "" {
		conf.ClientSessionCache = nil
	}
	if s.cipher != "" {
		conf.MaxVersion = tls.VersionTLS12
		for _, c := range tls.CipherSuites() {
			if c.Name == s.cipher {
				conf.CipherSuites = []uint16{c.ID}
			}
		}
	}
	return conf, nil
}

// begin makes the handshake and judges it.
func (s *secure) begin(w *world, conn *connection) error {
	conf, err := w.tlsConfig(s)
	if err != nil {
		return err
	}
	c := tls.Client(conn.socket, conf)
	if err := c.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	conn.secure = c
	conn.r = bufio.NewReader(io.TeeReader(c, &conn.seen))
	state := c.ConnectionState()
	if s.served != "" && !state.PeerCertificates[0].Equal(w.issued.pairs[s.served].Cert) {
		return fmt.Errorf("the certificate of %s %v, not of %s", state.PeerCertificates[0].Subject, state.PeerCertificates[0].DNSNames, s.served)
	}
	if s.resumed != "" && (s.resumed == "yes") != state.DidResume {
		return fmt.Errorf("resumed: %v", state.DidResume)
	}
	if s.stapled != "" && (s.stapled == "yes") != (len(state.OCSPResponse) > 0) {
		return fmt.Errorf("stapled: %v", len(state.OCSPResponse) > 0)
	}
	return nil
}

// Write goes through TLS when there is any.
func (c *connection) Write(p []byte) (int, error) {
	if c.secure != nil {
		return c.secure.Write(p)
	}
	return c.socket.Write(p)
}

// tls makes a backend speak TLS from now on: backend NAME tls CERT [-ask CA] [-version V].
func (b *backend) speakTLS(w *world, args []string) error {
	if len(args) == 0 || w.issued.pairs[args[0]] == nil {
		return usage("backend NAME tls CERT [-ask CA] [-version V]")
	}
	conf := &tls.Config{Certificates: []tls.Certificate{w.issued.pairs[args[0]].TLS()}}
	conf.VerifyConnection = func(state tls.ConnectionState) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if state.DidResume {
			b.resumed++
		}
		return nil
	}
	for args = args[1:]; len(args) > 1; args = args[2:] {
		switch args[0] {
		case "-ask":
			conf.ClientAuth, conf.ClientCAs = tls.RequireAndVerifyClientCert, w.issued.authorities[args[1]].Pool()
		case "-version":
			conf.MinVersion, conf.MaxVersion = tlsVersions[args[1]], tlsVersions[args[1]]
		default:
			return usage("backend NAME tls " + args[0])
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tls = conf
	return nil
}

// check runs `sentinel test` and expects that it fails and says the texts, or with -ok that it succeeds and says them.
func (c call) check(args []string) error {
	ok := len(args) > 0 && args[0] == "-ok"
	if ok {
		args = args[1:]
	}
	if len(args) < 2 {
		return usage("check [-ok] FILE TEXT...")
	}
	cmd := exec.Command(program, "test", "--config", args[0])
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SENTINEL_RUNTIME_DIR=" + c.run}
	c.mu.Lock()
	for name, value := range c.vars {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	c.mu.Unlock()
	out, err := cmd.CombinedOutput()
	if (err == nil) != ok {
		return fmt.Errorf("%v\n%s", err, out)
	}
	return holds(string(out), args[1:])
}

// openssl runs openssl s_client against the proxy, with a request on its standard input, and looks for the texts in what it says: openssl TEXT... [-- OPTION...].
func (c call) openssl(args []string) error {
	if _, err := exec.LookPath("openssl"); err != nil {
		fmt.Fprintln(os.Stderr, "SKIP openssl: it is not installed")
		return nil
	}
	var options []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, options = args[:i], args[i+1:]
	}
	cmd := exec.Command("openssl", append([]string{"s_client", "-connect", "127.0.0.1:" + c.get("PORT"), "-servername", "test.example", "-CAfile", filepath.Join(c.dir, "ca.pem"), "-ign_eof"}, options...)...)
	cmd.Dir = c.dir
	cmd.Stdin = strings.NewReader("GET / HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n")
	out, _ := cmd.CombinedOutput() // its exit code says little
	return holds(string(out), args)
}

// curl runs curl against the proxy and looks for the texts in what it prints: curl [-fails] TEXT... -- OPTION... PATH.
func (c call) curl(args []string) error {
	if _, err := exec.LookPath("curl"); err != nil {
		fmt.Fprintln(os.Stderr, "SKIP curl: it is not installed")
		return nil
	}
	fails := len(args) > 0 && args[0] == "-fails"
	if fails {
		args = args[1:]
	}
	i := slices.Index(args, "--")
	if i < 0 || i == len(args)-1 {
		return usage("curl [-fails] TEXT... -- OPTION... PATH")
	}
	options, path := args[i+1:len(args)-1], args[len(args)-1]
	cmd := exec.Command("curl", append(append([]string{"-sS", "-i", "--max-time", "10", "--noproxy", "*", "--resolve", "test.example:" + c.get("PORT") + ":127.0.0.1"}, options...), "https://test.example:"+c.get("PORT")+path)...)
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	if (err != nil) != fails {
		return fmt.Errorf("%v\n%s", err, out)
	}
	return holds(string(out), args[:i])
}
