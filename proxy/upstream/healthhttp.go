package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

const (
	maxCheckHead = 16 << 10 // bytes of an answer's head
	maxCheckBody = 64 << 10 // bytes of a body that are read before the connection is closed
)

// newHTTPProbe sends GET path and looks at the status and, if a text is expected, at the body. Redirects are answers, not followed.
func newHTTPProbe(hc *config.HealthCheck, address string) probe {
	host, expected := hc.Host, hc.ExpectedStatus
	if host == "" {
		host = HostOf(address)
	}
	if len(expected) == 0 {
		expected = []int{http.StatusOK}
	}
	path := hc.Path
	if path == "" {
		path = "/"
	}
	return func(ctx context.Context, conn net.Conn) error {
		tr := &http.Transport{
			DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxCheckHead,
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+HostOf(address)+path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "sentinel-health-check")
		for _, h := range hc.Headers {
			req.Header.Set(h.Name, h.Value)
		}
		req.Host = host
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if !slices.Contains(expected, resp.StatusCode) {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return checkBody(resp.Body, hc.ExpectedBody)
	}
}

// checkBody reads the body, so that one that never ends is a failure, and looks for the text in it.
func checkBody(body io.Reader, text string) error {
	if text == "" {
		if _, err := io.CopyN(io.Discard, body, maxCheckBody); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("body: %w", err)
		}
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(body, maxCheckBody))
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if !bytes.Contains(b, []byte(text)) {
		return errors.New("the body lacks the expected text")
	}
	return nil
}
