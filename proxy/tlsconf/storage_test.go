package tlsconf

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/proxytest/pki"
)

func TestStorage(t *testing.T) {
	t.Parallel()
	s := storage{filepath.Join(t.TempDir(), "new", "acme")}
	unlock, err := s.lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.lock(ctx, nil); err == nil {
		t.Error("locked twice")
	}
	unlock()
	again, err := s.lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.lock(t.Context(), []string{"a.example"}) // one for a certificate is another one
	if err != nil {
		t.Fatal(err)
	}
	other()
	again()

	first, err := s.account(t.Context(), "https://one/dir", "a@b.example", "k")
	if err != nil {
		t.Fatal(err)
	}
	same, err := s.account(t.Context(), "https://one/dir", "a@b.example", "k")
	if err != nil || !first.(*ecdsa.PrivateKey).Equal(same) {
		t.Error("another account", err)
	}
	for _, o := range [][3]string{{"https://two/dir", "a@b.example", "k"}, {"https://one/dir", "c@b.example", "k"}, {"https://one/dir", "a@b.example", ""}} {
		other, err := s.account(t.Context(), o[0], o[1], o[2])
		if err != nil || first.(*ecdsa.PrivateKey).Equal(other) {
			t.Errorf("%q has the same account, %v", o, err)
		}
		if err := os.Remove(s.named("account", o[0], o[1], o[2])); err != nil {
			t.Error(err)
		}
	}

	ca := pki.New("ca")
	p := ca.Issue(pki.Options{Names: []string{"a.example"}})
	domains := []string{"a.example"}
	if _, err := s.certificate(domains); !os.IsNotExist(err) {
		t.Error(err)
	}
	wrong, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if _, err := s.keep(domains, wrong, [][]byte{p.Cert.Raw}); err == nil {
		t.Error("kept a certificate for another key")
	}
	if _, err := s.keep([]string{"b.example"}, p.Key, [][]byte{p.Cert.Raw}); err == nil {
		t.Error("kept a certificate for another name")
	}
	if _, err := s.certificate(domains); !os.IsNotExist(err) {
		t.Error("something was kept", err)
	}
	if _, err := s.keep(domains, p.Key, [][]byte{p.Cert.Raw, ca.Cert.Raw}); err != nil {
		t.Fatal(err)
	}
	cert, err := s.certificate(domains)
	if err != nil || len(cert.Certificate) != 2 || !cert.Leaf.Equal(p.Cert) {
		t.Error(cert, err)
	}
	if _, err := s.certificate([]string{"a.example", "b.example"}); err == nil {
		t.Error("a certificate for other names was found")
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil || len(entries) != 4 {
		t.Error(entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", e.Name(), info.Mode(), err)
		}
	}
}
