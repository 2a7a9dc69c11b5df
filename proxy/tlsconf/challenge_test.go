package tlsconf

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

// Two orders that prove the same domain at the same time do not take each other's proof away: the second one waits, and those for other domains do not.
func TestProofsOfOneDomain(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client := &acme.Client{Key: key}
	var c Challenges
	show := func(ctx context.Context, token, domain string) (func(), error) {
		return c.present(ctx, client, &acme.Challenge{Type: "tls-alpn-01", Token: token}, domain)
	}
	withdraw, err := show(t.Context(), "one", "a.example")
	if err != nil {
		t.Fatal(err)
	}
	first := c.cert("A.example")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := show(short, "two", "a.example"); err == nil {
		t.Error("two proofs for one domain")
	}
	if other, err := show(t.Context(), "three", "b.example"); err != nil {
		t.Error(err)
	} else {
		other()
	}
	shown := make(chan func())
	go func() {
		next, err := show(t.Context(), "two", "a.example")
		if err != nil {
			t.Error(err)
		}
		shown <- next
	}()
	if c.cert("a.example") != first {
		t.Error("the first proof is gone")
	}
	withdraw()
	next := <-shown
	if second := c.cert("a.example"); second == nil || second == first {
		t.Error("the second proof is not shown")
	}
	next()
	if c.cert("a.example") != nil {
		t.Error("a proof is left")
	}
}
