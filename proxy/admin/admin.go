// Package admin serves the proxy's admin API on a Unix socket: HTTP/1.1 with JSON, one table with method, path and access rule in each row.
//
// Who is calling is asked of the kernel (SO_PEERCRED), never of the request: reading is for root, the owner of the process and members of
// its group; writing is for root and the owner.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/api"
)

// Proxy is what the admin API needs of the running proxy. Every method may be called concurrently.
type Proxy interface {
	Status() api.Status
	Routes() []api.Route
	Upstreams() []api.Upstream
	Certificates() []api.Certificate
	Agents() []api.Agent
	Config() (json.RawMessage, error)
	Reload(ctx context.Context, r api.ReloadRequest) api.Reload
	Reopen() error
	Drain()
	Metrics() http.Handler
}

const (
	maxRequestBytes = 64 << 10
	headTimeout     = 5 * time.Second
	requestTimeout  = 10 * time.Second
	idleTimeout     = 60 * time.Second
	maxConnections  = 64 // beyond it callers wait in the backlog
)

// row is one line of the API: nothing is served that is not here.
type row struct {
	method string
	path   string
	access access
	serve  func(p Proxy, w http.ResponseWriter, r *http.Request)
}

var table = []row{
	{http.MethodGet, "/v1/status", read, func(p Proxy, w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, p.Status()) }},
	{http.MethodGet, "/v1/routes", read, func(p Proxy, w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, orEmpty(p.Routes())) }},
	{http.MethodGet, "/v1/upstreams", read, func(p Proxy, w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, orEmpty(p.Upstreams())) }},
	{http.MethodGet, "/v1/certificates", read, func(p Proxy, w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, orEmpty(p.Certificates()))
	}},
	{http.MethodGet, "/v1/agents", read, func(p Proxy, w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, orEmpty(p.Agents())) }},
	{http.MethodGet, "/v1/config", write, serveConfig}, // it may hold what agents are told in confidence
	{http.MethodPost, "/v1/reload", write, serveReload},
	{http.MethodPost, "/v1/reopen", write, serveReopen},
	{http.MethodPost, "/v1/drain", write, func(p Proxy, w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusAccepted, struct{}{})
		p.Drain()
	}},
	{http.MethodGet, "/metrics", read, func(p Proxy, w http.ResponseWriter, r *http.Request) { p.Metrics().ServeHTTP(w, r) }},
}

// Server is the admin API on one listener.
type Server struct {
	http *http.Server
	log  *slog.Logger
}

// New returns a server for p. It serves nothing yet.
func New(p Proxy, log *slog.Logger) *Server {
	s := &Server{log: log}
	s.http = &http.Server{
		Handler:           handler(p, log),
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       withPeer,
	}
	return s
}

// Serve answers on ln until Shutdown.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.Serve(limited(ln, maxConnections))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown stops accepting and waits for running calls until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

func handler(p Proxy, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	for _, line := range table {
		mux.HandleFunc(line.method+" "+line.path, func(w http.ResponseWriter, r *http.Request) {
			who := peerOf(r.Context())
			if !line.access(who) {
				log.Warn("admin call refused", "method", r.Method, "path", r.URL.Path, "uid", who.uid, "gid", who.gid)
				fail(w, http.StatusForbidden, "not allowed for this user", "call as root or as the user that runs the proxy")
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxRequestBytes)
			line.serve(p, w, r)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "no such path: "+r.Method+" "+r.URL.Path, "")
	})
	return mux
}

func serveConfig(p Proxy, w http.ResponseWriter, _ *http.Request) {
	raw, err := p.Config()
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error(), "")
		return
	}
	reply(w, http.StatusOK, raw)
}

func serveReload(p Proxy, w http.ResponseWriter, r *http.Request) {
	var req api.ReloadRequest
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil && !errors.Is(err, io.EOF) {
		fail(w, http.StatusBadRequest, "cannot read reload request: "+err.Error(), "")
		return
	}
	out := p.Reload(r.Context(), req)
	if !out.OK {
		reply(w, http.StatusConflict, out)
		return
	}
	reply(w, http.StatusOK, out)
}

func serveReopen(p Proxy, w http.ResponseWriter, _ *http.Request) {
	if err := p.Reopen(); err != nil {
		fail(w, http.StatusInternalServerError, err.Error(), "")
		return
	}
	reply(w, http.StatusOK, struct{}{})
}

// orEmpty makes an absent list "[]" on the wire.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(body) // the client is gone when this fails; there is nobody to tell
}

func fail(w http.ResponseWriter, status int, message, hint string) {
	reply(w, status, api.Failure{Message: message, Hint: hint})
}
