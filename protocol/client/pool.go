package client

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/protocol"
)

// Pool is the instances of one agent: several processes of which each can judge any exchange. A Client of each has its own connections, health, bulkhead and
// circuit. An exchange stays with the instance that saw its first event; a new one goes to the instance that can take it and has the least to do.
//
// The Clients are the caller's, who starts and closes them: pools that follow each other share those of the instances that stay.
type Pool struct {
	members []*Client
	turn    atomic.Uint32 // where choose begins, so that instances with equally much to do take turns

	mu      sync.Mutex // guards changed
	changed chan struct{}
}

// NewPool returns a pool of at least one client. Close lets go of them.
func NewPool(members ...*Client) *Pool {
	p := &Pool{members: members, changed: make(chan struct{})}
	if len(members) > 1 {
		for _, c := range members {
			c.watch(p)
		}
	}
	return p
}

// Close lets go of the clients. Sessions that are under way keep theirs.
func (p *Pool) Close() {
	for _, c := range p.members {
		c.unwatch(p)
	}
}

// Members are the clients, in the order in which they were given.
func (p *Pool) Members() []*Client { return p.members }

// Session returns a session for the exchange with this correlation id, as a Client's does.
func (p *Pool) Session(id string) Session {
	if len(p.members) == 1 {
		return p.members[0].Session(id)
	}
	return Session{pool: p, id: id}
}

// Capabilities returns what the first instance that ever answered said in its last handshake; false when there was none yet.
func (p *Pool) Capabilities() (caps protocol.Capabilities, ok bool) {
	for _, c := range p.members {
		if caps, ok = c.Capabilities(); ok {
			return caps, true
		}
	}
	return caps, false
}

// notify wakes calls that wait for any instance.
func (p *Pool) notify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Pool) changing() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// standing says how well an instance can take a new exchange, best first.
type standing uint8

const (
	due     standing = iota // its circuit wants to try a call
	free                    // it can begin at once
	busy                    // as many calls are at work as may be
	away                    // no connection, or it wants no work
	refused                 // its circuit is open
)

// standing is asked for every exchange, so it makes nothing and waits for nobody.
func (c *Client) standing() (st standing, load int) {
	circuit := c.breaker.standing()
	active, waiting, limit := c.bulk.standing()
	best, _ := c.leastBusy()
	switch {
	case circuit == refused:
		st = refused
	case best == nil:
		st = away
	case circuit == due:
		st = due
	case active >= limit:
		st = busy
	default:
		st = free
	}
	return st, active + waiting
}

// choose returns the instance for a new exchange: of those that can take it best the one with the fewest calls. avoid is the one that has just lost the call, or nil: its
// other connections may be as dead without anybody having noticed, and having lost all its calls makes it look idle.
func (p *Pool) choose(avoid *Client) *Client {
	n := len(p.members)
	first := int(p.turn.Add(1) % uint32(n))
	best, bestStanding, least := p.members[first], standing(math.MaxUint8), 0
	for i := range n {
		c := p.members[(first+i)%n]
		st, load := c.standing()
		if c == avoid {
			st = max(st, away)
		}
		if st < bestStanding || st == bestStanding && load < least {
			best, bestStanding, least = c, st, load
		}
	}
	return best
}

// other reports whether another instance than c could take an exchange now.
func (p *Pool) other(c *Client) bool {
	return slices.ContainsFunc(p.members, func(x *Client) bool {
		if x == c {
			return false
		}
		st, _ := x.standing()
		return st <= busy
	})
}

// Snapshot is the whole pool as if it were one agent: it is connected while any instance is, and its circuit is as open as that of the best. Its health is degraded while
// some instances are well and others are not.
func (p *Pool) Snapshot() Snapshot {
	s := p.members[0].Snapshot()
	latency := p.members[0].stats.latency.load()
	for _, c := range p.members[1:] {
		x := c.Snapshot()
		s.add(&x)
		counts := c.stats.latency.load()
		for i := range latency {
			latency[i] += counts[i]
		}
	}
	s.P50, s.P99 = time.Duration(quantile(&latency, 0.5))*time.Microsecond, time.Duration(quantile(&latency, 0.99))*time.Microsecond
	return s
}

// add makes s speak for x as well.
func (s *Snapshot) add(x *Snapshot) {
	if !s.Connected && x.Connected {
		s.Version, s.Encoding = x.Version, x.Encoding
	}
	if s.Health != x.Health {
		if s.Health == protocol.Healthy || x.Health == protocol.Healthy || s.Health == protocol.Degraded {
			s.Health = protocol.Degraded
		} else if s.Health == protocol.HealthUnknown {
			s.Health = x.Health
		}
	}
	if openness[x.Circuit] < openness[s.Circuit] {
		s.Circuit = x.Circuit
	}
	if s.LastError == "" {
		s.LastError = x.LastError
	}
	s.Address += ", " + x.Address
	s.Connected = s.Connected || x.Connected
	s.Connections += x.Connections
	s.InFlight, s.Queued = s.InFlight+x.InFlight, s.Queued+x.Queued
	s.Calls, s.Errors, s.Timeouts, s.Blocks, s.Opens = s.Calls+x.Calls, s.Errors+x.Errors, s.Timeouts+x.Timeouts, s.Blocks+x.Blocks, s.Opens+x.Opens
	s.Resent, s.Overload, s.Rejected = s.Resent+x.Resent, s.Overload+x.Overload, s.Rejected+x.Rejected
	s.Unmatched, s.Reconnects = s.Unmatched+x.Unmatched, s.Reconnects+x.Reconnects
}

var openness = map[string]int{"closed": 0, "half-open": 1, "open": 2}
