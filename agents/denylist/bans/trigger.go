package bans

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Trigger bans who appears often enough in an audit log.
type Trigger struct {
	Name    string
	File    string // the proxy's audit log
	Tags    []string
	Rules   []string
	Reasons []string
	Count   int
	Within  time.Duration
	Length  time.Duration // of the ban
}

// maxWatched bounds the clients that one trigger counts; the one that was seen longest ago makes place.
const maxWatched = 65536

// Tag is the tag of refusals for a ban. Records with it trigger nothing: a ban must not renew itself.
const Tag = "banned"

// bits6 is how much of an IPv6 address is a client: whoever has one has the 2^64 around it.
const bits6 = 64

// record is what a trigger looks at in a line of the audit log.
type record struct {
	Event   string   `json:"event_type"`
	Client  string   `json:"client_ip"`
	Reason  string   `json:"reason"`
	RuleIDs []string `json:"rule_ids"`
	Tags    []string `json:"tags"`
}

// parseRecord reads a line; ok is false for what is no decision about a client.
func parseRecord(line []byte) (r record, client netip.Prefix, ok bool, err error) {
	if err := json.Unmarshal(line, &r); err != nil {
		return r, client, false, fmt.Errorf("is no JSON object: %v", err)
	}
	if (r.Event != "blocked" && r.Event != "agent_decision") || r.Client == "" || slices.Contains(r.Tags, Tag) {
		return r, client, false, nil
	}
	a, err := netip.ParseAddr(r.Client)
	if err != nil {
		return r, client, false, fmt.Errorf("client_ip: %v", err)
	}
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = bits6
	}
	client, err = a.Prefix(bits)
	return r, client, err == nil, err
}

// counter counts for one trigger. It belongs to one goroutine.
type counter struct {
	Trigger
	seen map[netip.Prefix]*history
	// The order in which clients were last seen: a ring list with the oldest behind root.
	root history
}

// history is the last times of one client, at most Count of them.
type history struct {
	client     netip.Prefix
	times      []time.Time
	prev, next *history
}

func newCounter(t Trigger) *counter {
	c := &counter{Trigger: t, seen: map[netip.Prefix]*history{}}
	c.root.prev, c.root.next = &c.root, &c.root
	return c
}

// matches reports whether a record is one of those that count: it has one of the tags, rules or reasons.
func (c *counter) matches(r *record) bool {
	any := func(want, has []string) bool {
		return slices.ContainsFunc(has, func(s string) bool { return slices.Contains(want, s) })
	}
	return any(c.Tags, r.Tags) || any(c.Rules, r.RuleIDs) || slices.Contains(c.Reasons, r.Reason)
}

// hit counts one record and reports whether that was one too many; then the client begins anew.
func (c *counter) hit(client netip.Prefix, now time.Time) bool {
	h, ok := c.seen[client]
	if ok {
		h.unlink()
	} else {
		if len(c.seen) >= maxWatched {
			c.forget(c.root.next)
		}
		h = &history{client: client}
		c.seen[client] = h
	}
	h.prev, h.next = c.root.prev, &c.root
	h.prev.next, h.next.prev = h, h
	if len(h.times) == c.Count { // Count is 2 or more then
		h.times = append(h.times[:0], h.times[1:]...)
	}
	h.times = append(h.times, now)
	if len(h.times) < c.Count || now.Sub(h.times[0]) > c.Within {
		return false
	}
	c.forget(h)
	return true
}

func (h *history) unlink() { h.prev.next, h.next.prev = h.next, h.prev }

func (c *counter) forget(h *history) {
	h.unlink()
	delete(c.seen, h.client)
}

// expire forgets who was last seen too long ago to count.
func (c *counter) expire(now time.Time) {
	for h := c.root.next; h != &c.root; h = c.root.next {
		if now.Sub(h.times[len(h.times)-1]) <= c.Within {
			return
		}
		c.forget(h)
	}
}
