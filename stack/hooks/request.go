package hooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	maxToken  = 8 << 10
	maxAnswer = 64 << 10 // is read, so that a server is not cut off in the middle of a usual one
	maxHeader = 64 << 10
)

// post makes the request of a webhook, several times when need be.
func (e *Engine) post(h *hook, m message) error {
	client, err := newClient(h)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	body := m.json()
	for attempt := 0; ; attempt++ {
		again, err := once(h, client, body)
		if err == nil || !again || attempt == h.Hook.Retries {
			if err != nil && attempt > 0 {
				err = fmt.Errorf("%v, attempts: %d", err, attempt+1)
			}
			return err
		}
		e.mu.Lock()
		h.Stats.Retries++
		e.mu.Unlock()
		select {
		case <-h.ctx.Done():
			return fmt.Errorf("%v; not tried again: the stack stops or the hook has changed", err)
		case <-time.After(pause(attempt)):
		}
	}
}

// pause is the wait after an attempt, counted from 0.
func pause(attempt int) time.Duration { return min(firstRetry<<attempt, maxRetry) }

func newClient(h *hook) (*http.Client, error) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{}).DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if h.CA != "" {
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(h.CA)) {
			return nil, errors.New("its ca-file holds no certificate")
		}
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// once makes one attempt; again says whether another one may help.
func once(h *hook, client *http.Client, body []byte) (again bool, err error) {
	ctx, cancel := context.WithTimeout(h.ctx, h.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sentinel-stack")
	if h.TokenFile != "" {
		token, err := readToken(h.TokenFile)
		if err != nil {
			return false, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	switch s := resp.StatusCode; {
	case s/100 == 2:
		return false, nil
	case s/100 == 5, s == http.StatusTooManyRequests, s == http.StatusRequestTimeout:
		again = true
	}
	return again, fmt.Errorf("%s answers %s", req.URL.Host, resp.Status)
}

func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cannot read the token: %v", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	token := strings.TrimSpace(string(raw))
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot read the token: %v", err)
	case len(raw) > maxToken || token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("%s holds no token of at most %d visible characters", path, maxToken)
	}
	return token, nil
}
