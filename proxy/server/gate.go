package server

import (
	"slices"
	"sync"
	"time"
)

// gate lets so many in at a time; the others wait in line. Its zero value is ready.
type gate struct {
	mu    sync.Mutex // guards the rest
	limit int        // what the latest caller said
	busy  int
	queue []chan struct{} // closed when its owner may go in
}

// enter waits until there is room, at most for patience and until stop is closed. It reports whether the caller is in, and has to leave.
func (g *gate) enter(limit int, patience time.Duration, stop <-chan struct{}) bool {
	g.mu.Lock()
	g.limit = limit
	if g.busy < limit && len(g.queue) == 0 {
		g.busy++
		g.mu.Unlock()
		return true
	}
	turn := make(chan struct{})
	g.queue = append(g.queue, turn)
	g.admit()
	g.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-turn:
		return true
	case <-timer.C:
	case <-stop:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.queue, turn); i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
		return false
	}
	g.busy-- // it came in the same moment
	g.admit()
	return false
}

func (g *gate) leave() {
	g.mu.Lock()
	g.busy--
	g.admit()
	g.mu.Unlock()
}

// admit lets in who may go in.
func (g *gate) admit() {
	for g.busy < g.limit && len(g.queue) > 0 {
		close(g.queue[0])
		g.queue = slices.Delete(g.queue, 0, 1)
		g.busy++
	}
}
