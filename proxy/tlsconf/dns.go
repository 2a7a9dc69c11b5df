package tlsconf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

const (
	dnsTries    = 3               // requests to the webhook for one thing
	dnsPause    = time.Second     // after the first that failed; doubles
	dnsCleanUp  = 5 * time.Second // at most, when the proxy is to end
	dnsTTL      = 60              // seconds, what is asked for
	maxDNSReply = 4 << 10         // bytes of an answer that are read
)

// dnsProvider has proofs of dns-01 (RFC 8555 §8.4) put into the zone.
type dnsProvider struct {
	conf   *config.DNSProvider
	header string // the credentials, "" = none are sent
	client *http.Client
}

// newDNSProvider returns nil for nil.
func newDNSProvider(c *config.DNSProvider, files Files, path string) (*dnsProvider, error) {
	if c == nil {
		return nil, nil
	}
	d := &dnsProvider{conf: c, header: c.Credentials}
	roots, err := rootsOf(files, c.CAFile, path+".ca-file")
	if err != nil {
		return nil, err
	}
	if c.CredentialsFile != "" {
		if d.header, err = credentials(files, c.CredentialsFile, path+".credentials-file"); err != nil {
			return nil, err
		}
	}
	transport := transportTo(roots)
	transport.MaxResponseHeaderBytes = maxDNSReply
	d.client = &http.Client{Transport: transport, Timeout: c.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return d, nil
}

// credentials reads the value of a header from a file.
func credentials(files Files, file, path string) (string, error) {
	text, err := files(file)
	if err != nil {
		return "", &Fault{path, err}
	}
	value := strings.TrimSpace(string(text))
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", fault(path, "cannot use the credentials %s: there is to be one line of visible characters", file)
	}
	return value, nil
}

// dnsRequest is what a webhook is asked to do.
type dnsRequest struct {
	Action string `json:"action"` // present or cleanup
	Domain string `json:"domain"` // without "*."
	FQDN   string `json:"fqdn"`   // of the TXT record
	Value  string `json:"value"`
	TTL    int    `json:"ttl"` // seconds
}

// present puts the proof into the zone and waits until it can be seen. Whatever becomes of that, withdraw takes it out again.
func (d *dnsProvider) present(ctx context.Context, client *acme.Client, token, domain string, b *Background) (withdraw func(), err error) {
	value, err := client.DNS01ChallengeRecord(token)
	if err != nil {
		return nil, err
	}
	ask := dnsRequest{Action: "present", Domain: domain, FQDN: "_acme-challenge." + domain, Value: value, TTL: dnsTTL}
	withdraw = func() { d.withdraw(ctx, ask, b) }
	if err := d.ask(ctx, &ask, b); err != nil {
		withdraw() // it may have been done all the same
		return nil, err
	}
	if err := d.propagated(ctx, ask.FQDN, value); err != nil {
		withdraw()
		return nil, err
	}
	return withdraw, nil
}

// withdraw goes on when ctx ends, for a moment: a proof that stays in the zone is of no use to anybody, but it is not ours to leave there.
func (d *dnsProvider) withdraw(ctx context.Context, ask dnsRequest, b *Background) {
	ask.Action = "cleanup"
	free, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	hurry := context.AfterFunc(ctx, func() { time.AfterFunc(dnsCleanUp, cancel) })
	defer hurry()
	if err := d.ask(free, &ask, b); err != nil {
		b.Log.Warn("the proof for an ACME server may be in the zone still", "name", ask.FQDN, "value", ask.Value, "error", err)
	}
}

// ask makes the webhook do something.
func (d *dnsProvider) ask(ctx context.Context, what *dnsRequest, b *Background) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	for try, pause := 1, dnsPause; ; try, pause = try+1, 2*pause {
		again, err := d.post(ctx, text)
		if b.Hooked != nil {
			b.Hooked(what.Action, outcome(again, err))
		}
		switch {
		case err == nil:
			return nil
		case !again || try == dnsTries || ctx.Err() != nil:
			return fmt.Errorf("webhook, %s: %w", what.Action, err)
		}
		if rest(ctx, pause) != nil {
			return fmt.Errorf("webhook, %s: %w", what.Action, err)
		}
	}
}

// outcome is a request to the webhook in a word for metrics.
func outcome(again bool, err error) string {
	switch {
	case err == nil:
		return "done"
	case again:
		return "failed"
	}
	return "refused"
}

// post reports whether trying again makes sense.
func (d *dnsProvider) post(ctx context.Context, text []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.conf.URL, bytes.NewReader(text))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sentinel")
	if d.header != "" {
		req.Header.Set(d.conf.AuthHeader, d.header)
	}
	res, err := d.client.Do(req)
	if err != nil {
		return true, withoutURL(err)
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, maxDNSReply))
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return false, nil
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	return res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500, fmt.Errorf("answered %s %.200q", res.Status, first)
}

// withoutURL is what went wrong without the address, which may hold a word that is not for logs.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// rest waits; the error says that ctx has ended meanwhile.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// propagated waits until every name server has the proof.
func (d *dnsProvider) propagated(ctx context.Context, name, value string) error {
	ctx, cancel := context.WithTimeout(ctx, d.conf.InitialDelay+d.conf.Patience)
	defer cancel()
	wait := d.conf.InitialDelay
	var missing error
	for {
		if rest(ctx, wait) != nil {
			return errors.Join(fmt.Errorf("the proof at %s cannot be seen after %s", name, d.conf.Patience), missing)
		}
		if missing = d.look(ctx, name, value); missing == nil {
			return nil
		}
		wait = d.conf.CheckInterval
	}
}
