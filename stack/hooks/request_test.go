package hooks

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

// start runs an engine with one webhook; failures gets a line for each event that it could not be told of.
func startWebhook(t *testing.T, h plan.Hook) (e *Engine, failures func() string) {
	t.Helper()
	var mu sync.Mutex
	var lines []string
	e = New()
	e.Set(Deps{Note: func(string, string) {}, Event: func(ev api.Event) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, ev.Reason)
	}}, []plan.Hook{h})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Drain(ctx)
	})
	return e, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(lines, "\n")
	}
}

func statsOf(e *Engine) (s Stats) {
	e.Stats(func(_ string, got Stats) { s = got })
	return s
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

var crash = api.Event{Seq: 7, Time: time.Now(), Kind: "exit", Service: "waf", To: "crashed", Reason: "signal KILL"}

func webhook(url string) plan.Hook {
	return plan.Hook{Name: "w", On: []string{"crashed"}, URL: url, Timeout: 10 * time.Second}
}

// TestWebhookIsTriedAgain: an overloaded server gets the same event, with the token, until it takes it.
func TestWebhookIsTriedAgain(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	bodies := make(chan string, 9)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- r.Method + " " + r.Header.Get("Authorization") + " " + string(body)
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	h := webhook(srv.URL)
	h.Retries, h.TokenFile = 2, token
	e, failures := startWebhook(t, h)
	e.Emit(crash)
	until(t, "delivered", func() bool { return statsOf(e).Done == 1 })
	if s := statsOf(e); s.Retries != 1 || s.Failed != 0 || calls.Load() != 2 || failures() != "" {
		t.Errorf("%+v, calls %d, %s", s, calls.Load(), failures())
	}
	first, second := <-bodies, <-bodies
	text, ok := strings.CutPrefix(first, "POST Bearer s3cret ")
	if first != second || !ok {
		t.Fatalf("first %s, then %s", first, second)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	if m["hook"] != "w" || m["event"] != "crashed" || m["service"] != "waf" || m["reason"] != "signal KILL" || m["seq"] != 7.0 || m["kind"] != "exit" {
		t.Errorf("%v", m)
	}
}

// TestWebhookRefusal: what another attempt cannot mend is not tried again, and nobody is sent elsewhere.
func TestWebhookRefusal(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, status := range []int{http.StatusNotFound, http.StatusTemporaryRedirect} {
		var calls atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.Header().Set("Location", other.URL)
			w.WriteHeader(status)
		}))
		h := webhook(srv.URL)
		h.Retries = 5
		e, failures := startWebhook(t, h)
		e.Emit(crash)
		until(t, "failed", func() bool { return statsOf(e).Failed == 1 })
		if calls.Load() != 1 || elsewhere.Load() != 0 || !strings.Contains(failures(), http.StatusText(status)) {
			t.Errorf("status %d: calls %d, elsewhere %d, %s", status, calls.Load(), elsewhere.Load(), failures())
		}
		srv.Close()
	}
}

// TestWebhookServerIsDown: attempts are bounded.
func TestWebhookServerIsDown(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(nil)
	url := srv.URL
	srv.Close()
	h := webhook(url)
	h.Retries = 1
	e, failures := startWebhook(t, h)
	e.Emit(crash)
	until(t, "given up", func() bool { return statsOf(e).Failed == 1 })
	if s := statsOf(e); s.Retries != 1 || !strings.Contains(failures(), "attempts: 2") {
		t.Errorf("%+v, %s", s, failures())
	}
}

// TestWebhookHangs: 1,000 events come while the server does not answer. Nobody waits, the queue has its bound, an attempt its time, and the hook can be taken away.
func TestWebhookHangs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	asked := make(chan struct{}, 2000)
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-release }))
	defer srv.Close()
	defer close(release)
	h := webhook(srv.URL)
	h.Timeout = time.Minute
	e, _ := startWebhook(t, h)
	e.Emit(crash)
	<-asked
	began := time.Now()
	for range 1000 {
		e.Emit(crash)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("1,000 events took %v", took)
	}
	if s := statsOf(e); s.Queued != queueLength || s.Dropped != 1000-queueLength || s.Running != 1 {
		t.Errorf("%+v", s)
	}
	h.Timeout = 200 * time.Millisecond
	began = time.Now()
	e.Set(e.deps, []plan.Hook{h}) // ends the request under way
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("a change took %v", took)
	}
	if s := statsOf(e); s.Dropped != 1000-queueLength || s.Queued != 0 {
		t.Errorf("the counts after a change: %+v", s)
	}
	failed := statsOf(e).Failed
	e.Emit(crash)
	until(t, "its time is over", func() bool { return statsOf(e).Failed > failed })
}

// TestWebhookAuthority: with ca-file only its authorities are believed.
func TestWebhookAuthority(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	h := webhook(srv.URL)
	stranger, failures := startWebhook(t, h)
	stranger.Emit(crash)
	until(t, "refused", func() bool { return statsOf(stranger).Failed == 1 })
	until(t, "the reason is told", func() bool { return strings.Contains(failures(), "certificate") })
	h.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	e, _ := startWebhook(t, h)
	e.Emit(crash)
	until(t, "believed", func() bool { return statsOf(e).Done == 1 })
}

// TestWhoIsTold: words and services choose, and what hooks do themselves is told to nobody.
func TestWhoIsTold(t *testing.T) {
	t.Parallel()
	h := plan.Hook{Name: "x", On: []string{"crashed", "reloaded"}, Services: []string{"waf"}}
	for _, c := range []struct {
		e    api.Event
		want bool
	}{
		{crash, true},
		{api.Event{Kind: "exit", Service: "waf", To: "oom"}, true},
		{api.Event{Kind: "exit", Service: "waf", To: "ended"}, false},
		{api.Event{Kind: "exit", Service: "auth", To: "crashed"}, false},
		{api.Event{Kind: "state", Service: "waf", To: "ready"}, false},
		{api.Event{Kind: "reload", To: "applied"}, false}, // of no service
		{api.Event{Kind: "hook", Service: "waf", To: "failed"}, false},
		{api.Event{Kind: "plan", Service: "waf", To: "crashed"}, false},
	} {
		if got := h.Wants(Words(c.e), c.e.Service); got != c.want {
			t.Errorf("%+v: %v", c.e, got)
		}
	}
	h.Services = nil
	if !h.Wants(Words(api.Event{Kind: "reload", To: "applied"}), "") || h.Wants(Words(api.Event{Kind: "reload", To: "unchanged"}), "") {
		t.Error("reloads")
	}
}
