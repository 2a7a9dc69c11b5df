package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// ErrNotRunning says that nobody listens on the control socket.
var ErrNotRunning = errors.New("no supervisor is running")

// callTimeout bounds a call that has no deadline of its own; restarts and reloads wait for readiness, so it is generous.
const callTimeout = 2 * time.Minute

// maxBody bounds an answer that is read whole; 64 MiB is far above any real status.
const maxBody = 64 << 20

// Client talks to one supervisor. It is safe for concurrent use.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client for the control socket at path. It does not connect.
func NewClient(path string) *Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &Client{socket: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
		MaxIdleConns:       4,
		IdleConnTimeout:    30 * time.Second,
		DisableCompression: true,
	}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Socket is the path the client dials.
func (c *Client) Socket() string { return c.socket }

// StatusError is an answer that is not 2xx.
type StatusError struct {
	Code int // HTTP status
	Body Error
}

func (e *StatusError) Error() string {
	if e.Body.Hint != "" {
		return e.Body.Message + " (" + e.Body.Hint + ")"
	}
	return e.Body.Message
}

// Status asks for the whole stack at one glance.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	return &s, c.call(ctx, http.MethodGet, "/v1/status", &s)
}

// Services asks for the services alone.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	var s []Service
	err := c.call(ctx, http.MethodGet, "/v1/services", &s)
	return s, err
}

// Restart replaces a service: the new process is ready before the old one drains. It returns when that is done.
func (c *Client) Restart(ctx context.Context, name string) (*Service, error) {
	return c.act(ctx, name, "restart")
}

// RestartWith is Restart that tries the new process beside the old one for a while, when trial is not 0, and then waits until the old one has gone.
func (c *Client) RestartWith(ctx context.Context, name string, trial time.Duration) (*Service, error) {
	return c.act(ctx, name, fmt.Sprintf("restart?drain=true&trial_ms=%d", trial.Milliseconds()))
}

// Start starts a stopped service and returns when it is ready.
func (c *Client) Start(ctx context.Context, name string) (*Service, error) {
	return c.act(ctx, name, "start")
}

// Stop stops a service and returns when all its processes are gone.
func (c *Client) Stop(ctx context.Context, name string) (*Service, error) {
	return c.act(ctx, name, "stop")
}

// Kill sends a signal, by its name, to the processes of a service. What becomes of the service is decided by its restart policy.
func (c *Client) Kill(ctx context.Context, name, signal string) (*Service, error) {
	return c.act(ctx, name, "kill?signal="+url.QueryEscape(signal))
}

// Sandbox tells what a running service may not do.
func (c *Client) Sandbox(ctx context.Context, name string) (*Sandbox, error) {
	var s Sandbox
	return &s, c.call(ctx, http.MethodGet, "/v1/services/"+url.PathEscape(name)+"/sandbox", &s)
}

func (c *Client) act(ctx context.Context, name, verb string) (*Service, error) {
	var s Service
	return &s, c.call(ctx, http.MethodPost, "/v1/services/"+url.PathEscape(name)+"/"+verb, &s)
}

// Reload loads the configuration again and applies what changed. A refused configuration is not an error of the call: look at OK.
func (c *Client) Reload(ctx context.Context) (*ReloadResult, error) {
	var r ReloadResult
	err := c.call(ctx, http.MethodPost, "/v1/reload", &r)
	return &r, err
}

// Scale gives an agent n instances, 0 = as many as the file says, and applies that like a reload: look at OK.
func (c *Client) Scale(ctx context.Context, agent string, n int) (*ReloadResult, error) {
	path := "/v1/agents/" + url.PathEscape(agent) + "/scale"
	if n != 0 {
		path += "?instances=" + strconv.Itoa(n)
	}
	var r ReloadResult
	return &r, c.call(ctx, http.MethodPost, path, &r)
}

// Diff says what a reload would do.
func (c *Client) Diff(ctx context.Context) (*Plan, error) {
	var p Plan
	return &p, c.call(ctx, http.MethodGet, "/v1/diff", &p)
}

// Upgrade asks the supervisor to replace its program by the one at the absolute path binary, "" = where it was started from. It returns when the new program has passed its trial; how
// it ends is in Status under the ID returned.
func (c *Client) Upgrade(ctx context.Context, binary string) (*Upgrade, error) {
	var u Upgrade
	return &u, c.callWith(ctx, http.MethodPost, "/v1/upgrade", UpgradeRequest{Binary: binary}, &u)
}

// Shutdown asks the supervisor to stop every service and exit. It returns when the request is accepted.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/shutdown", nil)
}

// LogQuery selects log lines. The zero value means the last 100 lines of all services.
type LogQuery struct {
	Services []string  // none = all
	Lines    int       // how many of the past; 0 = 100, negative = everything still in memory
	Follow   bool      // keep the answer open
	Since    time.Time // zero = any time
	Grep     string    // RE2 over the text
	Request  string    // only lines that carry this request id
}

func (q LogQuery) values() url.Values {
	v := url.Values{}
	for _, s := range q.Services {
		v.Add("service", s)
	}
	if q.Lines != 0 {
		v.Set("n", strconv.Itoa(q.Lines))
	}
	if q.Follow {
		v.Set("follow", "1")
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	if q.Grep != "" {
		v.Set("grep", q.Grep)
	}
	if q.Request != "" {
		v.Set("request", q.Request)
	}
	return v
}

// Logs calls fn for each line until the stream ends, ctx ends or fn returns an error, which it returns. A stream that ctx ended is not an error.
func (c *Client) Logs(ctx context.Context, q LogQuery, fn func(LogLine) error) error {
	return stream(ctx, c, "/v1/logs?"+q.values().Encode(), fn)
}

// Events calls fn for each of the recent events and, with follow, for each new one; it ends like Logs.
func (c *Client) Events(ctx context.Context, follow bool, fn func(Event) error) error {
	path := "/v1/events"
	if follow {
		path += "?follow=1"
	}
	return stream(ctx, c, path, fn)
}

// Metrics copies the Prometheus text to w.
func (c *Client) Metrics(ctx context.Context, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, "/metrics")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}

func (c *Client) do(ctx context.Context, method, path string, body ...any) (*http.Response, error) {
	var content io.Reader
	for _, v := range body {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://sentinel-stack"+path, content)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if method == http.MethodGet && errors.Is(err, syscall.ECONNRESET) && ctx.Err() == nil { // a supervisor died that had not accepted us yet: now nobody listens, or another one
		resp, err = c.http.Do(req)
	}
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" && ctx.Err() == nil {
			return nil, fmt.Errorf("%w at %s: %v", ErrNotRunning, c.socket, op.Err)
		}
		return nil, fmt.Errorf("cannot reach the supervisor at %s: %w", c.socket, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &StatusError{Code: resp.StatusCode}
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(answer, &e.Body) != nil || e.Body.Message == "" {
		e.Body.Message = fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(answer))
	}
	return nil, e
}

// call makes one request and decodes the answer into out when out is not nil.
func (c *Client) call(ctx context.Context, method, path string, out any) error {
	return c.callWith(ctx, method, path, nil, out)
}

// callWith is call with a body, nil = none.
func (c *Client) callWith(ctx context.Context, method, path string, body, out any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	var bodies []any
	if body != nil {
		bodies = append(bodies, body)
	}
	resp, err := c.do(ctx, method, path, bodies...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(out); err != nil {
		return fmt.Errorf("cannot read the answer to %s %s: %w", method, path, err)
	}
	return nil
}

// stream reads JSON lines.
func stream[T any](ctx context.Context, c *Client, path string, fn func(T) error) error {
	resp, err := c.do(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(bufio.NewReader(resp.Body))
	for {
		var v T
		if err := dec.Decode(&v); err != nil {
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("cannot read the stream %s: %w", path, err)
		}
		if err := fn(v); err != nil {
			return err
		}
	}
}
