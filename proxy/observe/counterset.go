package observe

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// maxNames bounds a CounterSet: names come from code and configuration, but a set can be fed an agent's words.
const maxNames = 64

// CounterSet is a set of counters by name for events that are not on the hot path (refusals, blocks, decisions). Adding
// to a known name neither locks nor allocates. After 64 names further ones are counted under "other". The zero value is ready.
type CounterSet struct {
	names atomic.Pointer[map[string]*atomic.Uint64]

	mu sync.Mutex // guards replacing names
}

// Add counts one event under name.
func (s *CounterSet) Add(name string) {
	if m := s.names.Load(); m != nil {
		if c := (*m)[name]; c != nil {
			c.Add(1)
			return
		}
	}
	s.insert(name).Add(1)
}

func (s *CounterSet) insert(name string) *atomic.Uint64 {
	name = strings.ToValidUTF8(strings.Clone(name), "?") // a label must be valid UTF-8
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]*atomic.Uint64{}
	if m := s.names.Load(); m != nil {
		if c := (*m)[name]; c != nil {
			return c
		}
		if len(*m) >= maxNames-1 {
			name = "other"
			if c := (*m)[name]; c != nil {
				return c
			}
		}
		next = maps.Clone(*m)
	}
	c := new(atomic.Uint64)
	next[name] = c
	s.names.Store(&next)
	return c
}

// Each calls f with every name and its count, in no particular order.
func (s *CounterSet) Each(f func(name string, n uint64)) {
	if m := s.names.Load(); m != nil {
		for name, c := range *m {
			f(name, c.Load())
		}
	}
}

// Get returns the count of one name.
func (s *CounterSet) Get(name string) uint64 {
	if m := s.names.Load(); m != nil {
		if c := (*m)[name]; c != nil {
			return c.Load()
		}
	}
	return 0
}

// Total is the sum over all names.
func (s *CounterSet) Total() uint64 {
	var n uint64
	s.Each(func(_ string, c uint64) { n += c })
	return n
}

// PairSet counts events by two names, of which the second one holds no space.
type PairSet struct{ set CounterSet }

// Add counts one event.
func (s *PairSet) Add(first, second string) { s.set.Add(second + " " + first) }

// Each calls f with every two names and their count, in no particular order.
func (s *PairSet) Each(f func(first, second string, n uint64)) {
	s.set.Each(func(name string, n uint64) {
		second, first, _ := strings.Cut(name, " ")
		f(first, second, n)
	})
}
