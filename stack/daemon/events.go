package daemon

import (
	"context"
	"sync"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/handover"
)

// keptEvents is how many events of the past can be asked for.
const keptEvents = 1000

// eventQueue is how far a follower may fall behind before it is cut off: events are few, so one that far behind is gone.
const eventQueue = 1024

// eventLog keeps recent events and passes new ones on. emit never waits.
type eventLog struct {
	mu     sync.Mutex
	recent []api.Event
	subs   map[chan api.Event]struct{}
	counts map[[3]string]uint64 // kind, service, to
}

func newEventLog() *eventLog {
	return &eventLog{subs: map[chan api.Event]struct{}{}, counts: map[[3]string]uint64{}}
}

func (l *eventLog) emit(e api.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recent) == keptEvents {
		copy(l.recent, l.recent[1:])
		l.recent = l.recent[:keptEvents-1]
	}
	l.recent = append(l.recent, e)
	l.counts[[3]string{e.Kind, e.Service, e.To}]++
	for c := range l.subs {
		select {
		case c <- e:
		default:
			delete(l.subs, c)
			close(c)
		}
	}
}

// follow calls fn for the past and, while ctx lasts, for each new event.
func (l *eventLog) follow(ctx context.Context, live bool, fn func(api.Event) error) {
	l.mu.Lock()
	past := append([]api.Event(nil), l.recent...)
	c := make(chan api.Event, eventQueue)
	if live {
		l.subs[c] = struct{}{}
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.subs, c)
		l.mu.Unlock()
	}()
	for _, e := range past {
		if fn(e) != nil {
			return
		}
	}
	for live {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-c:
			if !ok || fn(e) != nil {
				return
			}
		}
	}
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
	l.recent = append(l.recent, recent[max(0, len(recent)-keptEvents):]...)
	for _, c := range counts {
		l.counts[c.Key] = c.N
	}
}
