// Package balance chooses one of several targets. Each algorithm is one file; Kinds is the whole list.
//
// Pick reserves: it adds one to the chosen member's Active, and whoever picked takes it off when the exchange is over. So an algorithm that
// counts sees its own choices at once, however many goroutines pick. A member is skipped when it is down or its weight is 0. Members that the same request has tried
// already are skipped as long as another one is left.
package balance

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// Member is what an algorithm sees of one target.
type Member struct {
	Weight int           // 0 = takes no new requests
	Active *atomic.Int64 // exchanges now
	Health *atomic.Int32 // an observe.Health; nil = nobody checks, always up
}

// up reports whether the member may be chosen.
func (m *Member) up() bool {
	return m.Weight > 0 && (m.Health == nil || observe.Health(m.Health.Load()) != observe.HealthUnhealthy)
}

// Hint is what a request says about the choice. The zero value says nothing. A Hint escapes to the heap: keep one per connection and Reset it.
type Hint struct {
	tried [8]int32 // indices + 1
	n     int
}

// Tried notes that the request failed on member i. Beyond eight the oldest is forgotten.
func (h *Hint) Tried(i int) {
	h.tried[h.n%len(h.tried)] = int32(i) + 1
	h.n++
}

// Reset forgets everything.
func (h *Hint) Reset() { *h = Hint{} }

func (h *Hint) has(i int) bool {
	if h == nil || h.n == 0 {
		return false
	}
	for _, t := range h.tried {
		if int(t) == i+1 {
			return true
		}
	}
	return false
}

func (h *Hint) empty() bool { return h == nil || h.n == 0 }

// Algorithm chooses among the members it was made with. It is safe for concurrent use and does not allocate.
type Algorithm interface {
	// Pick returns the index of the chosen member, its Active incremented; -1 when no member is up.
	Pick(h *Hint) int
}

// Kind is one algorithm by its configured name.
type Kind struct {
	Name string
	New  func(members []Member) Algorithm
}

// Kinds lists every algorithm; the first one is the default.
func Kinds() []Kind {
	return []Kind{
		{"round-robin", newRoundRobin},
		{"weighted", newWeighted},
		{"least-connections", newLeastConnections},
		{"random", newRandom},
	}
}

// New makes the algorithm of that name.
func New(name string, members []Member) (Algorithm, error) {
	kinds := Kinds()
	if name == "" {
		return kinds[0].New(members), nil
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		if k.Name == name {
			return k.New(members), nil
		}
		names[i] = k.Name
	}
	return nil, fmt.Errorf("cannot balance by %q: want one of %s", name, strings.Join(names, ", "))
}

// nth returns the k-th member that is up and not tried (k is taken modulo their number), or -1 when there is none.
// Counting the candidates first keeps shares even: the neighbour of a member that is down gets no double share.
func nth(members []Member, h *Hint, k uint64) int {
	n := 0
	for i := range members {
		if members[i].up() && !h.has(i) {
			n++
		}
	}
	for n > 0 {
		rest := int(k % uint64(n))
		for i := range members {
			if members[i].up() && !h.has(i) {
				if rest == 0 {
					return i
				}
				rest--
			}
		}
		n-- // members went down between the two passes; n only falls, so this ends
	}
	if !h.empty() {
		return nth(members, nil, k)
	}
	return -1
}
