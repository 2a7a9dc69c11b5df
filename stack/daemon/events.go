package daemon

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/handover"
)

// keptEvents is how many events of the past can be asked for.
const keptEvents = 1000

// eventLog keeps recent events, numbered from 1, and wakes those who follow. emit, which returns the numbered event, never waits: a follower reads at its own pace, and is told of what it missed.
type eventLog struct {
	mu     sync.Mutex
	recent []api.Event
	last   uint64               // number of the newest event
	news   chan struct{}        // closed and replaced when there is a new event
	counts map[[3]string]uint64 // kind, service, to
}

func newEventLog() *eventLog {
	return &eventLog{news: make(chan struct{}), counts: map[[3]string]uint64{}}
}

func (l *eventLog) emit(e api.Event) api.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recent) == keptEvents {
		copy(l.recent, l.recent[1:])
		l.recent = l.recent[:keptEvents-1]
	}
	l.last++
	e.Seq = l.last
	l.recent = append(l.recent, e)
	l.counts[[3]string{e.Kind, e.Service, e.To}]++
	close(l.news)
	l.news = make(chan struct{})
	return e
}

// follow calls fn for the past and, while ctx lasts, for each new event, until fn fails.
func (l *eventLog) follow(ctx context.Context, live bool, fn func(api.Event) error) {
	for seen := uint64(0); ; {
		list, news := l.after(seen)
		for _, e := range list {
			if seen > 0 && e.Seq > seen+1 && fn(gap(e, e.Seq-seen-1)) != nil {
				return
			}
			if fn(e) != nil {
				return
			}
			seen = e.Seq
		}
		if !live {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
	}
}

// after returns the events that are remembered of those after number seen, and what to wait for when they have been read.
func (l *eventLog) after(seen uint64) ([]api.Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.recent), func(i int) bool { return l.recent[i].Seq > seen })
	return slices.Clone(l.recent[i:]), l.news
}

// gap is the event that stands for n events which were forgotten before a slow follower had read them; next is the one that follows them.
func gap(next api.Event, n uint64) api.Event {
	return api.Event{Seq: next.Seq - 1, Time: next.Time, Kind: "gap", To: "lost", Reason: fmt.Sprintf("events that this reader was too slow for: %d", n)}
}

func (l *eventLog) tally() map[[3]string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make(map[[3]string]uint64, len(l.counts))
	for k, v := range l.counts {
		counts[k] = v
	}
	return counts
}

// save returns what is remembered.
func (l *eventLog) save() (recent []api.Event, counts []handover.Count) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, n := range l.counts {
		counts = append(counts, handover.Count{Key: k, N: n})
	}
	return append(recent, l.recent...), counts
}

// restore goes on from there.
func (l *eventLog) restore(recent []api.Event, counts []handover.Count) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range recent[max(0, len(recent)-keptEvents):] {
		l.last = max(l.last+1, e.Seq) // a program that did not number them yet may have left them
		e.Seq = l.last
		l.recent = append(l.recent, e)
	}
	for _, c := range counts {
		l.counts[c.Key] = c.N
	}
}
