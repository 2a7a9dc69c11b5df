package tlsconf

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/sentinel-stack/sentinel/proxy/proxytest/names"
)

// ask is a resolver that asks one name server.
func ask(s *names.Server) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, s.Addr)
	}}
}

// The zone of a name is the nearest one above it that has name servers; those without an address are left out.
func TestZoneServers(t *testing.T) {
	t.Parallel()
	s := names.Start(t)
	s.Mask(func(_, a *dns.Msg) { a.RecursionAvailable = true }) // as a resolver says, whose empty answers are taken for such
	s.Set("example.test.", "NS", "example.test. 1 IN NS ns1.example.test.", "example.test. 1 IN NS gone.example.test.")
	s.Set("ns1.example.test.", "A", "ns1.example.test. 1 IN A 192.0.2.1")
	s.Set("ns1.example.test.", "AAAA")
	s.Set("www.example.test.", "NS") // there is such a name, and it is no zone
	s.Set("test.", "NS", "test. 1 IN NS other.test.")
	s.Set("lost.other.test.", "NS", "lost.other.test. 1 IN NS nowhere.test.")
	for name, want := range map[string]string{
		"_acme-challenge.www.example.test": "192.0.2.1:53",
		"_acme-challenge.example.test":     "192.0.2.1:53",
		"_acme-challenge.lost.other.test":  "no such host",
		"_acme-challenge.elsewhere.org":    "no zone is known",
	} {
		got, err := zoneServers(t.Context(), ask(s), name)
		if strings.HasPrefix(want, "no ") {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, %v, want %s", name, got, err, want)
			}
		} else if err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// A name server has the proof when it is among its texts, long ones and those of others beside it.
func TestHasProof(t *testing.T) {
	t.Parallel()
	s := names.Start(t)
	const name = "_acme-challenge.a.test"
	s.Set(name+".", "TXT", name+`. 1 IN TXT "other"`, name+`. 1 IN TXT "the" "proof"`)
	if err := has(t.Context(), s.Addr, name, "theproof"); err != nil {
		t.Error(err)
	}
	if err := has(t.Context(), s.Addr, name, "proof"); err == nil || !strings.Contains(err.Error(), "other proofs") {
		t.Error(err)
	}
	if err := has(t.Context(), s.Addr, "_acme-challenge.b.test", "theproof"); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Error(err)
	}
}
