// Package run is one proxy process from its start to its end: sockets, logs, the first generation, reloads, signals, readiness, drain.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/oklog/run"

	"github.com/sentinel-stack/sentinel/proxy/admin"
	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// Options say what to run.
type Options struct {
	Config  string    // path, "bundle:/path" or config.EmbeddedStarter
	Version string    // of the build
	Stderr  io.Writer // error log when no file is configured
	Stdout  io.Writer // access log when it goes to standard output
}

// Run serves until ctx ends or a signal asks for the end. An invalid configuration is returned as config.Diagnostics.
func Run(ctx context.Context, o Options) error {
	notify := newNotifier()
	// Before anything else, and to the very end of the process: a signal that comes while we start waits for its turn instead of killing us, and one that comes
	// when everything is done does not turn success into death by a signal.
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	// Whoever reads our log may go away. A signal that is caught is an error of the write instead of our end, and unlike one that is ignored not inherited.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	sockets, err := inherit()
	if err != nil {
		return err
	}
	defer sockets.close()
	loaded, err := config.Load(o.Config, config.Options{})
	if err != nil {
		return err
	}
	setWorkers(loaded.Config.System.WorkerThreads)

	p, err := start(ctx, o, loaded)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.listen(sockets); err != nil {
		return err
	}
	for _, name := range sockets.left() {
		p.log.Warn("inherited socket is not used by the configuration", "socket", name)
	}
	sockets.close()

	g := p.group(ctx, notify, ch)
	notify.send("READY=1\nSTATUS=serving generation 1")
	p.log.Info("serving", "version", o.Version, "config", o.Config, "hash", loaded.Hash, "generation", 1, "listeners", len(p.listeners), "took_ms", time.Since(p.started).Milliseconds())
	err = g.Run()
	if errors.Is(err, errStop) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// setWorkers bounds the threads that run Go code. The environment wins, as everywhere in Go.
func setWorkers(n int) {
	if n > 0 && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(n)
	}
}

// errStop ends the group without being a failure.
var errStop = errors.New("asked to stop")

// group is everything that runs side by side; the first to end ends all, and Run waits for all.
func (p *Proxy) group(ctx context.Context, notify notifier, ch <-chan os.Signal) *run.Group {
	g := &run.Group{}
	ctx, cancel := context.WithCancel(ctx)
	g.Add(func() error { return p.signals(ctx, ch) }, func(error) { cancel() })
	g.Add(func() error { return p.serveListeners(ctx, notify, ch) }, func(error) { cancel() })
	g.Add(func() error { notify.watchdog(ctx, p.alive); return ctx.Err() }, func(error) { cancel() })
	if p.adminListener != nil {
		s := admin.New(p, p.log)
		g.Add(func() error { return s.Serve(p.adminListener) }, func(error) { stopServer(s) })
	}
	if p.metricsListener != nil {
		s := metricsServer(p)
		g.Add(func() error { return ignoreClosed(s.Serve(p.metricsListener)) }, func(error) { stopServer(s) })
	}
	g.Add(func() error { return p.follow(ctx) }, func(error) { cancel() })
	if p.current().Loaded.Config.System.AutoReload {
		g.Add(func() error { return p.watchFiles(ctx) }, func(error) { cancel() })
	}
	return g
}

// serveListeners accepts on every listener until ctx ends, then drains; another signal to stop meanwhile ends the patience.
func (p *Proxy) serveListeners(ctx context.Context, notify notifier, ch <-chan os.Signal) error {
	all := len(p.listeners) + len(p.quics)
	failed := make(chan error, all)
	stop := make(chan struct{})
	for _, q := range p.quics {
		go func() { failed <- p.serveQUIC(q, stop) }()
	}
	for id, ln := range p.listeners {
		go func() {
			if err := p.server.Serve(ln, id); err != nil {
				failed <- fmt.Errorf("cannot serve listener %q: %v", id, err)
			} else {
				failed <- nil
			}
		}()
	}
	var err error
	served := 0
	select {
	case <-ctx.Done():
	case <-p.drain:
	case err = <-failed:
		served++
	}
	close(stop)
	p.server.Drain() // first, so that whoever hears of it can rely on it
	notify.send("STOPPING=1\nSTATUS=draining")
	timeout := p.current().Loaded.Config.System.GracefulShutdownTimeout
	p.draining.Store(true)
	p.log.Info("draining", "deadline_secs", timeout.Seconds())
	end, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	go hurry(ctx, end, cancel, ch)
	if cut := p.server.Shutdown(end); cut != nil {
		p.log.Warn("drain ended early, connections were cut", "error", cut)
	}
	p.log.Info("stopped")
	for ; served < all; served++ {
		<-failed
	}
	if err != nil {
		return err
	}
	return errStop
}

// sameRequest is how long after the first one a signal to stop is taken for the same: a service manager may tell every process of a group, and then the
// supervisor among them tells us as well.
const sameRequest = time.Second

// hurry cuts a drain short when a signal asks for the end once more. Until asked ends, signals are somebody else's to read.
func hurry(asked, drain context.Context, cut context.CancelFunc, ch <-chan os.Signal) {
	select {
	case <-asked.Done():
	case <-drain.Done():
		return
	}
	began := time.Now()
	for {
		select {
		case <-drain.Done():
			return
		case s := <-ch:
			if (s == syscall.SIGTERM || s == syscall.SIGINT) && time.Since(began) > sameRequest {
				cut()
			}
		}
	}
}

// signals carries out what the operator asks for by signal until it is time to stop.
func (p *Proxy) signals(ctx context.Context, ch <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s := <-ch:
			switch s {
			case syscall.SIGHUP:
				p.reloadLogged(ctx)
			case syscall.SIGUSR1:
				if err := p.Reopen(); err != nil {
					p.log.Error("cannot reopen log files", "error", err)
				}
			default:
				p.log.Info("stopping", "signal", s.String())
				return errStop
			}
		}
	}
}

type shutdowner interface{ Shutdown(context.Context) error }

func stopServer(s shutdowner) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s.Shutdown(ctx)
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// metricsServer is the optional separate listener for scrapes.
func metricsServer(p *Proxy) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET "+p.current().Loaded.Config.Observability.Metrics.Path, p.Metrics())
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 120 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
}

// listenUnix binds path; a socket file that nobody answers on is left over from a process that died and is replaced.
// clearStale makes room for a socket. Only a socket that the kernel says nobody listens on is removed: any other failure to connect, as for lack of permission or a full
// backlog, does not mean that it is dead, and a file that is no socket is somebody's data.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look at socket: %v", err)
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("cannot listen on %s: a file that is no socket is in the way", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("cannot listen on %s: another process serves it", path)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot tell whether another process serves %s: %v", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot replace stale socket: %v", err)
	}
	return nil
}

func listenUnix(path string, mode os.FileMode) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot create socket directory: %v", err)
	}
	if err := clearStale(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %v", err)
	}
	if err := os.Chmod(path, mode); err != nil {
		ln.Close()
		return nil, fmt.Errorf("cannot set socket mode: %v", err)
	}
	return ln, nil
}

// openErrorLog opens the proxy's own log as the configuration asks: to a file, else to standard error.
func openErrorLog(o Options, c config.Log, m *observe.Metrics) (*observe.ErrorLog, error) {
	return observe.OpenErrorLog(observe.LogOptions{File: c.File, Output: o.Stderr, Records: c.BufferSize, Metrics: m}, logLevel(c.Level), c.Format == "text")
}

// logLevel is the least level that is written.
func logLevel(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	case "off":
		return math.MaxInt
	}
	return slog.LevelInfo
}
