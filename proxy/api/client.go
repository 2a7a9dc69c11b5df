package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

const (
	// DefaultTimeout bounds a call whose context has no deadline of its own.
	DefaultTimeout = 5 * time.Second
	// ReloadTimeout bounds a reload without a deadline: it loads files, connects to agents and waits for their consent.
	ReloadTimeout = 60 * time.Second
	// maxAnswerBytes bounds what is read of one answer, so a confused peer cannot fill our memory.
	maxAnswerBytes = 64 << 20
	// maxErrorBytes bounds what is read of an answer that is not 2xx.
	maxErrorBytes = 64 << 10
)

// ErrNotRunning says that nothing listens on the admin socket.
var ErrNotRunning = errors.New("proxy is not running")

// ReloadRequest asks the proxy to load a configuration and to serve it if it is sound.
type ReloadRequest struct {
	Config string `json:"config,omitempty"` // "" = the source it was started with, else a path or "bundle:/path"
	Hash   string `json:"hash,omitempty"`   // refuse anything whose hash differs; "" = do not check
}

// Failure is the body of every answer that is neither 2xx nor a Reload.
type Failure struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
}

// StatusError is an answer that is not 2xx.
type StatusError struct {
	Code    int
	Message string
	Hint    string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("proxy answered %d: %s", e.Code, e.Message)
}

// Client calls the admin API over its Unix socket. It opens one connection for each call, which costs microseconds there and
// means that a restarted proxy is never met through a stale connection. It is safe for concurrent use.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client of the proxy that listens on the Unix socket at path. Nothing is dialled yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{
		socket: path,
		http: http.Client{
			Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}
}

// Socket returns the path the client dials.
func (c *Client) Socket() string { return c.socket }

// Status returns the proxy at one glance.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}

// Routes returns every route of the running generation with its totals.
func (c *Client) Routes(ctx context.Context) ([]Route, error) {
	return get[[]Route](ctx, c, "/v1/routes")
}

// Upstreams returns every upstream with its targets.
func (c *Client) Upstreams(ctx context.Context) ([]Upstream, error) {
	return get[[]Upstream](ctx, c, "/v1/upstreams")
}

// Certificates returns the certificates of every listener.
func (c *Client) Certificates(ctx context.Context) ([]Certificate, error) {
	return get[[]Certificate](ctx, c, "/v1/certificates")
}

// Agents returns the proxy's view of every agent.
func (c *Client) Agents(ctx context.Context) ([]Agent, error) {
	return get[[]Agent](ctx, c, "/v1/agents")
}

// Config returns the effective configuration as the proxy printed it.
func (c *Client) Config(ctx context.Context) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "/v1/config")
}

// Metrics copies the Prometheus text to w and returns its content type.
func (c *Client) Metrics(ctx context.Context, w io.Writer) (contentType string, err error) {
	ctx, cancel := withDefault(ctx, DefaultTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return "", statusError(resp)
	}
	if _, err := io.Copy(w, io.LimitReader(resp.Body, maxAnswerBytes)); err != nil {
		return "", fmt.Errorf("cannot read proxy metrics: %w", err)
	}
	return resp.Header.Get("Content-Type"), nil
}

// Reload asks for a new generation. A refused one is not an error: Reload.OK is false and the running generation stays.
func (c *Client) Reload(ctx context.Context, r ReloadRequest) (Reload, error) {
	ctx, cancel := withDefault(ctx, ReloadTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodPost, "/v1/reload", r)
	if err != nil {
		return Reload{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusConflict {
		return Reload{}, statusError(resp)
	}
	var out Reload
	if err := decode(resp.Body, &out); err != nil {
		return Reload{}, fmt.Errorf("cannot read reload answer: %w", err)
	}
	if resp.StatusCode == http.StatusConflict {
		out.OK = false
	}
	return out, nil
}

// Reopen asks the proxy to reopen its log files.
func (c *Client) Reopen(ctx context.Context) error { return c.post(ctx, "/v1/reopen") }

// Drain asks the proxy to stop accepting, to finish what runs and to exit.
func (c *Client) Drain(ctx context.Context) error { return c.post(ctx, "/v1/drain") }

func (c *Client) post(ctx context.Context, path string) error {
	ctx, cancel := withDefault(ctx, DefaultTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodPost, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return statusError(resp)
	}
	return nil
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var out T
	ctx, cancel := withDefault(ctx, DefaultTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return out, statusError(resp)
	}
	if err := decode(resp.Body, &out); err != nil {
		return out, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return out, nil
}

// do sends one request; a body that is not nil travels as JSON. The host name in the URL only fills the Host field.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("cannot encode request %s: %w", path, err)
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://sentinel"+path, payload)
	if err != nil {
		return nil, fmt.Errorf("cannot make request %s: %w", path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	switch {
	case err == nil:
		return resp, nil
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("cannot reach %s: %w", c.socket, ErrNotRunning)
	default:
		return nil, fmt.Errorf("cannot call proxy on %s: %w", c.socket, err)
	}
}

func withDefault(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// decode reads one JSON value, refusing an answer above maxAnswerBytes.
func decode(r io.Reader, out any) error {
	limited := &io.LimitedReader{R: r, N: maxAnswerBytes + 1}
	if err := json.NewDecoder(limited).Decode(out); err != nil {
		if limited.N <= 0 {
			return fmt.Errorf("answer exceeds %d bytes", maxAnswerBytes)
		}
		return err
	}
	return nil
}

// statusError turns a refused call into an error with the server's words, whether they came as JSON or as text.
func statusError(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	e := &StatusError{Code: resp.StatusCode}
	if err != nil {
		e.Message = http.StatusText(resp.StatusCode)
		return e
	}
	var f Failure
	if json.Unmarshal(raw, &f) == nil && f.Message != "" {
		e.Message, e.Hint = f.Message, f.Hint
		return e
	}
	e.Message = strings.TrimSpace(string(raw))
	if e.Message == "" {
		e.Message = http.StatusText(resp.StatusCode)
	}
	return e
}
