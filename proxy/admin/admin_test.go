package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/proxy/api"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("ADMIN_TEST_CALL"); path != "" {
		os.Exit(callAs(path))
	}
	goleak.VerifyTestMain(m)
}

// callAs is the body of the child process that calls with another uid.
func callAs(path string) int {
	_, err := api.NewClient(path).Reload(context.Background(), api.ReloadRequest{})
	var status *api.StatusError
	if errors.As(err, &status) {
		return status.Code - 400
	}
	if err != nil {
		io.WriteString(os.Stderr, err.Error())
		return 99
	}
	return 0
}

type fakeProxy struct {
	reload  api.Reload
	asked   api.ReloadRequest
	drained bool
}

func (f *fakeProxy) Status() api.Status               { return api.Status{Version: "v1", Generation: 7} }
func (f *fakeProxy) Routes() []api.Route              { return nil }
func (f *fakeProxy) Upstreams() []api.Upstream        { return []api.Upstream{{ID: "u"}} }
func (f *fakeProxy) Certificates() []api.Certificate  { return nil }
func (f *fakeProxy) Agents() []api.Agent              { return []api.Agent{{Name: "a", Circuit: "open"}} }
func (f *fakeProxy) Config() (json.RawMessage, error) { return json.RawMessage(`{"a":1}`), nil }
func (f *fakeProxy) Reload(_ context.Context, r api.ReloadRequest) api.Reload {
	f.asked = r
	return f.reload
}
func (f *fakeProxy) Reopen() error { return errors.New("cannot open access log: disk is gone") }
func (f *fakeProxy) Drain()        { f.drained = true }
func (f *fakeProxy) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "sentinel_up 1\n") })
}

func serve(t *testing.T, p Proxy) (path string, client *api.Client) {
	t.Helper()
	dir, err := os.MkdirTemp("", "admin")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	path = filepath.Join(dir, "admin.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o777) // so that the tests reach the access rule, not the file mode
	s := New(p, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		os.RemoveAll(dir)
	})
	return path, api.NewClient(path)
}

func TestReads(t *testing.T) {
	t.Parallel()
	_, c := serve(t, &fakeProxy{})
	ctx := context.Background()
	if s, err := c.Status(ctx); err != nil || s.Generation != 7 {
		t.Errorf("status %+v, %v", s, err)
	}
	if r, err := c.Routes(ctx); err != nil || r == nil || len(r) != 0 {
		t.Errorf("routes %#v, %v: want an empty list, not null", r, err)
	}
	if l, err := c.Certificates(ctx); err != nil || l == nil || len(l) != 0 {
		t.Errorf("certificates %#v, %v: want an empty list, not null", l, err)
	}
	if a, err := c.Agents(ctx); err != nil || len(a) != 1 || a[0].Circuit != "open" {
		t.Errorf("agents %+v, %v", a, err)
	}
	var text strings.Builder
	if _, err := c.Metrics(ctx, &text); err != nil || text.String() != "sentinel_up 1\n" {
		t.Errorf("metrics %q, %v", text.String(), err)
	}
}

func TestReloadOutcomes(t *testing.T) {
	t.Parallel()
	p := &fakeProxy{reload: api.Reload{OK: true, Generation: 8}}
	_, c := serve(t, p)
	out, err := c.Reload(context.Background(), api.ReloadRequest{Config: "bundle:/x", Hash: "h"})
	if err != nil || !out.OK || out.Generation != 8 || p.asked.Config != "bundle:/x" || p.asked.Hash != "h" {
		t.Errorf("reload %+v (asked %+v), %v", out, p.asked, err)
	}
	p.reload = api.Reload{Generation: 8, Error: "f.kdl:3:1: nope"}
	if out, err = c.Reload(context.Background(), api.ReloadRequest{}); err != nil || out.OK || out.Error != "f.kdl:3:1: nope" {
		t.Errorf("refused reload %+v, %v", out, err)
	}
	if err := c.Reopen(context.Background()); err == nil || !strings.Contains(err.Error(), "disk is gone") {
		t.Errorf("reopen error %v", err)
	}
	if err := c.Drain(context.Background()); err != nil || !p.drained {
		t.Errorf("drain %v, %v", p.drained, err)
	}
}

// The attack: somebody else's process asks for a reload. Its innocent twin is every other test here, which runs as the owner.
func TestForeignUserMayNotWrite(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	p := &fakeProxy{reload: api.Reload{OK: true}}
	path, _ := serve(t, p)
	exe := filepath.Join(filepath.Dir(path), "child")
	raw, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(exe, raw, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "ADMIN_TEST_CALL="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("child got %d (%s, %v), want 403", 400+code, out, err)
	}
	if p.asked != (api.ReloadRequest{}) {
		t.Error("the reload reached the proxy")
	}
}

func TestUnknownPathAndMethod(t *testing.T) {
	t.Parallel()
	path, _ := serve(t, &fakeProxy{})
	hc := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	for _, c := range []struct {
		method, path string
		want         int
	}{{"GET", "/v1/nothing", 404}, {"GET", "/v1/reload", 404}, {"POST", "/v1/status", 404}, {"GET", "/v1/status", 200}} {
		req, _ := http.NewRequest(c.method, "http://admin"+c.path, nil)
		res, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s %s = %d, want %d", c.method, c.path, res.StatusCode, c.want)
		}
	}
}

func TestReloadBodyIsStrict(t *testing.T) {
	t.Parallel()
	path, _ := serve(t, &fakeProxy{reload: api.Reload{OK: true}})
	hc := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	for body, want := range map[string]int{"": 200, `{}`: 200, `{"confg":"x"}`: 400, `{`: 400, `{"config":"` + strings.Repeat("x", 70<<10) + `"}`: 400} {
		res, err := hc.Post("http://admin/v1/reload", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("body of %d bytes = %d, want %d", len(body), res.StatusCode, want)
		}
	}
}
