package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/proxy/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers on a Unix socket with handler and returns a client of it.
func serve(t *testing.T, handler http.HandlerFunc) *api.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler}
	ended := make(chan struct{})
	go func() {
		_ = srv.Serve(ln)
		close(ended)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-ended
	})
	return api.NewClient(path)
}

func answer(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		fmt.Fprint(w, map[string]string{
			"/v1/status": `{"pid":7,"generation":3,"unknown":1}`, "/v1/routes": `[{"id":"r","status":[0,0,5,0,0,1],"bounds":[0.1],"counts":[5,1]}]`,
			"/v1/upstreams": `[{"id":"u","targets":[{"address":"a:1","status":"healthy"}]}]`, "/v1/agents": `[{"name":"waf","circuit":"open"}]`,
			"/v1/certificates": `[{"listener":"l","name":"a","expires":"2030-01-02T03:04:05Z","source":"acme","failures":2}]`,
			"/v1/config":       `{"x": 1}`, "/metrics": "sentinel_up 1\n",
		}[r.URL.Path])
	})
	ctx := t.Context()
	if s, err := c.Status(ctx); err != nil || s.PID != 7 || s.Generation != 3 {
		t.Errorf("status %+v, %v", s, err)
	}
	if r, err := c.Routes(ctx); err != nil || len(r) != 1 || r[0].Status[5] != 1 || r[0].Counts[1] != 1 {
		t.Errorf("routes %+v, %v", r, err)
	}
	if u, err := c.Upstreams(ctx); err != nil || u[0].Targets[0].Status != "healthy" {
		t.Errorf("upstreams %+v, %v", u, err)
	}
	if l, err := c.Certificates(ctx); err != nil || l[0].Listener != "l" || l[0].Expires.Year() != 2030 || l[0].Failures != 2 {
		t.Errorf("certificates %+v, %v", l, err)
	}
	if a, err := c.Agents(ctx); err != nil || a[0].Circuit != "open" {
		t.Errorf("agents %+v, %v", a, err)
	}
	if raw, err := c.Config(ctx); err != nil || string(raw) != `{"x": 1}` {
		t.Errorf("config %s, %v", raw, err)
	}
	var text strings.Builder
	if _, err := c.Metrics(ctx, &text); err != nil || text.String() != "sentinel_up 1\n" {
		t.Errorf("metrics %q, %v", text.String(), err)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var req api.ReloadRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("request %v, type %q", err, r.Header.Get("Content-Type"))
		}
		if req.Config == "bundle:/bad" {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"ok":true,"generation":3,"error":"no","diagnostics":[{"file":"f","line":2,"col":1}]}`)
			return
		}
		fmt.Fprintf(w, `{"ok":true,"generation":4,"error":%q}`, req.Hash)
	})
	r, err := c.Reload(t.Context(), api.ReloadRequest{Config: "bundle:/good", Hash: "abc"})
	if err != nil || !r.OK || r.Generation != 4 || r.Error != "abc" {
		t.Errorf("good: %+v, %v", r, err)
	}
	// A refusal is an outcome, and 409 is a refusal whatever the body says.
	r, err = c.Reload(t.Context(), api.ReloadRequest{Config: "bundle:/bad"})
	if err != nil || r.OK || r.Generation != 3 || len(r.Diagnostics) != 1 {
		t.Errorf("bad: %+v, %v", r, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body, message string
		code                int
	}{
		{"json", `{"error":"not yours","hint":"ask root"}`, "not yours", 403},
		{"text", "not found\n", "not found", 404},
		{"empty", "", "Internal Server Error", 500},
		{"long", strings.Repeat("x", 1<<20), "", 500},
		{"redirect", "elsewhere", "elsewhere", 302},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := serve(t, answer(c.code, c.body))
			_, err := client.Status(t.Context())
			var refused *api.StatusError
			if !errors.As(err, &refused) || refused.Code != c.code || c.message != "" && refused.Message != c.message {
				t.Fatalf("got %v", err)
			}
			if len(refused.Message) > 64<<10 {
				t.Errorf("message of %d bytes", len(refused.Message))
			}
			if err := client.Reopen(t.Context()); err == nil {
				t.Error("a refused post is no error")
			}
			if _, err := client.Metrics(t.Context(), io.Discard); err == nil {
				t.Error("refused metrics are no error")
			}
		})
	}
}

func TestNotRunning(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.sock")
	if _, err := api.NewClient(path).Status(t.Context()); !errors.Is(err, api.ErrNotRunning) || !strings.Contains(err.Error(), path) {
		t.Errorf("no socket: %v", err)
	}
	// A socket file that a killed proxy left behind.
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	_ = ln.Close()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if err := api.NewClient(path).Drain(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("stale socket: %v", err)
	}
}

func TestDeadlineAndGarbage(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	hung := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := hung.Status(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, api.ErrNotRunning) {
		t.Errorf("a hung proxy: %v", err)
	}
	close(release)
	for _, body := range []string{"", "{", "[]", "<html>"} {
		if _, err := serve(t, answer(200, body)).Status(t.Context()); err == nil {
			t.Errorf("%q is no status", body)
		}
	}
}

// TestEndlessAnswer shows that an answer without end is given up.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `["`)
		chunk := strings.Repeat("x", 1<<20)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Config(ctx); err == nil || !strings.Contains(err.Error(), "exceeds") {
		t.Errorf("got %v", err)
	}
}
