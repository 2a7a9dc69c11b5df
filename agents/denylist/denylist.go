package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/agents/denylist/bans"
	"github.com/sentinel-stack/sentinel/agents/denylist/policy"
	"github.com/sentinel-stack/sentinel/protocol"
)

// pollInterval is how often list files are looked at.
const pollInterval = time.Second

// denylist is the agent.
type denylist struct {
	version  string
	counters policy.Counters
	banned   bans.Counters
	current  atomic.Pointer[policy.Policy]
	bans     atomic.Pointer[bans.Service] // nil = there are none
	stop     context.CancelFunc           // of the goroutine of Start
	polling  sync.WaitGroup

	mu      sync.Mutex      // guards what is below: Start and Configure may meet
	life    context.Context // from Start to Close, nil before
	log     *slog.Logger
	starve  context.CancelFunc // ends the feeds in force
	feeding sync.WaitGroup
}

// newDenylist returns an agent without rules, which allows everything until it is configured.
func newDenylist(version string) *denylist {
	d := &denylist{version: version, stop: func() {}, starve: func() {}, log: slog.New(slog.DiscardHandler)}
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

// Start begins to follow the list files and the feeds.
func (d *denylist) Start(ctx context.Context, log *slog.Logger) error {
	ctx, d.stop = context.WithCancel(ctx)
	d.mu.Lock()
	d.life, d.log = ctx, log
	d.feed()
	d.mu.Unlock()
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

// feed runs the feeds of the policy in force, in place of those of the one before. The caller holds mu.
func (d *denylist) feed() {
	d.starve()
	d.feeding.Wait()
	if d.life == nil {
		return
	}
	var ctx context.Context
	ctx, d.starve = context.WithCancel(d.life)
	for _, f := range d.current.Load().Feeds {
		d.feeding.Go(func() { f.Run(ctx, d.log) })
	}
}

// Close ends what Start and Configure began and waits for it.
func (d *denylist) Close() error {
	d.stop()
	d.polling.Wait()
	d.mu.Lock()
	d.life = nil
	d.feed()
	d.mu.Unlock()
	if s := d.bans.Swap(nil); s != nil {
		s.Close()
	}
	return nil
}

// Configure compiles the text and, if nothing in it is wrong, switches over.
func (d *denylist) Configure(ctx context.Context, config json.RawMessage) error {
	p, err := policy.New(config, &d.counters)
	if err != nil {
		return err
	}
	if err := fetchRequired(ctx, p); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.bans.Load()
	now, err := d.openBans(p, before)
	if err != nil {
		return err
	}
	if now != nil {
		p.UseBans(now.Banned)
	}
	d.current.Store(p)
	if d.bans.Store(now); before != nil && before != now {
		before.Close()
	}
	d.feed()
	return nil
}

// openBans is the service of bans that the policy asks for: the one in force, a new one or none.
func (d *denylist) openBans(p *policy.Policy, before *bans.Service) (*bans.Service, error) {
	switch {
	case p.Bans == nil:
		return nil, nil
	case before != nil && before.Is(*p.Bans):
		return before, nil
	}
	return bans.Open(*p.Bans, &d.banned, d.log, before)
}

// fetchRequired makes the copies without which the policy must not be used.
func fetchRequired(ctx context.Context, p *policy.Policy) error {
	fetched := false
	for _, f := range p.Feeds {
		if _, there := f.Age(time.Now()); there || !f.Required {
			continue
		}
		if _, _, err := f.Fetch(ctx); err != nil {
			return fmt.Errorf("feeds.%s: it is required, there is no copy of it, and none can be had: %v", f.Name, err)
		}
		fetched = true
	}
	if fetched {
		return p.Reload()
	}
	return nil
}

// Request judges the head of a request.
func (d *denylist) Request(_ context.Context, r *protocol.RequestHeaders) (protocol.Verdict, error) {
	return d.current.Load().Judge(r)
}
