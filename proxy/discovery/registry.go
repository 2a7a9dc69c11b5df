package discovery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// maxAnswer bounds an answer of a registry in bytes.
const maxAnswer = 32 << 20

// registry asks an HTTP API. Token and authorities are read again for every request, since both are replaced while a proxy runs.
type registry struct {
	base      string
	tokenFile string
	caFile    string
	header    string // that carries the token
	prefix    string // before the token
	client    *http.Client
	ca        string // what client trusts
	wait      time.Duration
}

func newRegistry(d *config.Discovery, header, prefix string) *registry {
	return &registry{base: strings.TrimSuffix(d.Address, "/"), tokenFile: d.TokenFile, caFile: d.CAFile, header: header, prefix: prefix, wait: d.Timeout * 3 / 4}
}

// prepare makes the client, anew when the authorities have changed.
func (r *registry) prepare() error {
	ca := ""
	var roots *x509.CertPool
	if r.caFile != "" {
		text, err := readFile(r.caFile)
		if err != nil {
			return err
		}
		if ca, roots = string(text), x509.NewCertPool(); !roots.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s has no certificate", r.caFile)
		}
	}
	if r.client != nil && r.ca == ca {
		return nil
	}
	r.close()
	r.ca = ca
	r.client = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxConnsPerHost: 2, TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it sends us elsewhere") }, // where the token is not to go
	}
	return nil
}

func (r *registry) close() {
	if r.client != nil {
		r.client.CloseIdleConnections()
	}
}

// open sends a request and returns an answer with status 200; gone reports 404 and 410.
func (r *registry) open(ctx context.Context, path string, query url.Values) (res *http.Response, err error) {
	if err := r.prepare(); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if r.tokenFile != "" {
		token, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set(r.header, r.prefix+strings.TrimSpace(string(token)))
	}
	if res, err = r.client.Do(req); err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, &statusError{res.StatusCode}
	}
	return res, nil
}

// statusError is an answer that is not the one that was asked for.
type statusError struct{ status int }

func (e *statusError) Error() string { return fmt.Sprintf("answered %d", e.status) }

// read decodes an answer, of which no more than maxAnswer is looked at.
func read(res *http.Response, into any) error {
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case len(text) > maxAnswer:
		return fmt.Errorf("answer is longer than %d bytes", maxAnswer)
	}
	return json.Unmarshal(text, into)
}
