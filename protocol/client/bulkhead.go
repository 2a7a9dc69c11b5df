package client

import (
	"sync"
	"time"
)

// bulkhead bounds the calls that run and those that wait, so that a slow agent holds no more than its share.
type bulkhead struct {
	mu      sync.Mutex // guards everything below
	limit   int
	queue   int
	wait    time.Duration
	active  int
	waiting []*waiter // in order of arrival
}

type waiter struct{ granted chan struct{} }

func (b *bulkhead) set(limit, queue int, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit, b.queue, b.wait = limit, queue, wait
	b.grant()
}

// grant hands free slots to those who wait. It is called with mu held.
func (b *bulkhead) grant() {
	for b.active < b.limit && len(b.waiting) > 0 {
		b.active++
		close(b.waiting[0].granted)
		b.waiting = b.waiting[1:]
	}
}

// acquire takes a slot, waiting for one no longer than the queue's time and the deadline.
func (b *bulkhead) acquire(deadline time.Time, x Waiter) error {
	b.mu.Lock()
	if b.active < b.limit && len(b.waiting) == 0 {
		b.active++
		b.mu.Unlock()
		return nil
	}
	if len(b.waiting) >= b.queue {
		b.mu.Unlock()
		return ErrOverload
	}
	w := &waiter{granted: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	wait := min(b.wait, time.Until(deadline))
	b.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	err := ErrOverload
	select {
	case <-w.granted:
		return nil
	case <-timer.C:
	case <-doneOf(x):
		err = ErrCanceled
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, x := range b.waiting {
		if x == w {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			return err
		}
	}
	if err == ErrOverload {
		return nil // granted in the same moment
	}
	b.active--
	b.grant()
	return err
}

func (b *bulkhead) release() {
	b.mu.Lock()
	b.active--
	if len(b.waiting) > 0 {
		b.grant()
	}
	b.mu.Unlock()
}

// standing is load with the limit.
func (b *bulkhead) standing() (active, waiting, limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.active, len(b.waiting), b.limit
}

func (b *bulkhead) load() (active, waiting int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.active, len(b.waiting)
}
