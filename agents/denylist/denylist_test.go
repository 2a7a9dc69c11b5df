package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sentinel-stack/sentinel/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func head(client, target string) *protocol.RequestHeaders {
	return &protocol.RequestHeaders{Metadata: protocol.Metadata{ClientIP: client}, Method: "GET", URI: target}
}

func action(t *testing.T, d *denylist, client, target string) protocol.Action {
	t.Helper()
	v, err := d.Request(context.Background(), head(client, target))
	if err != nil {
		t.Fatal(err)
	}
	return v.Action
}

// TestConfigure: a refused configuration changes nothing, an accepted one everything.
func TestConfigure(t *testing.T) {
	t.Parallel()
	d := newDenylist("test")
	if got := action(t, d, "192.0.2.1", "/a"); got != protocol.ActionAllow {
		t.Errorf("without configuration: %v", got)
	}
	for _, step := range []struct {
		text string
		err  string
		a, b protocol.Action
	}{
		{`{"block-paths": "/a"}`, "", protocol.ActionBlock, protocol.ActionAllow},
		{`{"block-paths": "b"}`, "block-paths: ", protocol.ActionBlock, protocol.ActionAllow},
		{`{"block-path": "/b"}`, "block-path: unknown key", protocol.ActionBlock, protocol.ActionAllow},
		{`{"block-paths": "/b"}`, "", protocol.ActionAllow, protocol.ActionBlock},
		{`{}`, "", protocol.ActionAllow, protocol.ActionAllow},
	} {
		err := d.Configure(context.Background(), []byte(step.text))
		if (err == nil) != (step.err == "") || err != nil && !strings.HasPrefix(err.Error(), step.err) {
			t.Errorf("%s: error %v, want %q", step.text, err, step.err)
		}
		if a, b := action(t, d, "192.0.2.1", "/a"), action(t, d, "192.0.2.1", "/b"); a != step.a || b != step.b {
			t.Errorf("after %s: /a %v, /b %v", step.text, a, b)
		}
	}
}

// TestFollowsFile runs the agent's own goroutine against requests: the list changes under them, and it ends with its context.
func TestFollowsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ips")
	if err := os.WriteFile(path, []byte("10.0.0.0/8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDenylist("test")
	if err := d.Configure(context.Background(), fmt.Appendf(nil, `{"block-ips": "192.0.2.1", "block-ips-file": %q}`, path)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := d.Start(ctx, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for ctx.Err() == nil {
				if v, err := d.Request(ctx, head("192.0.2.1", "/")); err != nil || v.Action != protocol.ActionBlock {
					t.Errorf("during a reload: %v, %v", v.Action, err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	if err := os.WriteFile(path+".new", []byte("172.16.0.0/12\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for action(t, d, "172.16.0.1", "/") != protocol.ActionBlock {
		if time.Now().After(deadline) {
			t.Fatal("the new list is not in force")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := action(t, d, "10.0.0.1", "/"); got != protocol.ActionAllow {
		t.Errorf("the old list is still in force: %v", got)
	}
	if err := d.Close(); err != nil { // ends the goroutine by itself: the program's context ends later
		t.Error(err)
	}
	cancel()
	askers.Wait()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	d := newDenylist("test")
	if err := d.Configure(context.Background(), []byte(`{"block-paths": ["/a", "/b"], "rule-sets": {"x": {"action": "log", "block-methods": "GET"}}}`)); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/a", "/c", "/b"} {
		action(t, d, "", target)
	}
	got := map[string]float64{}
	r := d.Metrics()
	for _, s := range append(r.Counters, r.Gauges...) {
		key := s.Name
		for _, l := range s.Labels {
			key += " " + l.Value
		}
		if s.Help == "" {
			t.Errorf("%s has no help", key)
		}
		if _, twice := got[key]; twice {
			t.Errorf("%s is reported twice", key)
		}
		got[key] = s.Value
	}
	for key, want := range map[string]float64{
		"denylist_lookups_total": 3, "denylist_blocked_total path": 2, "denylist_logged_total method": 1, "denylist_blocked_total ip": 0,
		"denylist_entries block-paths": 2, "denylist_entries rule-sets.x.block-methods": 1, "denylist_reload_errors_total": 0,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s = %v, want %v", key, v, want)
		}
	}
}
