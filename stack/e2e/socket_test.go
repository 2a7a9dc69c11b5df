package e2e

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The stack holds a listener's Unix socket like any other: while the proxy is dead its clients wait, they are not refused; and the file is the same one.
func TestUnixListenerOutlivesTheProxy(t *testing.T) {
	t.Parallel()
	s := newStack(t, `listeners { listener "web" { address "unix:DIR/web.sock" } }
routes { route "a" { builtin-handler "status" } }
stack { watch #false }
observability { metrics { enabled #false } }`)
	path := filepath.Join(s.dir, "web.sock")
	s.up()
	before, err := os.Stat(path)
	if err != nil || before.Mode().Perm() != 0o660 {
		t.Fatalf("mode %v, %v", before, err)
	}
	ask := func() {
		t.Helper()
		c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}}
		resp, err := c.Get("http://local/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	ask()
	old := s.service("proxy")
	kill(old.PID)
	ask()
	if now := s.service("proxy"); now.PID == old.PID {
		t.Error("the proxy was not killed")
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket is another one: %v", err)
	}
	s.must(0, "down")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}
