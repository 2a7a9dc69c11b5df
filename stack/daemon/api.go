package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/logs"
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
		{http.MethodGet, "/v1/logs", readAccess, (*Daemon).getLogs},
		{http.MethodGet, "/v1/events", readAccess, (*Daemon).getEvents},
		{http.MethodGet, "/v1/diff", readAccess, (*Daemon).getDiff},
		{http.MethodGet, "/metrics", readAccess, (*Daemon).getMetrics},
		{http.MethodPost, "/v1/services/{name}/restart", writeAccess, act((*supervise.Service).Restart)},
		{http.MethodPost, "/v1/services/{name}/start", writeAccess, act((*supervise.Service).Start)},
		{http.MethodPost, "/v1/services/{name}/stop", writeAccess, act((*supervise.Service).Stop)},
		{http.MethodPost, "/v1/reload", writeAccess, (*Daemon).postReload},
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

// control is the running control API.
type control struct {
	servers []*http.Server
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// serve starts the control API, and the metrics endpoint when one is asked for.
func (d *Daemon) serve() (*control, error) {
	ln, err := d.listen()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &control{cancel: cancel}
	mux := http.NewServeMux()
	for _, r := range routes() {
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) {
			if !r.access(peerOf(req)) {
				fail(w, http.StatusForbidden, "permission denied", "the owner of the stack and root may change it, the group "+readGroup+" may read")
				return
			}
			r.handle(d, w, req)
		})
	}
	c.start(ctx, &http.Server{Handler: mux, ConnContext: withPeer}, limitClients(ln, maxClients))
	if d.o.MetricsAddress != "" {
		mln, err := net.Listen("tcp", d.o.MetricsAddress)
		if err != nil {
			c.close()
			return nil, err
		}
		metrics := http.NewServeMux()
		metrics.HandleFunc("GET /metrics", d.getMetrics)
		c.start(ctx, &http.Server{Handler: metrics}, limitClients(mln, maxClients))
		d.Note("info", "metrics on http://"+mln.Addr().String()+"/metrics")
	}
	return c, nil
}

func (c *control) start(ctx context.Context, s *http.Server, ln net.Listener) {
	s.ReadHeaderTimeout, s.IdleTimeout, s.MaxHeaderBytes = headerTimeout, idleTimeout, maxHeader
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	c.servers = append(c.servers, s)
	c.wg.Go(func() { s.Serve(ln) })
}

// close ends streams, lets short answers finish and closes the sockets.
func (c *control) close() {
	c.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, s := range c.servers {
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
	}
	c.wg.Wait()
}

// limitClients bounds the open connections; further ones wait in the backlog.
func limitClients(ln net.Listener, n int) net.Listener {
	return &limitedListener{Listener: ln, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limitedListener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, message, hint string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(api.Error{Message: message, Hint: hint})
}

func (d *Daemon) getStatus(w http.ResponseWriter, _ *http.Request)   { reply(w, d.Status()) }
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

func (d *Daemon) postShutdown(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	d.Note("info", "shutdown was asked for")
	d.quit()
}

// act makes a handler of what can be done to one service.
func act(do func(*supervise.Service, context.Context) error) func(*Daemon, http.ResponseWriter, *http.Request) {
	return func(d *Daemon, w http.ResponseWriter, r *http.Request) {
		s := d.find(r.PathValue("name"))
		if s == nil {
			fail(w, http.StatusNotFound, "no service is called "+strconv.Quote(r.PathValue("name")), "sentinel-stack status lists them")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), actTimeout)
		defer cancel()
		if err := d.exclusive(ctx, func() error { return do(s, ctx) }); err != nil {
			status := http.StatusConflict
			if errors.Is(err, context.DeadlineExceeded) {
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

// stream writes JSON lines; each must reach the client in time.
type stream struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	enc *json.Encoder
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	s := &stream{w: w, rc: http.NewResponseController(w), enc: json.NewEncoder(w)}
	s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.WriteHeader(http.StatusOK)
	s.rc.Flush()
	return s
}

func (s *stream) send(v any, flush bool) error {
	s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	err := s.enc.Encode(v)
	if err == nil && flush {
		err = s.rc.Flush()
	}
	return err
}

func (d *Daemon) getLogs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	q := api.LogQuery{Services: query["service"], Grep: query.Get("grep"), Request: query.Get("request"), Lines: 100}
	var err error
	if n := query.Get("n"); n != "" {
		q.Lines, err = strconv.Atoi(n)
	}
	if since := query.Get("since"); since != "" && err == nil {
		q.Since, err = time.Parse(time.RFC3339Nano, since)
	}
	filter, filterErr := logs.NewFilter(q)
	if err = errors.Join(err, filterErr); err != nil {
		fail(w, http.StatusBadRequest, err.Error(), "")
		return
	}
	if !flag(query.Get("follow")) {
		s := newStream(w)
		for _, l := range d.logs.Query(filter, q.Lines) {
			if s.send(l, false) != nil {
				return
			}
		}
		return
	}
	past, sub := d.logs.Follow(filter, q.Lines)
	defer sub.Cancel()
	s := newStream(w)
	for _, l := range past {
		if s.send(l, false) != nil {
			return
		}
	}
	s.rc.Flush()
	for {
		l, ok := sub.Next(r.Context())
		if !ok || s.send(l, true) != nil {
			return
		}
	}
}

func (d *Daemon) getEvents(w http.ResponseWriter, r *http.Request) {
	s := newStream(w)
	d.events.follow(r.Context(), flag(r.URL.Query().Get("follow")), func(e api.Event) error { return s.send(e, true) })
}

func flag(v string) bool { return v == "1" || v == "true" }
