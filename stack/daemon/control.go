package daemon

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// control is the running control API.
type control struct {
	servers     []*http.Server
	cancel      context.CancelFunc
	wg          sync.WaitGroup
	ln, metrics net.Listener // metrics may be nil
	path        string
}

// serve starts the control API, and the metrics endpoint when one is asked for, on the given listeners or, where they are nil, on new ones.
func (d *Daemon) serve(ln, mln net.Listener) (c *control, err error) {
	if ln == nil {
		if ln, err = d.listen(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c = &control{cancel: cancel, ln: ln, path: ControlSocket(d.o.RuntimeDir)}
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
	c.start(ctx, &http.Server{Handler: mux, ConnContext: d.withPeer}, limitClients(ln, maxClients))
	if d.o.MetricsAddress != "" {
		if mln == nil {
			if mln, err = net.Listen("tcp", d.o.MetricsAddress); err != nil {
				c.close()
				return nil, err
			}
			d.Note("info", "metrics on http://"+mln.Addr().String()+"/metrics")
		}
		c.metrics = mln
		metrics := http.NewServeMux()
		metrics.HandleFunc("GET /metrics", d.getMetrics)
		c.start(ctx, &http.Server{Handler: metrics}, limitClients(mln, maxClients))
	}
	return c, nil
}

func (c *control) start(ctx context.Context, s *http.Server, ln net.Listener) {
	s.ErrorLog = log.New(io.Discard, "", 0) // what clients do wrong concerns them
	s.ReadHeaderTimeout, s.IdleTimeout, s.MaxHeaderBytes = headerTimeout, idleTimeout, maxHeader
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	c.servers = append(c.servers, s)
	c.wg.Go(func() { s.Serve(ln) })
}

// close ends streams, lets short answers finish and closes the sockets.
func (c *control) close() {
	c.pause()
	os.Remove(c.path)
}

// pause is close, but the control socket stays for whoever has a duplicate of it.
func (c *control) pause() {
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
