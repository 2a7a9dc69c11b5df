package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
)

// Exit codes of Main.
const (
	exitOK      = 0 // stopped as asked, or --version, --help
	exitFailure = 1
	exitUsage   = 2
	exitConfig  = 3 // the agent refused the configuration given by --config-json
)

// Main runs the agent as a program, with the process's arguments and environment, until SIGTERM or SIGINT, and returns its exit code: 0 stopped as asked,
// 1 failure, 2 usage, 3 configuration refused.
//
// The socket is, in this order: one inherited by the LISTEN_FDS protocol (the one named "agent", else the only one), --socket, $SENTINEL_SOCKET. Logs go to standard
// error, as JSON unless it is a terminal. SIGUSR1 calls Reopen of a Reopener.
func Main(a Agent) int {
	signals := make(chan os.Signal, 4) // to the very end: a second signal must not turn an orderly stop into death by a signal
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	pipe := make(chan os.Signal, 1) // whoever reads our log may go away: a failed write, not our end
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	return run(a, program{args: os.Args[1:], getenv: os.Getenv, stdout: os.Stdout, stderr: os.Stderr, signals: signals})
}

// program is what a process gets from its parent.
type program struct {
	args           []string
	getenv         func(string) string
	stdout, stderr io.Writer
	signals        <-chan os.Signal
}

type flags struct {
	socket, config, level, format string
	drain                         time.Duration
	version                       bool
}

func (p program) parse(a Agent) (f flags, code int, ok bool) {
	fs := flag.NewFlagSet(a.Name(), flag.ContinueOnError)
	fs.SetOutput(p.stderr)
	fs.StringVar(&f.socket, "socket", p.getenv("SENTINEL_SOCKET"), "`path` of the Unix socket to listen on; not used when one is inherited")
	fs.StringVar(&f.config, "config-json", "", "JSON `file` with the configuration to start with; a proxy's replaces it")
	fs.StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.format, "log-format", "auto", "json, text, or auto: text on a terminal")
	fs.DurationVar(&f.drain, "drain-timeout", protocol.DrainTimeout, "how long running handlers may take after SIGTERM")
	fs.BoolVar(&f.version, "version", false, "print name and version")
	switch err := fs.Parse(p.args); {
	case errors.Is(err, flag.ErrHelp):
		return f, exitOK, false
	case err != nil:
		return f, exitUsage, false
	case fs.NArg() > 0:
		fmt.Fprintf(p.stderr, "%s: unexpected argument %q\n", a.Name(), fs.Arg(0))
		return f, exitUsage, false
	}
	return f, 0, true
}

func run(a Agent, p program) int {
	f, code, ok := p.parse(a)
	if !ok {
		return code
	}
	if f.version {
		fmt.Fprintf(p.stdout, "%s %s (protocol %d)\n", a.Name(), versionOf(a), protocol.Version)
		return exitOK
	}
	log, err := p.logger(a, f)
	if err != nil {
		fmt.Fprintf(p.stderr, "%s: %v\n", a.Name(), err)
		return exitUsage
	}
	ln, err := listen(f.socket, p.getenv)
	if err != nil {
		fmt.Fprintf(p.stderr, "%s: %v\n", a.Name(), err)
		if errors.Is(err, errNoSocket) {
			return exitUsage
		}
		return exitFailure
	}
	defer ln.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if s, ok := a.(Starter); ok {
		if err := s.Start(ctx, log); err != nil {
			log.Error("cannot start", "error", err)
			return exitFailure
		}
	}
	s := NewServer(a, log)
	s.procs = newProcs(p.getenv)
	if code := configureFrom(ctx, s, f.config, log); code != exitOK {
		stopNow, cancel := context.WithCancel(ctx)
		cancel()
		_ = s.Shutdown(stopNow)
		return code
	}
	return p.serve(a, s, ln, f.drain, log)
}

// configureFrom gives the agent the configuration of a file.
func configureFrom(ctx context.Context, s *Server, path string, log *slog.Logger) int {
	if path == "" {
		return exitOK
	}
	text, err := os.ReadFile(path)
	if err != nil {
		log.Error("cannot read configuration", "error", err)
		return exitFailure
	}
	if err := s.Configure(ctx, text); err != nil {
		log.Error("configuration refused", "file", path, "error", err)
		return exitConfig
	}
	return exitOK
}

// serve runs the server until a signal or a failure, then drains.
func (p program) serve(a Agent, s *Server, ln net.Listener, drain time.Duration, log *slog.Logger) int {
	notify := newNotifier(p.getenv)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	notify.send("READY=1\nSTATUS=serving " + ln.Addr().String())
	log.Info("agent is ready", "version", versionOf(a), "socket", ln.Addr().String())
	var watchdog <-chan time.Time
	if notify.watchdog > 0 {
		ticker := time.NewTicker(notify.watchdog / 2)
		defer ticker.Stop()
		watchdog = ticker.C
	}
	code := exitOK
	for stopping := false; !stopping; {
		select {
		case <-watchdog:
			notify.send("WATCHDOG=1")
		case sig := <-p.signals:
			if sig == syscall.SIGUSR1 {
				reopen(a, log)
				continue
			}
			log.Info("draining", "signal", sig.String())
			stopping = true
		case err := <-served:
			log.Error("cannot serve", "error", err)
			served <- nil // for the wait below
			code, stopping = exitFailure, true
		}
	}
	notify.send("STOPPING=1")
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		log.Warn("cannot drain", "error", err)
	}
	<-served
	log.Info("agent has stopped")
	return code
}

func reopen(a Agent, log *slog.Logger) {
	if r, ok := a.(Reopener); ok {
		if err := r.Reopen(); err != nil {
			log.Error("cannot reopen", "error", err)
		}
	}
}

func (p program) logger(a Agent, f flags) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, fmt.Errorf("cannot use log level %q: want debug, info, warn or error", f.level)
	}
	opt := &slog.HandlerOptions{Level: level}
	name := p.getenv("SENTINEL_AGENT")
	if name == "" {
		name = a.Name()
	}
	switch {
	case f.format == "text", f.format == "auto" && terminal(p.stderr):
		return slog.New(slog.NewTextHandler(p.stderr, opt)).With("agent", name), nil
	case f.format == "json", f.format == "auto":
		return slog.New(slog.NewJSONHandler(p.stderr, opt)).With("agent", name), nil
	}
	return nil, fmt.Errorf("cannot use log format %q: want json, text or auto", f.format)
}

func terminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
