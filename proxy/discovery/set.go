package discovery

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// Set watches for upstreams. Its methods may be called by one goroutine at a time, except Apply.
type Set struct {
	log     *slog.Logger
	metrics *observe.Metrics
	changed chan struct{} // has one element when something has been found

	mu       sync.Mutex
	watchers map[string]*watcher
}

// NewSet returns a set that watches for nobody.
func NewSet(log *slog.Logger, metrics *observe.Metrics) *Set {
	return &Set{log: log, metrics: metrics, changed: make(chan struct{}, 1), watchers: map[string]*watcher{}}
}

// Changed receives when targets have come or gone since Apply was called last.
func (s *Set) Changed() <-chan struct{} { return s.changed }

// Watch begins to watch for the upstreams of a configuration that want it, and gives each of them a moment to find something, all at the same time: config.Discovery.Timeout at most.
// Watchers that exist and are wanted as they are go on. Keep ends those that are not wanted any more.
func (s *Set) Watch(ctx context.Context, c *config.Config) {
	var fresh []*watcher
	s.mu.Lock()
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		if u.Discovery == nil {
			continue
		}
		if w := s.watchers[u.ID]; w != nil && reflect.DeepEqual(w.cfg, *u.Discovery) {
			continue
		}
		w := newWatcher(u, s)
		if old := s.watchers[u.ID]; old != nil {
			old.stop()
		}
		s.watchers[u.ID] = w
		fresh = append(fresh, w)
	}
	s.mu.Unlock()
	for _, w := range fresh {
		w.start()
	}
	for _, w := range fresh {
		w.await(ctx)
	}
}

// Keep ends the watchers of upstreams that are not in c.
func (s *Set) Keep(c *config.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, w := range s.watchers {
		if !slices.ContainsFunc(c.Upstreams, func(u config.Upstream) bool { return u.ID == id && u.Discovery != nil }) {
			w.stop()
			delete(s.watchers, id)
		}
	}
}

// Apply returns c with the targets that have been found so far.
func (s *Set) Apply(c config.Config) config.Config {
	select {
	case <-s.changed:
	default:
	}
	c.Upstreams = slices.Clone(c.Upstreams)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range c.Upstreams {
		if w := s.watchers[c.Upstreams[i].ID]; w != nil && c.Upstreams[i].Discovery != nil {
			c.Upstreams[i].Targets = w.found()
		}
	}
	return c
}

// Close ends all watchers and waits for them.
func (s *Set) Close() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.watchers))
	s.watchers = map[string]*watcher{}
	s.mu.Unlock()
	for _, w := range all {
		w.stop()
		<-w.done
	}
}

// source is one way to find targets.
type source interface {
	// find returns the targets and how long they are good for. It gives up when ctx ends.
	find(ctx context.Context) (targets []config.Target, good time.Duration, err error)
}
