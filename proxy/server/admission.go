package server

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// holds is what an exchange has taken of the bounds on requests at work, to be given back when it is over. A bound that is not configured costs a comparison.
type holds struct {
	listener, route, socket *atomic.Int64
	client, sockets         tallied // of atWork; no client = none
}

// admit takes a place among the requests of the listener and of the client. It reports which bound is reached, or that there is room.
func (c *conn) admit(w *work) (limit observe.Limit, ok bool) {
	if most := c.settings.MaxInFlight; most > 0 && !take(&w.holds.listener, &c.ln.metrics.AtWork, most) {
		return observe.LimitListenerInFlight, false
	}
	if most := w.gen.Limits.MaxInFlightPerClient; most > 0 && w.client.IsValid() {
		who := tallied{client: w.client}
		if !c.s.atWork.take(who, most) {
			return observe.LimitClientInFlight, false
		}
		w.holds.client = who
	}
	return 0, true
}

// admitRoute takes a place among the requests of the route.
func (c *conn) admitRoute(w *work) bool {
	most := w.route.MaxInFlight
	return most == 0 || take(&w.holds.route, &w.route.Metrics.AtWork, most)
}

// take counts one more of n unless that are too many; held then says where to take it off again.
func take(held **atomic.Int64, n *atomic.Int64, most int) bool {
	if n.Add(1) > int64(most) {
		n.Add(-1)
		return false
	}
	*held = n
	return true
}

// leave gives back what the exchange has taken.
func (c *conn) leave(w *work) {
	if w.holds.listener != nil {
		w.holds.listener.Add(-1)
	}
	if w.holds.route != nil {
		w.holds.route.Add(-1)
	}
	if w.holds.socket != nil {
		w.holds.socket.Add(-1)
	}
	for _, who := range [...]tallied{w.holds.client, w.holds.sockets} {
		if who.client.IsValid() {
			c.s.atWork.give(who)
		}
	}
	w.holds = holds{}
}

// refuseBusy answers a request for which there is no room.
func (c *conn) refuseBusy(w *work, limit observe.Limit, code string) {
	c.s.reached(limit, w.client)
	c.refuse(w, 503, code)
}

// tallied is whose requests are counted together: those of a client, or its WebSockets on a route.
type tallied struct {
	client netip.Addr
	route  *observe.RouteMetrics // nil = requests of any kind, on all routes
}

// atWork counts the requests at work of each client. It is in parts, so that clients seldom wait for each other, and knows only those who have some: it cannot outgrow the
// requests there are.
type atWork struct {
	seed  maphash.Seed
	parts [16]struct {
		sync.Mutex
		n map[tallied]int32
		_ [40]byte // a cache line of its own
	}
}

func newAtWork() *atWork {
	a := &atWork{seed: maphash.MakeSeed()}
	for i := range a.parts {
		a.parts[i].n = map[tallied]int32{}
	}
	return a
}

func (a *atWork) part(who tallied) int {
	return int(maphash.Comparable(a.seed, who) % uint64(len(a.parts)))
}

func (a *atWork) take(who tallied, most int) bool {
	p := &a.parts[a.part(who)]
	p.Lock()
	defer p.Unlock()
	n := p.n[who]
	if int(n) >= most {
		return false
	}
	p.n[who] = n + 1
	return true
}

func (a *atWork) give(who tallied) {
	p := &a.parts[a.part(who)]
	p.Lock()
	defer p.Unlock()
	if n := p.n[who]; n > 1 {
		p.n[who] = n - 1
	} else {
		delete(p.n, who)
	}
}
