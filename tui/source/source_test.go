package source

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	proxyapi "github.com/sentinel-stack/sentinel/proxy/api"
	stackapi "github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/tui/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStack answers from fields; a nil status means that the stack is gone.
type fakeStack struct {
	mu      sync.Mutex
	status  *stackapi.Status
	calls   []string
	streams int
	lines   []stackapi.LogLine // sent by each log stream, which then ends
	boom    bool
}

func (f *fakeStack) Status(context.Context) (*stackapi.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.boom {
		panic("boom")
	}
	if f.status == nil {
		return nil, stackapi.ErrNotRunning
	}
	return f.status, nil
}

func (f *fakeStack) set(s *stackapi.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = s
}

func (f *fakeStack) act(verb, service string) (*stackapi.Service, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, verb+" "+service)
	if service == "missing" {
		return nil, errors.New("no such service")
	}
	return &stackapi.Service{}, nil
}

func (f *fakeStack) Restart(_ context.Context, s string) (*stackapi.Service, error) {
	return f.act("restart", s)
}
func (f *fakeStack) Start(_ context.Context, s string) (*stackapi.Service, error) {
	return f.act("start", s)
}
func (f *fakeStack) Stop(_ context.Context, s string) (*stackapi.Service, error) {
	return f.act("stop", s)
}

func (f *fakeStack) Reload(context.Context) (*stackapi.ReloadResult, error) {
	return &stackapi.ReloadResult{OK: false, Error: "sentinel.kdl:3:1: no"}, nil
}

func (f *fakeStack) Logs(_ context.Context, _ stackapi.LogQuery, fn func(stackapi.LogLine) error) error {
	f.mu.Lock()
	f.streams++
	lines := slices.Clone(f.lines)
	f.mu.Unlock()
	for _, l := range lines {
		if err := fn(l); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeStack) Events(ctx context.Context, _ bool, fn func(stackapi.Event) error) error {
	_ = fn(stackapi.Event{Kind: "reload", Time: time.Now()})
	<-ctx.Done()
	return nil
}

type fakeProxy struct{ err error }

func (p fakeProxy) Status(context.Context) (proxyapi.Status, error) {
	return proxyapi.Status{PID: 7}, p.err
}
func (p fakeProxy) Routes(context.Context) ([]proxyapi.Route, error) {
	return []proxyapi.Route{{ID: "r"}}, nil
}
func (p fakeProxy) Upstreams(context.Context) ([]proxyapi.Upstream, error) { return nil, nil }
func (p fakeProxy) Agents(context.Context) ([]proxyapi.Agent, error)       { return nil, nil }

func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReadFollowsTheAdminSocket(t *testing.T) {
	t.Parallel()
	st := &fakeStack{status: &stackapi.Status{ProxyAdmin: "/a"}}
	var dialled []string
	s := open(t, Options{Stack: st, Dial: func(path string) Proxy {
		dialled = append(dialled, path)
		return fakeProxy{}
	}})
	for _, path := range []string{"/a", "/a", "/b", ""} {
		st.set(&stackapi.Status{ProxyAdmin: path})
		snap := s.Read(t.Context())
		if (path == "") != (snap.ProxyErr != "") || snap.Err != "" {
			t.Errorf("%q: errors %q %q", path, snap.Err, snap.ProxyErr)
		}
	}
	if !slices.Equal(dialled, []string{"/a", "/b"}) {
		t.Errorf("dialled %v", dialled)
	}
}

func TestReadFailures(t *testing.T) {
	t.Parallel()
	gone := open(t, Options{Stack: &fakeStack{}, Proxy: fakeProxy{}}).Read(t.Context())
	if !strings.Contains(gone.Err, "no supervisor") || gone.At.IsZero() {
		t.Errorf("stack gone: %+v", gone)
	}
	silent := open(t, Options{Stack: &fakeStack{status: &stackapi.Status{}}, Proxy: fakeProxy{err: errors.New("hung")}}).Read(t.Context())
	if silent.Err != "" || silent.ProxyErr != "hung" || silent.Proxy != nil {
		t.Errorf("proxy silent: %+v", silent)
	}
	alone := open(t, Options{Proxy: fakeProxy{}}).Read(t.Context())
	if alone.Err != "" || alone.Stack != nil || alone.Proxy.PID != 7 || len(alone.Routes) != 1 {
		t.Errorf("proxy alone: %+v", alone)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a source of nothing")
	}
}

func TestDo(t *testing.T) {
	t.Parallel()
	st := &fakeStack{status: &stackapi.Status{}}
	s := open(t, Options{Stack: st})
	for _, c := range []struct {
		effect model.Effect
		err    string
	}{
		{model.Effect{Verb: model.Restart, Service: "waf"}, ""}, {model.Effect{Verb: model.Stop, Service: "waf"}, ""},
		{model.Effect{Verb: model.Start, Service: "missing"}, "no such service"}, {model.Effect{Verb: model.Reload}, "sentinel.kdl:3:1: no"},
		{model.Effect{Verb: model.Quit}, ""}, {model.Effect{}, `cannot do "unknown"`},
	} {
		if done := s.Do(t.Context(), c.effect); done.Err != c.err || done.Effect != c.effect {
			t.Errorf("%v: %+v", c.effect, done)
		}
	}
	if want := []string{"restart waf", "stop waf", "start missing"}; !slices.Equal(st.calls, want) {
		t.Errorf("calls %v, want %v", st.calls, want)
	}
	if done := open(t, Options{Proxy: fakeProxy{}}).Do(t.Context(), model.Effect{Verb: model.Stop, Service: "x"}); done.Err == "" {
		t.Error("stopped a service without a stack")
	}
}

// TestRunBacksOffAndReturns takes the stack away and gives it back: the pauses grow, and the first reading after it is good.
func TestRunBacksOffAndReturns(t *testing.T) {
	t.Parallel()
	st := &fakeStack{}
	s := open(t, Options{Stack: st, Proxy: fakeProxy{}, Refresh: 100 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	snaps := make(chan model.Snapshot, 64)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(ctx, func(msg any) {
			if v, ok := msg.(model.Snapshot); ok {
				snaps <- v
			}
		})
	}()
	var pauses []time.Duration
	for range 3 {
		v := <-snaps
		if v.Err == "" {
			t.Fatal("a reading of nothing")
		}
		pauses = append(pauses, v.RetryAt.Sub(v.At))
	}
	if pauses[0] != 200*time.Millisecond || pauses[1] != 400*time.Millisecond || pauses[2] != 800*time.Millisecond {
		t.Errorf("pauses %v", pauses)
	}
	st.set(&stackapi.Status{})
	if v := <-snaps; v.Err != "" {
		t.Errorf("after the return: %s", v.Err)
	}
	st.set(nil)
	v := <-snaps
	for ; v.Err == ""; v = <-snaps { // readings from before
	}
	if pause := v.RetryAt.Sub(v.At); pause != pauses[0] {
		t.Errorf("after a good reading the first pause is %v, want %v again", pause, pauses[0])
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestReconnectedLogsDoNotRepeat lets each log stream end at once and repeat its history.
func TestReconnectedLogsDoNotRepeat(t *testing.T) {
	t.Parallel()
	now := time.Now()
	st := &fakeStack{status: &stackapi.Status{}, lines: []stackapi.LogLine{{Time: now, Text: "1"}, {Time: now.Add(1), Text: "2"}}}
	s := open(t, Options{Stack: st, Proxy: fakeProxy{}, Refresh: 100 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var got []string // appended to by one goroutine, read after Run
	ended := make(chan error, 1)
	again := make(chan struct{}, 64)
	go func() {
		ended <- s.Run(ctx, func(msg any) {
			switch v := msg.(type) {
			case model.LogLines:
				for _, l := range v {
					got = append(got, l.Text)
				}
			case model.Snapshot:
				again <- struct{}{}
			}
		})
	}()
	for streams := 0; streams < 3; { // the second stream has ended
		<-again
		st.mu.Lock()
		streams = st.streams
		st.lines = append(st.lines[:2:2], stackapi.LogLine{Time: now.Add(2), Text: "3"})
		st.mu.Unlock()
	}
	cancel()
	<-ended
	if !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("lines %v", got)
	}
}

func TestPanicComesBackAsError(t *testing.T) {
	t.Parallel()
	s := open(t, Options{Stack: &fakeStack{boom: true}})
	if err := s.Run(t.Context(), func(any) {}); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("got %v", err)
	}
}

// TestFlood sends many lines at once: they arrive in few messages and none is lost.
func TestFlood(t *testing.T) {
	t.Parallel()
	var messages, items int
	b := newBatch(func(v []int) { messages++; items += len(v) })
	for i := range 10_000 {
		b.add(i)
	}
	b.close()
	if items != 10_000 || messages > 10_000/flushAt+20 {
		t.Errorf("%d items in %d messages", items, messages)
	}
}
