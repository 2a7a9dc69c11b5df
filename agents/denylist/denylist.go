package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/agents/denylist/policy"
	"github.com/sentinel-stack/sentinel/protocol"
)

// pollInterval is how often list files are looked at.
const pollInterval = time.Second

// denylist is the agent.
type denylist struct {
	version  string
	counters policy.Counters
	current  atomic.Pointer[policy.Policy]
	stop     context.CancelFunc // of the goroutine of Start
	polling  sync.WaitGroup
}

// newDenylist returns an agent without rules, which allows everything until it is configured.
func newDenylist(version string) *denylist {
	d := &denylist{version: version, stop: func() {}}
	empty, err := policy.New(nil, &d.counters)
	if err != nil {
		panic("the empty policy is refused: " + err.Error())
	}
	d.current.Store(empty)
	return d
}

// Name returns "denylist".
func (d *denylist) Name() string { return "denylist" }

// Version returns the version of the program.
func (d *denylist) Version() string { return d.version }

// Start begins to follow the list files.
func (d *denylist) Start(ctx context.Context, log *slog.Logger) error {
	ctx, d.stop = context.WithCancel(ctx)
	d.polling.Go(func() {
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				d.current.Load().Poll(now, log)
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}

// Close ends the goroutine of Start and waits for it.
func (d *denylist) Close() error {
	d.stop()
	d.polling.Wait()
	return nil
}

// Configure compiles the text and, if nothing in it is wrong, switches over.
func (d *denylist) Configure(_ context.Context, config json.RawMessage) error {
	p, err := policy.New(config, &d.counters)
	if err != nil {
		return err
	}
	d.current.Store(p)
	return nil
}

// Request judges the head of a request.
func (d *denylist) Request(_ context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
	return d.current.Load().Judge(r)
}
