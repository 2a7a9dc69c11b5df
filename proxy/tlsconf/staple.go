package tlsconf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ocsp"
)

const (
	stapleTimeout = 10 * time.Second // for one question
	stapleMax     = 64 << 10         // bytes of an answer
	stapleRetry   = 5 * time.Second  // after the first failure; doubles
	stapleSlowest = time.Hour        // between two questions, failures or not, at least so often
)

// staple is the OCSP answer about one certificate. It outlives generations.
type staple struct {
	cert         *tls.Certificate // without an answer
	leaf, issuer *x509.Certificate
	key          [sha256.Size]byte // of the certificate
	held         atomic.Pointer[answer]

	due   time.Time // when to ask next; of the goroutine that asks
	fails int
}

// answer is what a responder said, and how long that is good.
type answer struct {
	cert  *tls.Certificate // with the answer
	until time.Time
	next  time.Time // when to ask again
}

// newStaple returns nil when nobody can be asked about a certificate: it names no responder, or the file does not hold its issuer.
func newStaple(cert *tls.Certificate) *staple {
	if len(cert.Leaf.OCSPServer) == 0 || len(cert.Certificate) < 2 {
		return nil
	}
	issuer, err := x509.ParseCertificate(cert.Certificate[1])
	if err != nil {
		return nil
	}
	return &staple{cert: cert, leaf: cert.Leaf, issuer: issuer, key: sha256.Sum256(cert.Certificate[0])}
}

// staples gives every certificate its staple, the former one if there is one.
func (s *Server) staples(prev *Server) {
	for c := range s.all() {
		if c.managed != nil {
			continue
		}
		if c.staple = newStaple(c.cert); c.staple == nil || prev == nil {
			continue
		}
		for old := range prev.all() {
			if old.staple != nil && old.staple.key == c.staple.key {
				c.staple.take(old.staple.held.Load())
			}
		}
	}
}

// take continues with an answer of the former generation: a reload is no reason to ask again.
func (t *staple) take(a *answer) {
	if a != nil && time.Now().Before(a.until) {
		t.held.Store(a)
		t.due = a.next
	}
}

// Background is what Run tells its surroundings.
type Background struct {
	Log        *slog.Logger
	Client     *http.Client                // nil = one of its own
	Asked      func(result string)         // OCSP: good, revoked, unknown or failed; may be nil
	Challenges *Challenges                 // where proofs for ACME servers are shown; needed when there is one
	Issued     func(name, result string)   // ACME: issued or failed, by the first domain; may be nil
	Hooked     func(action, result string) // dns-01: present or cleanup; done, refused or failed, for each request to a webhook; may be nil
}

// Run does until ctx ends what a listener needs beside the serving.
func (s *Server) Run(ctx context.Context, b Background) {
	var managing sync.WaitGroup
	defer managing.Wait()
	for c := range s.all() {
		if c.managed != nil {
			managing.Go(func() { c.managed.run(ctx, &b) })
		}
	}
	s.askAll(ctx, b)
}

// askAll asks the OCSP responders of the listener's certificates until ctx ends, and at once where nothing is held. Handshakes never wait for it.
func (s *Server) askAll(ctx context.Context, b Background) {
	if b.Client == nil {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: stapleMax}
		b.Client = &http.Client{Transport: transport}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := s.nextStaple()
		if next == nil {
			return
		}
		timer.Reset(time.Until(next.due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next.renew(ctx, &b)
	}
}

// nextStaple is the one to ask about first, nil when there is none.
func (s *Server) nextStaple() *staple {
	var next *staple
	for c := range s.all() {
		if c.staple != nil && (next == nil || c.staple.due.Before(next.due)) {
			next = c.staple
		}
	}
	return next
}

// renew asks once and decides when to ask again: in the middle of the answer's life, or soon after a failure.
func (t *staple) renew(ctx context.Context, b *Background) {
	result, body, until, err := t.ask(ctx, b.Client)
	if ctx.Err() != nil {
		return
	}
	wait := stapleSlowest
	switch {
	case err != nil:
		wait = min(stapleSlowest, stapleRetry<<min(t.fails, 10))
		t.fails++
		b.Log.Warn("no OCSP answer", "certificate", subjectOf(t.leaf), "responder", t.leaf.OCSPServer[0], "error", err, "again_secs", wait.Seconds())
	case result != "good":
		t.fails = 0
		t.held.Store(nil)
		b.Log.Error("OCSP responder does not vouch for certificate", "certificate", subjectOf(t.leaf), "status", result)
	default:
		t.fails = 0
		wait = min(stapleSlowest, time.Until(until)/2)
	}
	t.due = time.Now().Add(max(time.Second, time.Duration(float64(wait)*(0.9+0.2*rand.Float64()))))
	if result == "good" {
		with := *t.cert
		with.OCSPStaple = body
		t.held.Store(&answer{&with, until, t.due})
	}
	if b.Asked != nil {
		b.Asked(result)
	}
}

// ask asks the responder. A good answer comes with its text and its end.
func (t *staple) ask(ctx context.Context, client *http.Client) (result string, body []byte, until time.Time, err error) {
	if body, err = t.fetch(ctx, client); err != nil {
		return "failed", nil, until, err
	}
	resp, err := ocsp.ParseResponseForCert(body, t.leaf, t.issuer)
	if err != nil {
		return "failed", nil, until, err
	}
	switch now := time.Now(); {
	case now.Before(resp.ThisUpdate.Add(-5*time.Minute)) || !resp.NextUpdate.IsZero() && now.After(resp.NextUpdate):
		return "failed", nil, until, errors.New("the answer is not of now")
	case resp.Status == ocsp.Revoked:
		return "revoked", nil, until, nil
	case resp.Status != ocsp.Good:
		return "unknown", nil, until, nil
	}
	if until = resp.NextUpdate; until.IsZero() {
		until = time.Now().Add(2 * stapleSlowest)
	}
	return "good", body, until, nil
}

func (t *staple) fetch(ctx context.Context, client *http.Client) ([]byte, error) {
	question, err := ocsp.CreateRequest(t.leaf, t.issuer, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, stapleTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.leaf.OCSPServer[0], bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, stapleMax+1))
	if err == nil && len(body) > stapleMax {
		err = errors.New("the answer is too long")
	}
	return body, err
}
