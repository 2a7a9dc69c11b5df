// Package source reads the control socket of the stack and the admin socket of the proxy and turns what they say into messages of
// the model: snapshots at a steady pace, log lines and events as they come. It also carries out the effects the model asks for.
// When the other side is gone it keeps trying, more and more slowly, and says so.
package source

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/tui/model"
)

// Stack is what the dashboard needs of the control API; *stackapi.Client is one.
type Stack interface {
	Status(ctx context.Context) (*stackapi.Status, error)
	Restart(ctx context.Context, service string) (*stackapi.Service, error)
	Start(ctx context.Context, service string) (*stackapi.Service, error)
	Stop(ctx context.Context, service string) (*stackapi.Service, error)
	Reload(ctx context.Context) (*stackapi.ReloadResult, error)
	Logs(ctx context.Context, q stackapi.LogQuery, fn func(stackapi.LogLine) error) error
	Events(ctx context.Context, follow bool, fn func(stackapi.Event) error) error
}

// Proxy is what the dashboard needs of the admin API; *proxyapi.Client is one.
type Proxy interface {
	Status(ctx context.Context) (proxyapi.Status, error)
	Routes(ctx context.Context) ([]proxyapi.Route, error)
	Upstreams(ctx context.Context) ([]proxyapi.Upstream, error)
	Agents(ctx context.Context) ([]proxyapi.Agent, error)
}

const (
	// readTimeout bounds one reading, so that a hung process never freezes the screen.
	readTimeout = 3 * time.Second
	// actionTimeout bounds a restart or reload; the stack has its own, shorter deadlines for each step.
	actionTimeout = 2 * time.Minute
	// maxRetry is the longest pause between two attempts to reach a stack that is gone.
	maxRetry = 10 * time.Second
	// history is how many past log lines are asked for at the start.
	history = 500
)

// Options say whom to ask. At least one of Stack and Proxy must be set.
type Options struct {
	Stack   Stack                   // nil = a proxy without a stack
	Proxy   Proxy                   // nil = take the proxy's socket from the stack's status
	Dial    func(path string) Proxy // makes the client for that socket; nil = proxyapi.NewClient
	Refresh time.Duration           // between two readings; at least 100 ms
	Now     func() time.Time        // nil = time.Now
}

// Source reads one stack. It is safe for concurrent use.
type Source struct {
	opt Options

	mu   sync.Mutex // guards what follows
	path string     // admin socket the proxy client was made for
	conn Proxy
}

// New returns a source; nothing is dialled yet.
func New(o Options) (*Source, error) {
	if o.Stack == nil && o.Proxy == nil {
		return nil, errors.New("cannot open dashboard: neither a control socket nor an admin socket is given")
	}
	o.Refresh = max(o.Refresh, 100*time.Millisecond)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = func(path string) Proxy { return proxyapi.NewClient(path) }
	}
	return &Source{opt: o, conn: o.Proxy}, nil
}

// Run reads until ctx ends and hands every message to emit, which must be safe for concurrent use. It returns when all its
// goroutines have ended: nil after the context, an error when one of them panicked.
func (s *Source) Run(ctx context.Context, emit func(any)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	loops := []func(context.Context, func(any)){s.poll}
	if s.opt.Stack != nil {
		loops = append(loops, s.followLogs, s.followEvents)
	}
	failed := make(chan error, len(loops))
	for _, loop := range loops {
		go func() {
			failed <- guard(func() { loop(ctx, emit) })
			cancel()
		}()
	}
	var err error
	for range loops {
		err = errors.Join(err, <-failed)
	}
	return err
}

// guard turns a panic into an error: a panic in a bare goroutine would leave the terminal in raw mode.
func guard(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("dashboard panicked: %v\n%s", r, debug.Stack())
		}
	}()
	f()
	return nil
}

// poll reads at the refresh interval while the stack answers and backs off while it does not.
func (s *Source) poll(ctx context.Context, emit func(any)) {
	delay := s.opt.Refresh
	for {
		snap := s.Read(ctx)
		if ctx.Err() != nil {
			return
		}
		if snap.Err == "" {
			delay = s.opt.Refresh
		} else {
			delay = min(delay*2, max(maxRetry, s.opt.Refresh))
			snap.RetryAt = snap.At.Add(delay)
		}
		emit(snap)
		if !sleep(ctx, delay) {
			return
		}
	}
}

// Read takes one reading.
func (s *Source) Read(ctx context.Context) model.Snapshot {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var snap model.Snapshot
	if s.opt.Stack != nil {
		st, err := s.opt.Stack.Status(ctx)
		if err != nil {
			snap.At, snap.Err = s.opt.Now(), err.Error()
			return snap
		}
		snap.Stack = st
	}
	err := s.readProxy(ctx, &snap)
	snap.At = s.opt.Now()
	switch {
	case err == nil:
	case snap.Stack == nil:
		snap.Err = err.Error()
	default:
		snap.ProxyErr = err.Error()
	}
	if err != nil {
		snap.Proxy = nil
	}
	return snap
}

func (s *Source) readProxy(ctx context.Context, snap *model.Snapshot) error {
	p := s.proxy(snap.Stack)
	if p == nil {
		return errors.New("the stack names no admin socket")
	}
	st, err := p.Status(ctx)
	if err != nil {
		return err
	}
	snap.Proxy = &st
	if snap.Routes, err = p.Routes(ctx); err != nil {
		return err
	}
	if snap.Upstreams, err = p.Upstreams(ctx); err != nil {
		return err
	}
	snap.Agents, err = p.Agents(ctx)
	return err
}

// proxy returns the client for the proxy: the one given, or one for the socket the stack names now.
func (s *Source) proxy(st *stackapi.Status) Proxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opt.Proxy == nil && st != nil && st.ProxyAdmin != s.path {
		s.path, s.conn = st.ProxyAdmin, nil
		if s.path != "" {
			s.conn = s.opt.Dial(s.path)
		}
	}
	return s.conn
}

// Do carries out an effect and returns its outcome. Quit does nothing: leaving the dashboard never touches the stack.
func (s *Source) Do(ctx context.Context, e model.Effect) model.Done {
	done := model.Done{Effect: e}
	if e.Verb == model.Quit {
		return done
	}
	if s.opt.Stack == nil {
		done.Err = "there is no stack, only a proxy"
		return done
	}
	ctx, cancel := context.WithTimeout(ctx, actionTimeout)
	defer cancel()
	var err error
	switch e.Verb {
	case model.Restart:
		_, err = s.opt.Stack.Restart(ctx, e.Service)
	case model.Stop:
		_, err = s.opt.Stack.Stop(ctx, e.Service)
	case model.Start:
		_, err = s.opt.Stack.Start(ctx, e.Service)
	case model.Reload:
		var r *stackapi.ReloadResult
		if r, err = s.opt.Stack.Reload(ctx); err == nil && !r.OK {
			err = errors.New(r.Error)
		}
	default:
		err = fmt.Errorf("cannot do %q", e.Describe())
	}
	if err != nil {
		done.Err = err.Error()
	}
	return done
}

// sleep waits for d or the end of ctx; it says whether ctx still runs.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
