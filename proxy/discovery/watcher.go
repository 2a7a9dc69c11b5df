package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// errNone is what an answer without targets means.
var errNone = errors.New("there are no targets")

// watcher looks for the targets of one upstream again and again.
type watcher struct {
	cfg     config.Discovery
	source  source
	set     *Set
	log     *slog.Logger
	metrics *observe.UpstreamMetrics
	cancel  context.CancelFunc
	ctx     context.Context
	first   chan struct{} // closed when the first look is over
	done    chan struct{}

	mu      sync.Mutex
	targets []config.Target
}

func newWatcher(u *config.Upstream, s *Set) *watcher {
	w := &watcher{cfg: *u.Discovery, set: s, log: s.log.With("upstream", u.ID, "source", u.Discovery.Type), metrics: s.metrics.Upstream(u.ID),
		first: make(chan struct{}), done: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	switch u.Discovery.Type {
	case "file":
		w.source = &file{path: u.Discovery.Path, every: u.Discovery.Interval}
	case "srv":
		w.source = &services{resolver: newResolver(u.Discovery), name: u.Discovery.Service}
	case "consul":
		w.source = newConsul(u.Discovery)
	case "kubernetes":
		w.source = newKubernetes(u.Discovery)
	default:
		w.source = &addresses{resolver: newResolver(u.Discovery), name: u.Discovery.Hostname, port: u.Discovery.Port}
	}
	w.metrics.Discovers.Store(true)
	return w
}

func (w *watcher) start() { go w.run() }

// await waits for the first look, as long as one may take.
func (w *watcher) await(ctx context.Context) {
	timer := time.NewTimer(w.cfg.Timeout)
	defer timer.Stop()
	select {
	case <-w.first:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (w *watcher) stop() { w.cancel() }

func (w *watcher) found() []config.Target {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.targets)
}

// retryMin and retryMax bound the pause after a look that found nothing.
const (
	retryMin = time.Second
	retryMax = 30 * time.Second
)

// pause is how long to wait after so many failures in a row. Looking at a file costs nobody anything.
func (w *watcher) pause(failures int) time.Duration {
	if w.cfg.Type == "file" {
		return w.cfg.Interval
	}
	return min(retryMin<<min(failures, 5), retryMax)
}

func (w *watcher) run() {
	defer close(w.done)
	if c, ok := w.source.(interface{ close() }); ok {
		defer c.close()
	}
	defer w.metrics.Release()
	failures := 0
	for {
		good, err := w.look()
		if w.ctx.Err() != nil {
			return
		}
		if failures == 0 {
			w.closeFirst()
		}
		if err != nil {
			if failures == 0 {
				w.log.Warn("cannot find targets, those found last stay", "error", err, "targets", len(w.found()))
			}
			good = w.pause(failures)
			failures++
		} else if failures > 0 {
			w.log.Info("targets are found again")
			failures = 0
		}
		timer := time.NewTimer(good - rand.N(good/10+1)) // many proxies do not ask at the same moment
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (w *watcher) closeFirst() {
	select {
	case <-w.first:
	default:
		close(w.first)
	}
}

// look asks the source once and keeps what it says.
func (w *watcher) look() (time.Duration, error) {
	ctx, cancel := context.WithTimeout(w.ctx, w.cfg.Timeout)
	defer cancel()
	targets, good, err := w.source.find(ctx)
	if err == nil && len(targets) == 0 {
		err = errNone
	}
	if err == nil {
		targets, err = w.check(targets)
	}
	if err != nil {
		w.metrics.DiscoveryErrors.Add(1)
		return 0, err
	}
	w.metrics.Discovered.Store(time.Now().Unix())
	w.keep(targets)
	return good, nil
}

// check refuses what cannot be served, so that one bad line does not reach a pool.
func (w *watcher) check(targets []config.Target) ([]config.Target, error) {
	if len(targets) > w.cfg.MaxTargets {
		return nil, fmt.Errorf("%d targets are more than max-targets, %d", len(targets), w.cfg.MaxTargets)
	}
	slices.SortFunc(targets, func(a, b config.Target) int { return strings.Compare(a.Address, b.Address) })
	for i, t := range targets {
		if err := config.CheckTarget(t.Address); err != nil {
			return nil, err
		}
		if i > 0 && targets[i-1].Address == t.Address {
			return nil, fmt.Errorf("%s stands there twice", t.Address)
		}
	}
	return targets, nil
}

// keep takes over what was found and tells about it when it is something else.
func (w *watcher) keep(targets []config.Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Equal(w.targets, targets) {
		return
	}
	came, went := difference(targets, w.targets), difference(w.targets, targets)
	w.log.Info("targets have changed", "targets", len(targets), "came", came, "went", went)
	w.targets = targets
	select {
	case w.set.changed <- struct{}{}:
	default:
	}
}

// difference lists the addresses of a that are not in b.
func difference(a, b []config.Target) (out []string) {
	for _, t := range a {
		if !slices.ContainsFunc(b, func(o config.Target) bool { return o.Address == t.Address }) {
			out = append(out, t.Address)
		}
	}
	return out
}
