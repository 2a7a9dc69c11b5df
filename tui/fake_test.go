package tui

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
)

// fakeStack is a control socket and an admin socket that answer as the real ones do, and remember every call that is not a GET.
type fakeStack struct {
	control, admin string
	server         *http.Server

	mu       sync.Mutex
	writes   []string
	services []stackapi.Service
	requests uint64
}

func newFakeStack(t *testing.T) *fakeStack {
	t.Helper()
	dir := t.TempDir()
	f := &fakeStack{control: filepath.Join(dir, "control.sock"), admin: filepath.Join(dir, "admin.sock")}
	now := time.Now()
	f.services = []stackapi.Service{
		{Name: "proxy", Kind: "proxy", State: "ready", PID: 4242, Since: now, RSSBytes: 18 << 20, CPUPercent: 3},
		{Name: "denylist", Kind: "agent", State: "ready", PID: 4243, Since: now, RSSBytes: 9 << 20},
	}
	stack := http.NewServeMux()
	stack.HandleFunc("GET /v1/status", f.status)
	stack.HandleFunc("GET /v1/logs", f.stream(stackapi.LogLine{Time: now, Service: "denylist", Level: "info", Text: "rules loaded"}))
	stack.HandleFunc("GET /v1/events", f.stream(stackapi.Event{Time: now, Service: "denylist", Kind: "state", From: "starting", To: "ready"}))
	stack.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.writes = append(f.writes, r.URL.Path)
		answer(w, f.services[0])
	})
	f.server = serve(t, f.control, stack)
	serve(t, f.admin, f.proxy())
	return f
}

func (f *fakeStack) proxy() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.requests += 100
		answer(w, proxyapi.Status{Version: "1.2.3", InstanceID: "a", Generation: 3, Requests: f.requests, Started: time.Now().Add(-time.Hour)})
	})
	mux.HandleFunc("GET /v1/routes", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		answer(w, []proxyapi.Route{{ID: "api", Match: "path-prefix /api", Target: "backend", Requests: f.requests,
			Status: [6]uint64{2: f.requests}, Bounds: []float64{0.001, 0.01}, Counts: []uint64{f.requests, 0, 0}}})
	})
	mux.HandleFunc("GET /v1/upstreams", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, []proxyapi.Upstream{{ID: "backend", Targets: []proxyapi.Target{{Address: "127.0.0.1:9001", Status: "healthy"}}}})
	})
	mux.HandleFunc("GET /v1/agents", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, []proxyapi.Agent{{Name: "denylist", Type: "denylist", Connected: true, Circuit: "closed", Health: "healthy", P50Micros: 40, P99Micros: 90}})
	})
	return mux
}

func (f *fakeStack) status(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer(w, stackapi.Status{Version: "1.2.3", Started: time.Now().Add(-time.Hour), Generation: 3, ProxyAdmin: f.admin, Services: f.services})
}

// stream sends one line and stays open while it is followed.
func (f *fakeStack) stream(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(v)
		w.(http.Flusher).Flush()
		if r.URL.Query().Get("follow") != "" {
			<-r.Context().Done()
		}
	}
}

func (f *fakeStack) setState(i int, state string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.services[i].State = state
}

func (f *fakeStack) written() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.writes, " ")
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func serve(t *testing.T, path string, h http.Handler) *http.Server {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	ended := make(chan struct{})
	go func() {
		_ = srv.Serve(ln)
		close(ended)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-ended
	})
	return srv
}

// eventually waits until check returns "", or fails with what it returned last.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = check(); last == "" {
			return
		}
	}
	t.Fatal(last)
}

func contains(text string, wants ...string) string {
	for _, w := range wants {
		if !strings.Contains(text, w) {
			return fmt.Sprintf("no %q in:\n%s", w, text)
		}
	}
	return ""
}
