package source

import (
	"context"
	"sync"
	"time"

	stackapi "github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/tui/model"
)

const (
	// flushEvery bounds how often new lines redraw the screen, and flushAt how many wait for it.
	flushEvery = 100 * time.Millisecond
	flushAt    = 2_000
)

// followLogs streams log lines, reconnecting when the stream ends. After a reconnect it asks only for what is newer than the last
// line it has, and drops what comes twice.
func (s *Source) followLogs(ctx context.Context, emit func(any)) {
	var last time.Time
	s.reconnect(ctx, func(ctx context.Context) {
		b := newBatch(func(lines []stackapi.LogLine) { emit(model.LogLines(lines)) })
		defer b.close()
		q := stackapi.LogQuery{Lines: history, Follow: true, Since: last}
		seen := last
		_ = s.opt.Stack.Logs(ctx, q, func(l stackapi.LogLine) error {
			if !seen.IsZero() && !l.Time.After(seen) {
				return nil
			}
			if l.Time.After(last) {
				last = l.Time
			}
			b.add(l)
			return nil
		})
	})
}

// followEvents streams events in the same way.
func (s *Source) followEvents(ctx context.Context, emit func(any)) {
	var last time.Time
	s.reconnect(ctx, func(ctx context.Context) {
		b := newBatch(func(events []stackapi.Event) { emit(model.EventList(events)) })
		defer b.close()
		seen := last
		_ = s.opt.Stack.Events(ctx, true, func(e stackapi.Event) error {
			if !seen.IsZero() && !e.Time.After(seen) {
				return nil
			}
			if e.Time.After(last) {
				last = e.Time
			}
			b.add(e)
			return nil
		})
	})
}

// reconnect runs stream again and again, waiting longer after each one that ended at once. Why a stream ended is not reported
// here: the poll loop meets the same trouble and says so.
func (s *Source) reconnect(ctx context.Context, stream func(context.Context)) {
	delay := s.opt.Refresh
	for {
		began := time.Now()
		stream(ctx)
		if time.Since(began) > maxRetry {
			delay = s.opt.Refresh
		}
		if !sleep(ctx, delay) {
			return
		}
		delay = min(delay*2, max(maxRetry, s.opt.Refresh))
	}
}

// batch collects items and hands them on at most every flushEvery. Its timer runs only while something waits.
type batch[T any] struct {
	emit func([]T)

	mu    sync.Mutex // guards what follows, and keeps the order of two flushes
	items []T
	timer *time.Timer
}

func newBatch[T any](emit func([]T)) *batch[T] { return &batch[T]{emit: emit} }

func (b *batch[T]) add(v T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = append(b.items, v)
	switch {
	case len(b.items) >= flushAt:
		b.flushLocked()
	case len(b.items) == 1:
		b.timer = time.AfterFunc(flushEvery, b.flush)
	}
}

func (b *batch[T]) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flushLocked()
}

func (b *batch[T]) flushLocked() {
	if len(b.items) == 0 {
		return
	}
	items := b.items
	b.items = nil
	b.emit(items)
}

// close hands on what is left and stops the timer.
func (b *batch[T]) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
	}
	b.flushLocked()
}
