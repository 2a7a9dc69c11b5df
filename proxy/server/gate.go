package server

import (
	"slices"
	"sync"
	"time"
)

// gate lets so many in at a time; the others wait in line. Who is in may be told to leave when others wait: a client that stalls inside a handshake would
// else hold a place for as long as a handshake may take, and a few such clients could keep everybody out. Its zero value is ready.
type gate struct {
	mu     sync.Mutex // guards the rest
	limit  int        // what the latest caller said
	inside []*pass    // the one who came first is first
	line   []*pass
}

// pass is a place inside, or in the line.
type pass struct {
	turn  chan struct{} // closed when its owner is in
	since time.Time
	out   func() // tells its owner to leave soon; any goroutine may call it
	told  bool   // it was called
}

const (
	crowdedAfter = time.Second            // so long may stay who others wait for
	crowdedCheck = 100 * time.Millisecond // each of those makes one leave so often
)

// enter waits until there is room, at most for patience and until stop is closed. It returns nil when there was none; otherwise the caller is in and has to leave.
func (g *gate) enter(limit int, patience time.Duration, stop <-chan struct{}, out func()) *pass {
	p := &pass{turn: make(chan struct{}), out: out}
	g.mu.Lock()
	g.limit = limit
	g.line = append(g.line, p)
	g.admit()
	g.mu.Unlock()
	select {
	case <-p.turn:
		return p
	default:
	}
	timer, ticker := time.NewTimer(patience), time.NewTicker(crowdedCheck)
	defer timer.Stop()
	defer ticker.Stop()
	for {
		select {
		case <-p.turn:
			return p
		case <-ticker.C:
			g.press()
			continue
		case <-timer.C:
		case <-stop:
		}
		g.leave(p)
		return nil
	}
}

// press tells the one who has been in for longest to leave, if that is long.
func (g *gate) press() {
	g.mu.Lock()
	var longest *pass
	if i := slices.IndexFunc(g.inside, func(p *pass) bool { return !p.told }); i >= 0 && time.Since(g.inside[i].since) > crowdedAfter {
		longest = g.inside[i]
		longest.told = true
	}
	g.mu.Unlock()
	if longest != nil {
		longest.out()
	}
}

// leave gives a place up, inside or in the line. It reports whether its owner had been told to.
func (g *gate) leave(p *pass) (told bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	same := func(q *pass) bool { return q == p }
	g.inside, g.line = slices.DeleteFunc(g.inside, same), slices.DeleteFunc(g.line, same)
	g.admit()
	return p.told
}

// admit lets in who may go in.
func (g *gate) admit() {
	for len(g.inside) < g.limit && len(g.line) > 0 {
		p := g.line[0]
		g.line = slices.Delete(g.line, 0, 1)
		p.since = time.Now()
		g.inside = append(g.inside, p)
		close(p.turn)
	}
}
