package tlsconf_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

// ecdsaSuites and rsaSuites are what clients of TLS 1.2 offer that can verify one kind of key only.
var (
	ecdsaSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	rsaSuites   = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
)

// A client is shown the certificate that it can verify, and ECDSA before RSA, whichever is written first, also for a name that neither is for.
func TestAlternates(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	quick, strong := ca.Issue(pki.Options{Names: []string{"a"}}), ca.Issue(pki.Options{Names: []string{"a"}, RSA: true})
	first := listener(t, quick)
	alternate(t, first, strong)
	second := listener(t, strong)
	alternate(t, second, quick)
	named := listener(t, ca.Issue(pki.Options{Names: []string{"z"}}))
	sni(t, named, strong, "a")
	named.SNI[0].Alternate = &config.CertificatePair{CertFile: first.CertFile, KeyFile: first.KeyFile}
	for _, l := range []*config.ListenerTLS{first, second, named} {
		s := newServer(t, l, nil)
		for _, name := range []string{"a", "unknown"} {
			if name == "unknown" && l == named {
				continue
			}
			for _, c := range []struct {
				version uint16
				suites  []uint16
				want    *pki.Pair
			}{{tls.VersionTLS13, nil, quick}, {tls.VersionTLS12, nil, quick}, {tls.VersionTLS12, ecdsaSuites, quick}, {tls.VersionTLS12, rsaSuites, strong}} {
				conf := &tls.Config{RootCAs: ca.Pool(), ServerName: name, InsecureSkipVerify: name != "a", MinVersion: c.version, MaxVersion: c.version, CipherSuites: c.suites, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
				for _, resumed := range []bool{false, true} {
					state, err := meet(s, conf)
					if err != nil || !state.PeerCertificates[0].Equal(c.want.Cert) || state.DidResume != resumed {
						t.Errorf("%s with %x, %v: resumed %v, %v", name, c.version, c.suites, state.DidResume, err)
					}
				}
			}
		}
	}
}

// The suites that a listener allows count as well: RSA alone leaves ECDSA unused.
func TestAlternateSuites(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	quick, strong := ca.Issue(pki.Options{Names: []string{"a"}}), ca.Issue(pki.Options{Names: []string{"a"}, RSA: true})
	l := listener(t, quick)
	alternate(t, l, strong)
	l.MaxVersion, l.CipherSuites = "1.2", []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}
	state, err := meet(newServer(t, l, nil), &tls.Config{RootCAs: ca.Pool(), ServerName: "a"})
	if err != nil || !state.PeerCertificates[0].Equal(strong.Cert) {
		t.Errorf("%v", err)
	}
	if _, err := meet(newServer(t, l, nil), &tls.Config{RootCAs: ca.Pool(), ServerName: "a", MaxVersion: tls.VersionTLS12, CipherSuites: ecdsaSuites}); err == nil {
		t.Error("a client that can verify ECDSA only is not refused")
	}
}

// Both certificates have an end that is told, and a warning when it is near.
func TestAlternateExpiries(t *testing.T) {
	t.Parallel()
	ca := pki.New("ca")
	l := listener(t, ca.Issue(pki.Options{Names: []string{"a"}}))
	alternate(t, l, ca.Issue(pki.Options{Names: []string{"a"}, RSA: true, After: 24 * time.Hour}))
	s := newServer(t, l, nil)
	kinds := ""
	for _, e := range s.Held() {
		kinds += e.Name + ":" + e.Key + " "
	}
	if kinds != "a:ecdsa a:rsa " {
		t.Errorf("%q", kinds)
	}
	if notes := s.Notes(s.Held()[0].After.AddDate(0, -6, 0)); len(notes) != 1 || notes[0].Path != "alternate.cert-file" {
		t.Errorf("%v", notes)
	}
}
