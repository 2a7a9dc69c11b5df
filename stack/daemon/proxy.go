package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// maxAnswer bounds what is read of an answer of the proxy.
const maxAnswer = 64 << 20

// adminAttempts bounds how often the admin socket is dialled for one call. While a proxy is replaced two of them accept on the same socket.
const adminAttempts = 20

// admin is one connection to the admin socket of one proxy process.
type admin struct {
	client *http.Client
	conn   net.Conn
}

// dialAdmin connects to the admin socket and makes sure, on that very connection, that the process with the given pid answers.
func (d *Daemon) dialAdmin(ctx context.Context, path string, pid int) (*admin, error) {
	var lastErr error
	for range adminAttempts {
		a, err := dialOnce(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("cannot reach the proxy: %v", err)
		}
		var s proxyapi.Status
		if _, err = a.call(ctx, http.MethodGet, "/v1/status", nil, &s); err == nil && (pid == 0 || s.PID == pid) {
			return a, nil
		}
		a.close()
		if lastErr = err; err == nil {
			lastErr = fmt.Errorf("process %d answers instead of %d", s.PID, pid)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot reach the proxy: %v", lastErr)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil, fmt.Errorf("cannot reach the proxy: %v", lastErr)
}

func dialOnce(ctx context.Context, path string) (*admin, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	used := false
	return &admin{conn: conn, client: &http.Client{Transport: &http.Transport{
		MaxConnsPerHost: 1,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if used { // another connection could end at another process
				return nil, errors.New("the proxy closed the connection")
			}
			used = true
			return conn, nil
		},
	}}}, nil
}

func (a *admin) close() {
	a.client.CloseIdleConnections()
	a.conn.Close()
}

func (a *admin) call(ctx context.Context, method, path string, body, out any) (status int, err error) {
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return 0, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://proxy"+path, bytes.NewReader(text))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return resp.StatusCode, err
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = answer
		return resp.StatusCode, nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return resp.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(answer[:min(len(answer), 500)]))
	}
	return resp.StatusCode, nil
}

// reloadRequest is the body of the proxy's POST /v1/reload.
type reloadRequest struct {
	Config string `json:"config"`
	Hash   string `json:"hash"`
}

// reloadProxy has the running proxy load a bundle. It either serves the new configuration afterwards or the old one, and then the error says why.
func (d *Daemon) reloadProxy(ctx context.Context, svc *supervise.Service, bundle, hash string) error {
	pid := svc.Snapshot().PID
	a, err := d.dialAdmin(ctx, d.plan.AdminSocket, pid)
	if err != nil {
		return err
	}
	defer a.close()
	var r proxyapi.Reload
	status, err := a.call(ctx, http.MethodPost, "/v1/reload", reloadRequest{Config: "bundle:" + bundle, Hash: hash}, &r)
	switch {
	case err != nil:
		return fmt.Errorf("cannot reload the proxy: %v", err)
	case status/100 == 2 && r.OK:
		return nil
	case r.Error != "":
		return errors.New(r.Error)
	}
	return fmt.Errorf("cannot reload the proxy: it answers %d", status)
}

// proxyMetrics reads the Prometheus text of the running proxy.
func (d *Daemon) proxyMetrics(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	a, err := dialOnce(ctx, path)
	if err != nil {
		return nil, err
	}
	defer a.close()
	var text []byte
	status, err := a.call(ctx, http.MethodGet, "/metrics", nil, &text)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the proxy answers %d", status)
	}
	return text, err
}
