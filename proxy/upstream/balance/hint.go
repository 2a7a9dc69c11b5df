package balance

import "math/rand/v2"

// Hint is what a request says about the choice. The zero value says nothing. A Hint escapes to the heap: keep one per connection and Reset it.
type Hint struct {
	tried  [8]int32 // indices + 1
	n      int
	again  bool // every member was tried: they may be again
	key    uint64
	hashed bool
	sticky int32 // index + 1
	tokens int64
}

// Tried notes that the request failed on member i. Beyond eight the oldest is forgotten.
func (h *Hint) Tried(i int) {
	h.tried[h.n%len(h.tried)] = int32(i) + 1
	h.n++
	h.again = false
}

// SetKey gives the hash of what the request is to be placed by.
func (h *Hint) SetKey(hash uint64) { h.key, h.hashed = hash, true }

// Stick names the member that the client was sent to before.
func (h *Hint) Stick(i int) { h.sticky = int32(i) + 1 }

// Sticks reports whether the request asked for member i.
func (h *Hint) Sticks(i int) bool { return h != nil && h.sticky == int32(i)+1 }

// SetTokens says how much work the request is, for algorithms that count it.
func (h *Hint) SetTokens(n int64) { h.tokens = n }

// Tokens is how much work the request is, at least 1.
func (h *Hint) Tokens() int64 {
	if h == nil {
		return 1
	}
	return max(1, h.tokens)
}

// Reset forgets everything.
func (h *Hint) Reset() { *h = Hint{} }

func (h *Hint) has(i int) bool {
	if h == nil || h.n == 0 || h.again {
		return false
	}
	for _, t := range h.tried {
		if int(t) == i+1 {
			return true
		}
	}
	return false
}

// relax lets a request that has tried every member try them again; false when that was not what kept it from choosing one.
func (h *Hint) relax() bool {
	if h.empty() || h.again {
		return false
	}
	h.again = true
	return true
}

func (h *Hint) empty() bool { return h == nil || h.n == 0 }

// hash is the key of the request, or any number when it has none.
func (h *Hint) hash() uint64 {
	if h == nil || !h.hashed {
		return rand.Uint64()
	}
	return h.key
}
