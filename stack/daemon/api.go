package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// route is one row of the control API.
type route struct {
	method, path string
	access       access
	handle       func(*Daemon, http.ResponseWriter, *http.Request)
}

// routes is the whole control API with who may do what.
func routes() []route {
	return []route{
		{http.MethodGet, "/v1/status", readAccess, (*Daemon).getStatus},
		{http.MethodGet, "/v1/services", readAccess, (*Daemon).getServices},
		{http.MethodGet, "/v1/services/{name}/sandbox", readAccess, (*Daemon).getSandbox},
		{http.MethodGet, "/v1/logs", readAccess, (*Daemon).getLogs},
		{http.MethodGet, "/v1/events", readAccess, (*Daemon).getEvents},
		{http.MethodGet, "/v1/diff", readAccess, (*Daemon).getDiff},
		{http.MethodGet, "/metrics", readAccess, (*Daemon).getMetrics},
		{http.MethodPost, "/v1/services/{name}/restart", writeAccess, (*Daemon).postRestart},
		{http.MethodPost, "/v1/services/{name}/start", writeAccess, act((*supervise.Service).Start)},
		{http.MethodPost, "/v1/services/{name}/stop", writeAccess, act((*supervise.Service).Stop)},
		{http.MethodPost, "/v1/services/{name}/kill", writeAccess, (*Daemon).postKill},
		{http.MethodPost, "/v1/agents/{name}/scale", writeAccess, (*Daemon).postScale},
		{http.MethodPost, "/v1/reload", writeAccess, (*Daemon).postReload},
		{http.MethodPost, "/v1/upgrade", writeAccess, (*Daemon).postUpgrade},
		{http.MethodPost, "/v1/shutdown", writeAccess, (*Daemon).postShutdown},
	}
}

// Bounds of the control API: a client that is slow or one of thousands must not hurt the services.
const (
	maxClients    = 128
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
	actTimeout    = 2 * time.Minute
	writeTimeout  = 10 * time.Second // of one line of a stream
)

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, message, hint string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(api.Error{Message: message, Hint: hint})
}

func (d *Daemon) getStatus(w http.ResponseWriter, _ *http.Request) { reply(w, d.Status()) }

func (d *Daemon) getServices(w http.ResponseWriter, _ *http.Request) { reply(w, d.Services()) }

func (d *Daemon) getDiff(w http.ResponseWriter, _ *http.Request) {
	diff, err := d.Diff()
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error(), "")
		return
	}
	p := api.Plan{Changes: diff.Changes}
	if p.Changes == nil {
		p.Changes = []api.Change{}
	}
	reply(w, p)
}

func (d *Daemon) postReload(w http.ResponseWriter, r *http.Request) {
	reply(w, d.Reload(r.Context()))
}

func (d *Daemon) postScale(w http.ResponseWriter, r *http.Request) {
	n := 0
	if text := r.URL.Query().Get("instances"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			fail(w, http.StatusBadRequest, fmt.Sprintf("instances is %q", text), fmt.Sprintf("a number from 1 to %d", plan.MaxInstances))
			return
		}
	}
	result, err := d.Scale(r.Context(), r.PathValue("name"), n)
	var unknown *plan.UnknownAgentError
	switch {
	case errors.As(err, &unknown):
		fail(w, http.StatusNotFound, err.Error(), "sentinel-stack status lists them")
	case err != nil:
		fail(w, http.StatusConflict, err.Error(), "")
	default:
		reply(w, result)
	}
}

func (d *Daemon) postShutdown(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	d.Note("info", "shutdown was asked for")
	d.quit()
}

func noService(w http.ResponseWriter, name string) {
	fail(w, http.StatusNotFound, "no service is called "+strconv.Quote(name), "sentinel-stack status lists them")
}

// act makes a handler of what can be done to one service.
func act(do func(*supervise.Service, context.Context) error) func(*Daemon, http.ResponseWriter, *http.Request) {
	return actWithin(actTimeout, do)
}

func actWithin(timeout time.Duration, do func(*supervise.Service, context.Context) error) func(*Daemon, http.ResponseWriter, *http.Request) {
	return func(d *Daemon, w http.ResponseWriter, r *http.Request) {
		s := d.find(r.PathValue("name"))
		if s == nil {
			noService(w, r.PathValue("name"))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		if err := d.exclusive(ctx, func(ctx context.Context) error { return do(s, ctx) }); err != nil {
			status := http.StatusConflict
			var late *supervise.NotReadyError
			if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &late) {
				status = http.StatusGatewayTimeout
			}
			fail(w, status, err.Error(), "")
			return
		}
		snap := s.Snapshot()
		d.sampler.fill(d, &snap)
		reply(w, snap)
	}
}
