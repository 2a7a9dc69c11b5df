package logs

import (
	"context"
	"sync"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// followQueue is how many lines a follower may be behind before it loses some.
const followQueue = 4096

// Subscription delivers lines as they come.
type Subscription struct {
	store  *Store
	filter *Filter
	c      chan entry
	seen   map[string]uint64 // newest sequence number of each service in the past that Follow returned

	mu     sync.Mutex // guards sending on c against closing it
	closed bool
	lost   uint64 // since the last line delivered
}

// Follow subscribes to matching lines from now on and returns the last n of the past with it; together they have no gap and no line twice.
func (s *Store) Follow(f *Filter, n int) (past []api.LogLine, sub *Subscription) {
	sub = &Subscription{store: s, filter: f, c: make(chan entry, followQueue)}
	s.mu.Lock()
	s.subs[sub] = struct{}{}
	s.mu.Unlock()
	// A line put while the past is collected may stand in both; Next leaves out what the past was sure to see.
	past, sub.seen = s.query(f, n)
	return past, sub
}

// Next waits for a line. It returns false when ctx ends, the subscription is cancelled or the store closes.
func (s *Subscription) Next(ctx context.Context) (api.LogLine, bool) {
	for {
		select {
		case e, ok := <-s.c:
			if !ok {
				return api.LogLine{}, false
			}
			if e.seq > s.seen[e.line.Service] {
				return e.line, true
			}
		case <-ctx.Done():
			return api.LogLine{}, false
		}
	}
}

// Cancel ends the subscription.
func (s *Subscription) Cancel() {
	s.store.mu.Lock()
	delete(s.store.subs, s)
	s.store.mu.Unlock()
	s.end()
}

func (s *Subscription) offer(e entry) {
	if !s.filter.Match(&e.line) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	e.line.Dropped = s.lost
	select {
	case s.c <- e:
		s.lost = 0
	default:
		s.lost++
	}
}

func (s *Subscription) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.c)
	}
}
