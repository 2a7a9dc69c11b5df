// Package hooks tells others what happens to the stack: it runs programs and makes HTTP requests when an event comes that they wait for.
//
// Emit never waits. Each hook has a queue of its own with a bound, and one worker, so a hook that hangs delays nobody but itself; programs share a small
// number of places to run in. What does not fit in a queue is dropped and counted. Nothing a hook does is an event that hooks are told of.
package hooks

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/reap"
)

const (
	queueLength = 64
	atOnce      = 4               // programs
	killGrace   = 2 * time.Second // between SIGTERM and SIGKILL
	firstRetry  = time.Second     // doubles with each further one
	maxRetry    = 30 * time.Second
	noteEvery   = 10 * time.Second // of what was dropped
)

// Deps is what hooks need of the supervisor. All fields are required.
type Deps struct {
	Launcher *exec.Launcher
	Reaper   *reap.Reaper
	Forest   *reap.Forest
	Logs     *logs.Store
	Environ  []string                 // of the supervisor; a hook gets a few harmless variables of it
	Runtime  string                   // the runtime directory: a supervisor that follows finds by it what was left behind
	Note     func(level, text string) // the supervisor's own log
	Event    func(api.Event)          // for who follows the events
}

// Engine runs the hooks of one supervisor. Its zero value does nothing until Set. Its methods are safe for concurrent use.
type Engine struct {
	slots chan struct{}

	mu     sync.Mutex
	deps   Deps
	hooks  []*hook
	paused bool // nothing is accepted
}

// New makes an engine without hooks.
func New() *Engine { return &Engine{slots: make(chan struct{}, atOnce)} }

// hook is one of them with its worker.
type hook struct {
	plan.Hook
	Stats
	queue  chan api.Event
	wake   chan struct{} // closed when the queue is to be emptied and left
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	noted  time.Time // when it was last said that events were dropped
}

// Stats counts what a hook did.
type Stats struct {
	Done, Failed, Dropped, Retries uint64
	Queued, Running                int
	LastError                      string
}

// Set makes list the hooks. Those that are as before go on; what the others still had to do is done no more. Counts stay with the name.
func (e *Engine) Set(d Deps, list []plan.Hook) {
	e.mu.Lock()
	before := e.hooks
	e.deps, e.hooks, e.paused = d, nil, false
	var gone []*hook
	for _, old := range before {
		keep := false
		for _, p := range list {
			keep = keep || old.is(p)
		}
		if !keep {
			gone = append(gone, old)
		}
	}
	for _, p := range list {
		e.hooks = append(e.hooks, e.take(before, p))
	}
	e.mu.Unlock()
	for _, h := range gone {
		h.cancel()
		<-h.done
	}
}

// take is the hook as it runs, or a new one. The caller holds mu.
func (e *Engine) take(before []*hook, p plan.Hook) *hook {
	h := &hook{Hook: p, queue: make(chan api.Event, queueLength), wake: make(chan struct{}), done: make(chan struct{})}
	for _, old := range before {
		switch {
		case old.is(p):
			return old
		case p.Key() == old.Key():
			h.Stats = old.Stats
			h.Running = 0
		}
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	go e.work(h)
	return h
}

// is says whether h works as p asks.
func (h *hook) is(p plan.Hook) bool { return h.queue != nil && reflect.DeepEqual(p, h.Hook) }

// Emit gives an event to every hook that waits for it. It never waits.
func (e *Engine) Emit(ev api.Event) {
	words := Words(ev)
	if len(words) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.hooks {
		if !h.Wants(words, ev.Service) {
			continue
		}
		if !e.paused {
			select {
			case h.queue <- ev:
				continue
			default:
			}
		}
		h.Dropped++
		if now := time.Now(); now.Sub(h.noted) >= noteEvery {
			h.noted = now
			e.deps.Note("warn", fmt.Sprintf("%s does not keep up: events it was not told of so far: %d", h.Key(), h.Dropped))
		}
	}
}

// Words are the names by which hooks wait for an event; none = no hook can.
func Words(e api.Event) []string {
	switch e.Kind {
	case "state":
		return []string{e.To}
	case "exit":
		if e.To == "oom" {
			return []string{"oom", "crashed"}
		}
		return []string{e.To}
	case "limit":
		return []string{"limit"}
	case "adopt":
		return []string{"adopted"}
	case "logs":
		return map[string][]string{"failing": {"logs-failing"}, "written": {"logs-written"}}[e.To]
	case "scale":
		return map[string][]string{"applied": {"scaled"}, "refused": {"scale-refused"}}[e.To]
	case "reload":
		return map[string][]string{"applied": {"reloaded"}, "refused": {"reload-refused"}}[e.To]
	case "upgrade":
		return map[string][]string{"applied": {"upgraded"}, "refused": {"upgrade-refused"}}[e.To]
	}
	return nil
}

// work is a hook's worker.
func (e *Engine) work(h *hook) {
	defer close(h.done)
	defer h.cancel()
	for {
		select {
		case <-h.ctx.Done():
			return
		case ev := <-h.queue:
			e.serve(h, ev)
			continue
		default:
		}
		select {
		case <-h.ctx.Done():
			return
		case <-h.wake:
			if len(h.queue) == 0 {
				return
			}
		case ev := <-h.queue:
			e.serve(h, ev)
		}
	}
}

// serve tells a hook of one event and books the outcome.
func (e *Engine) serve(h *hook, ev api.Event) {
	e.mu.Lock()
	d := e.deps
	h.Running++
	e.mu.Unlock()
	m := newMessage(h.Hook, ev)
	var err error
	if h.URL != "" {
		err = e.post(h, m)
	} else {
		err = e.run(d, h, m)
	}
	e.mu.Lock()
	h.Running--
	if err == nil {
		h.Done++
	} else {
		h.Failed++
		h.LastError = err.Error()
	}
	e.mu.Unlock()
	if err != nil {
		d.Note("error", fmt.Sprintf("%s failed for %s: %v", h.Key(), m.subject(), err))
		d.Event(api.Event{Time: time.Now(), Service: ev.Service, Kind: "hook", From: h.Key(), To: "failed", Reason: err.Error()})
	}
}

// Drain accepts no further events and waits until those accepted were told, or ctx ends; what still runs is killed then. Set begins anew.
func (e *Engine) Drain(ctx context.Context) {
	e.mu.Lock()
	list := e.hooks
	first := !e.paused
	e.paused = true
	e.mu.Unlock()
	for _, h := range list {
		if first {
			close(h.wake)
		}
	}
	for _, h := range list {
		select {
		case <-h.done:
		case <-ctx.Done():
			h.cancel()
			<-h.done
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range list {
		if n := uint64(len(h.queue)); n > 0 {
			h.Dropped += n
			e.deps.Note("warn", fmt.Sprintf("%s was not told of events: %d", h.Key(), n))
		}
	}
	if first {
		e.ended(list)
	}
}

// ended forgets workers that are gone but for their counts. The caller holds mu.
func (e *Engine) ended(list []*hook) {
	e.hooks = nil
	for _, h := range list {
		e.hooks = append(e.hooks, &hook{Hook: h.Hook, Stats: h.Stats, done: h.done, cancel: h.cancel})
	}
}

// Stats returns the counts of each hook, by its key, in the order of the file.
func (e *Engine) Stats(each func(key string, s Stats)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.hooks {
		s := h.Stats
		s.Queued = len(h.queue)
		each(h.Key(), s)
	}
}
