package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/protocol"
)

// TestBans: who is banned over the API is refused, whom the configuration allows is not, and bans outlive other configurations.
func TestBans(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := newDenylist("test")
	t.Cleanup(func() { d.Close() })
	configure := func(text string) {
		t.Helper()
		if err := d.Configure(context.Background(), []byte(strings.ReplaceAll(text, "DIR", dir))); err != nil {
			t.Fatal(err)
		}
	}
	call := func(method, network string) int {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", dir+"/api") }}}
		req, err := http.NewRequest(method, "http://bans/v1/bans?network="+network, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	configure(`{"allow-ips": "192.0.2.9", "status": 429, "bans": {"socket": "DIR/api", "file": "DIR/bans"}}`)
	if code := call("PUT", "192.0.2.0/24"); code != 200 {
		t.Fatal(code)
	}
	v, err := d.Request(context.Background(), head("192.0.2.1", "/"))
	if err != nil || v.Action != protocol.ActionBlock || v.Status != 429 || fmt.Sprint(v.Audit.Tags, v.Audit.ReasonCodes, v.Audit.RuleIDs) != "[denylist banned] [DENY_BAN] [bans:192.0.2.0/24]" {
		t.Errorf("%+v %v", v, err)
	}
	for client, want := range map[string]protocol.Action{"192.0.2.9": protocol.ActionAllow, "192.0.3.1": protocol.ActionAllow, "192.0.2.2": protocol.ActionBlock} {
		if got := action(t, d, client, "/"); got != want {
			t.Errorf("%s: %v", client, got)
		}
	}
	configure(`{"bans": {"socket": "DIR/api", "default-secs": 5}}`) // another service with the same socket, without the file
	if action(t, d, "192.0.2.1", "/") != protocol.ActionBlock || call("GET", "") != 200 {
		t.Error("the ban is gone with the configuration")
	}
	configure(`{"block-paths": "/x", "bans": {"socket": "DIR/api", "default-secs": 5}}`) // the same service
	if action(t, d, "192.0.2.1", "/") != protocol.ActionBlock || call("DELETE", "192.0.2.0/24") != 204 || action(t, d, "192.0.2.1", "/") != protocol.ActionAllow {
		t.Error("lifted, and still banned")
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Configure(context.Background(), fmt.Appendf(nil, `{"bans": {"socket": %q}}`, dir+"/file")); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file in the place of the socket: %v", err)
	}
	if call("GET", "") != 200 {
		t.Error("a refused configuration ended the API")
	}
	configure(`{}`)
	if _, err := net.Dial("unix", dir+"/api"); err == nil {
		t.Error("the API is there without bans")
	}
}

// TestRequiredFeed: without a copy of it, and without a source, the configuration is refused; with one it holds from the first request on.
func TestRequiredFeed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := newDenylist("test")
	t.Cleanup(func() { d.Close() })
	text := fmt.Appendf(nil, `{"feed-directory": %q, "block-ips-feed": "a", "feeds": {"a": {"file": %q, "required": true}}}`, dir, dir+"/in")
	if err := d.Configure(context.Background(), text); err == nil || !strings.Contains(err.Error(), "feeds.a: it is required") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(dir+"/in", []byte("192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Configure(context.Background(), text); err != nil {
		t.Fatal(err)
	}
	if action(t, d, "192.0.2.1", "/") != protocol.ActionBlock || action(t, d, "192.0.2.2", "/") != protocol.ActionAllow {
		t.Error("the feed is not in force")
	}
	found := map[string]bool{}
	r := d.Metrics()
	for _, s := range append(r.Counters, r.Gauges...) {
		found[s.Name] = true
	}
	if !found["denylist_feed_age_seconds"] || !found["denylist_feed_fetches_total"] || found["denylist_bans"] {
		t.Errorf("%v", found)
	}
}
