// Package balance chooses one of several targets. Each algorithm is one file; Kinds is the whole list.
//
// Pick reserves: it counts the exchange on the chosen member, and whoever picked calls the member's Release when it is over. So an algorithm that
// counts sees its own choices at once, however many goroutines pick. A member is skipped when it is down or its weight is 0. Members that the same request has tried
// already are skipped as long as another one is left.
package balance

import (
	"fmt"
	"strings"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// Algorithm chooses among the members it was made with. It is safe for concurrent use and does not allocate.
type Algorithm interface {
	// Pick returns the index of the chosen member, the exchange counted on it; -1 when no member is up.
	Pick(h *Hint) int
}

// Nobody is what a pool without members is balanced with.
type Nobody struct{}

// Pick finds nobody.
func (Nobody) Pick(*Hint) int { return -1 }

// Ticker is an algorithm that learns: somebody calls Tick now and then.
type Ticker interface{ Tick(now time.Time) }

// Kind is one algorithm by its configured name.
type Kind struct {
	Name   string
	New    func(members []Member, p config.Balancing) Algorithm
	Hashes bool // it looks at the key of the request
	Learns bool // it looks at Member.Stats
	Counts bool // it looks at Member.Queued
}

// Kinds lists every algorithm; the first one is the default.
func Kinds() []Kind {
	return []Kind{
		{Name: "round-robin", New: newRoundRobin},
		{Name: "weighted", New: newWeighted},
		{Name: "least-connections", New: newLeastConnections},
		{Name: "weighted-least-connections", New: newWeightedLeastConnections},
		{Name: "least-tokens-queued", New: newLeastTokensQueued, Counts: true},
		{Name: "random", New: newRandom},
		{Name: "power-of-two-choices", New: newTwoChoices},
		{Name: "ip-hash", New: newIPHash, Hashes: true},
		{Name: "consistent-hash", New: newConsistentHash, Hashes: true},
		{Name: "maglev", New: newMaglev, Hashes: true},
		{Name: "peak-ewma", New: newPeakEWMA, Learns: true},
		{Name: "adaptive", New: newAdaptive, Learns: true},
		{Name: "locality-aware", New: newLocalityAware},
		{Name: "deterministic-subset", New: newSubset},
		{Name: "sticky", New: newSticky, Hashes: true},
	}
}

// Find returns the kind of that name, "" standing for the default.
func Find(name string) (Kind, error) {
	kinds := Kinds()
	if name == "" {
		return kinds[0], nil
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		if k.Name == name {
			return k, nil
		}
		names[i] = k.Name
	}
	return Kind{}, fmt.Errorf("cannot balance by %q: want one of %s", name, strings.Join(names, ", "))
}

// New makes the algorithm of that name, with slow start around it when that is asked for.
func New(name string, members []Member, p config.Balancing) (Algorithm, error) {
	k, err := Find(name)
	if err != nil {
		return nil, err
	}
	a := k.New(members, p)
	if p.SlowStart > 0 {
		a = newSlowStart(a, members, p.SlowStart)
	}
	return a, nil
}

// reserve counts the exchange that member i was chosen for.
func reserve(members []Member, i int, h *Hint) int {
	if i >= 0 {
		members[i].reserve(h)
	}
	return i
}

// nth returns the k-th member that is free (k is taken modulo their number), or -1 when there is none.
// Counting the candidates first keeps shares even: the neighbour of a member that is down gets no double share.
func nth(members []Member, h *Hint, k uint64) int {
	n := 0
	for i := range members {
		if members[i].free(h, i) {
			n++
		}
	}
	for n > 0 {
		rest := int(k % uint64(n))
		for i := range members {
			if members[i].free(h, i) {
				if rest == 0 {
					return i
				}
				rest--
			}
		}
		n-- // members went down between the two passes; n only falls, so this ends
	}
	if h.relax() {
		return nth(members, h, k)
	}
	return -1
}
