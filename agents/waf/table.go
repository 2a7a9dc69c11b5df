package main

import (
	"container/list"
	"sync"
	"time"
)

// idle is how long an exchange is remembered without an event of it. A proxy whose configuration lists request_complete ends each before.
const idle = 2 * time.Minute

// table holds the exchanges under way, at most so many: beyond that, the one without an event for the longest time is forgotten, and what comes of it later cannot be judged.
type table struct {
	mu      sync.Mutex // guards everything below
	byID    map[string]*list.Element
	order   *list.List // of entry, the least recently used first
	most    int
	evicted uint64
}

type entry struct {
	visit *visit
	used  time.Time
}

func (t *table) init() { t.byID, t.order = map[string]*list.Element{}, list.New() }

func (t *table) resize(most int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.most = most
}

func (t *table) put(v *visit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byID[v.key]; e != nil {
		t.remove(e)
	}
	for t.order.Len() >= t.most {
		t.remove(t.order.Front())
		t.evicted++
	}
	t.byID[v.key] = t.order.PushBack(&entry{visit: v, used: time.Now()})
}

// get returns the exchange, its mu held, or nil. Events of one exchange come one after the other, so nobody waits here.
func (t *table) get(id string) *visit {
	t.mu.Lock()
	e := t.byID[id]
	if e == nil {
		t.mu.Unlock()
		return nil
	}
	t.order.MoveToBack(e)
	entry := e.Value.(*entry)
	entry.used = time.Now()
	t.mu.Unlock()
	entry.visit.mu.Lock()
	if entry.visit.closed { // forgotten between the two locks
		entry.visit.mu.Unlock()
		return nil
	}
	return entry.visit
}

func (t *table) drop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byID[id]; e != nil {
		t.remove(e)
	}
}

func (t *table) expire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.order.Front(); e != nil && now.Sub(e.Value.(*entry).used) > idle; e = t.order.Front() {
		t.remove(e)
	}
}

func (t *table) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.order.Len() > 0 {
		t.remove(t.order.Front())
	}
}

// remove is called with mu held.
func (t *table) remove(e *list.Element) {
	v := t.order.Remove(e).(*entry).visit
	delete(t.byID, v.key)
	v.drop()
}

func (t *table) sizes() (open int, evicted uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.order.Len(), t.evicted
}
