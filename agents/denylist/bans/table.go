// Package bans keeps addresses out for a while: those somebody bans over an API, and those that triggers ban for what they did.
//
// A table is what all instances of the agent know. Each change has a time, and of two changes of one network the later one holds, so tables that meet in a file become the same whatever
// the order in which they wrote it.
package bans

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Ban keeps a network out until its time is over.
type Ban struct {
	Network netip.Prefix `json:"network"`
	Until   time.Time    `json:"until"`
	Since   time.Time    `json:"since"`
	Reason  string       `json:"reason"`
}

// entry is a ban, or the word that there is none any more.
type entry struct {
	Ban
	lifted bool
}

// later reports whether a change holds against another one of the same network. Two at the same time are told apart by what they say, so that all tables decide alike.
func (e entry) later(than entry) bool {
	switch {
	case !e.Since.Equal(than.Since):
		return e.Since.After(than.Since)
	case !e.Until.Equal(than.Until):
		return e.Until.After(than.Until)
	case e.lifted != than.lifted:
		return e.lifted
	}
	return e.Reason > than.Reason
}

// Widest networks that can be banned: a slip of the pen must not shut out a continent.
const (
	widest4 = 8
	widest6 = 19
)

// maxReason bounds the text of a ban, in bytes.
const maxReason = 200

// ErrFull says that a table has no place for one more network.
var ErrFull = errors.New("the table of bans is full")

// table is safe for concurrent use.
type table struct {
	max int

	mu      sync.RWMutex
	all     map[netip.Prefix]entry
	lengths []int // of the prefixes in all, IPv4 ones counted as IPv6, longest first
	changed bool  // since it was last written
}

func newTable(max int) *table { return &table{max: max, all: map[netip.Prefix]entry{}} }

// canonical is a network as tables write it: without the bits of hosts, and IPv4 as IPv4.
func canonical(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() || p.Addr().Zone() != "" {
		return p, errors.New("is no network")
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	least := widest4
	if p.Addr().Is6() {
		least = widest6
	}
	if p.Bits() < least {
		return p, fmt.Errorf("is wider than /%d", least)
	}
	return p.Masked(), nil
}

// banned finds the ban that holds for an address now.
func (t *table) banned(a netip.Addr, now time.Time) (Ban, bool) {
	a = a.Unmap().WithZone("")
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, bits := range t.lengths {
		if a.Is4() {
			bits -= 96
		}
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if e, ok := t.all[p]; ok && !e.lifted && now.Before(e.Until) {
			return e.Ban, true
		}
	}
	return Ban{}, false
}

// put adds a change, unless a later one is known. It returns ErrFull when there is no place.
func (t *table) put(e entry, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, known := t.all[e.Network]
	if known && !e.later(was) {
		return nil
	}
	if !known && len(t.all) >= t.max {
		if t.expire(now); len(t.all) >= t.max {
			return ErrFull
		}
	}
	t.all[e.Network] = e
	t.changed = true
	if !known {
		t.measure()
	}
	return nil
}

// lift ends the ban of exactly this network.
func (t *table) lift(p netip.Prefix, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.all[p]
	if !ok || e.lifted || !now.Before(e.Until) {
		return false
	}
	e.lifted, e.Since = true, now
	t.all[p], t.changed = e, true
	return true
}

// expire forgets what is over. The word that a ban was lifted is kept as long as the ban would have been: another table may still have it. The caller holds mu.
func (t *table) expire(now time.Time) {
	before := len(t.all)
	for p, e := range t.all {
		if !now.Before(e.Until) {
			delete(t.all, p)
		}
	}
	if len(t.all) != before {
		t.changed = true
		t.measure()
	}
}

// measure finds the lengths of the prefixes. The caller holds mu.
func (t *table) measure() {
	var has [129]bool
	for p := range t.all {
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		has[bits] = true
	}
	t.lengths = t.lengths[:0:0] // readers may still look at the old one
	for bits := 128; bits >= 0; bits-- {
		if has[bits] {
			t.lengths = append(t.lengths, bits)
		}
	}
}

// list returns the bans that hold now, by network, those after the given one, and whether there are more.
func (t *table) list(after string, limit int, now time.Time) (bans []Ban, more bool) {
	t.mu.RLock()
	for _, e := range t.all {
		if !e.lifted && now.Before(e.Until) && e.Network.String() > after {
			bans = append(bans, e.Ban)
		}
	}
	t.mu.RUnlock()
	slices.SortFunc(bans, func(a, b Ban) int {
		if a.Network.String() < b.Network.String() {
			return -1
		}
		return 1
	})
	if len(bans) > limit {
		return bans[:limit], true
	}
	return bans, false
}

// size counts the bans that hold now.
func (t *table) size(now time.Time) (n int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, e := range t.all {
		if !e.lifted && now.Before(e.Until) {
			n++
		}
	}
	return n
}

// entries copies everything.
func (t *table) entries() []entry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]entry, 0, len(t.all))
	for _, e := range t.all {
		list = append(list, e)
	}
	return list
}
