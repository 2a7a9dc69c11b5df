package bans

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where bans come from and how many there may be.
type Config struct {
	File     string // "" = bans end with the process, and no other instance knows of them
	Socket   string // of the API, "" = there is none
	Max      time.Duration
	Default  time.Duration
	Entries  int
	Triggers []Trigger
}

// Counters count what happened since the program began.
type Counters struct {
	ByAPI, ByTrigger, Lifted, Refused, FileErrors, Lines, BadLines atomic.Uint64
}

// interval is the pause between two looks at files.
const interval = 500 * time.Millisecond

// Service keeps a table of bans, with what adds to it.
type Service struct {
	Counters *Counters
	conf     Config
	table    *table
	log      *slog.Logger
	now      func() time.Time
	http     *http.Server
	work     sync.WaitGroup
	cancel   context.CancelFunc
	wake     chan struct{}
	store    *store
	counters []*counter
	logs     map[string]*follower
	silent   map[string]bool // what was complained about and is still so
}

// Open starts a service. before is the one in force until now, whose bans it takes over; it may be nil.
func Open(c Config, n *Counters, log *slog.Logger, before *Service) (*Service, error) {
	s := &Service{Counters: n, conf: c, table: newTable(c.Entries), log: log, now: time.Now, wake: make(chan struct{}, 1), logs: map[string]*follower{}, silent: map[string]bool{}}
	if before != nil {
		for _, e := range before.table.entries() {
			_ = s.table.put(e, s.now())
		}
	}
	if c.File != "" {
		s.store = &store{path: c.File}
		if err := s.store.sync(s.table, s.now()); err != nil {
			return nil, err
		}
	}
	for _, t := range c.Triggers {
		s.counters = append(s.counters, newCounter(t))
		if s.logs[t.File] == nil {
			s.logs[t.File] = &follower{path: t.File}
		}
	}
	if c.Socket != "" {
		if err := s.serve(c.Socket); err != nil {
			return nil, err
		}
	}
	for path, f := range s.logs { // from here on everything is new
		s.report(path, f.look(func([]byte) {}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.work.Go(func() { s.run(ctx) })
	return s, nil
}

// Is reports whether the service is as c says.
func (s *Service) Is(c Config) bool { return reflect.DeepEqual(s.conf, c) }

// Close ends the service. Bans are in the file, when there is one.
func (s *Service) Close() {
	s.cancel()
	s.stopServing()
	s.work.Wait()
	for _, f := range s.logs {
		f.close()
	}
	if s.store != nil {
		s.report("bans", s.store.sync(s.table, s.now()))
	}
}

// Banned finds the ban that holds for an address.
func (s *Service) Banned(a netip.Addr) (Ban, bool) { return s.table.banned(a, s.now()) }

// Size counts the bans that hold.
func (s *Service) Size() int { return s.table.size(s.now()) }

// ban keeps a network out from now on.
func (s *Service) ban(p netip.Prefix, length time.Duration, reason string) (Ban, error) {
	now := s.now()
	b := Ban{Network: p, Since: now, Until: now.Add(length), Reason: clean(reason)}
	if err := s.table.put(entry{Ban: b}, now); err != nil {
		s.Counters.Refused.Add(1)
		return b, err
	}
	return b, nil
}

// nudge has the file written soon.
func (s *Service) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-tick.C:
		}
		s.look()
	}
}

// look reads what is new in the audit logs and meets other tables in the file.
func (s *Service) look() {
	for path, f := range s.logs {
		s.report(path, f.look(func(line []byte) { s.judge(path, line) }))
	}
	for _, c := range s.counters {
		c.expire(s.now())
	}
	if s.store != nil {
		err := s.store.sync(s.table, s.now())
		if err != nil {
			s.Counters.FileErrors.Add(1)
		}
		s.report("bans", err)
	}
}

// judge holds one line of an audit log against the triggers that read it.
func (s *Service) judge(path string, line []byte) {
	s.Counters.Lines.Add(1)
	r, client, ok, err := parseRecord(line)
	if err != nil {
		s.Counters.BadLines.Add(1)
	}
	if !ok {
		return
	}
	for _, c := range s.counters {
		if c.File != path || !c.matches(&r) || !c.hit(client, s.now()) {
			continue
		}
		if b, err := s.ban(client, c.Length, "trigger "+c.Name); err == nil {
			s.Counters.ByTrigger.Add(1)
			s.log.Warn("banned", "network", b.Network, "until", b.Until, "trigger", c.Name, "times", c.Count, "within_secs", c.Within.Seconds())
		}
	}
}

// report logs what goes wrong once, and once that it is well again.
func (s *Service) report(what string, err error) {
	switch {
	case err != nil && !s.silent[what]:
		s.log.Error("bans: "+err.Error(), "of", what)
	case err == nil && s.silent[what]:
		s.log.Info("bans: well again", "of", what)
	}
	s.silent[what] = err != nil
}
