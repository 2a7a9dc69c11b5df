package tlsconf

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"
)

// keptKeys is how many keys can open tickets: the one that seals them and its two predecessors.
const keptKeys = 3

// tickets holds the keys of session tickets. It outlives generations. A key that was replaced three times is forgotten, so that recorded traffic stays secret
// even if the process is read later.
type tickets struct {
	digest string // of what clients must prove: a ticket for other demands is worth nothing

	mu     sync.Mutex // guards the rest
	made   time.Time  // the first key
	ring   [][32]byte
	serial uint64 // counts the keys made
}

func newTickets(digest string, prev *tickets) *tickets {
	if prev != nil && prev.digest == digest {
		return prev
	}
	return &tickets{digest: digest}
}

// turn makes a new key when the present one is older than every, and returns the number of the present one.
func (t *tickets) turn(now time.Time, every time.Duration) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	age := now.Sub(t.made)
	if len(t.ring) > 0 && age < every {
		return t.serial
	}
	if age >= keptKeys*every { // nobody came for so long that all of them are too old
		t.ring = nil
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // cannot fail
	t.ring = append([][32]byte{key}, t.ring[:min(len(t.ring), keptKeys-1)]...)
	t.made = now
	t.serial++
	return t.serial
}

// keys are the present keys; the first one seals.
func (t *tickets) keys() [][32]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.ring)
}
