package model

// list is the cursor of one pane. It remembers the key of the selected row, so that a row stays selected when others come and go.
type list struct {
	cursor int
	key    string
}

// follow puts the cursor back on its key among the visible rows, or keeps its place when the key is gone.
func (l *list) follow(n int, key func(int) string) {
	if n == 0 {
		l.cursor = 0
		return
	}
	if l.key != "" {
		for i := range n {
			if key(i) == l.key {
				l.cursor = i
				return
			}
		}
	}
	l.cursor = clamp(l.cursor, 0, n-1)
	l.key = key(l.cursor)
}

// move shifts the cursor by delta rows, stopping at both ends.
func (l *list) move(delta, n int, key func(int) string) {
	if n == 0 {
		l.cursor, l.key = 0, ""
		return
	}
	l.cursor = clamp(l.cursor+delta, 0, n-1)
	l.key = key(l.cursor)
}

// ring keeps the newest limit items, each with a sequence number that never changes.
type ring[T any] struct {
	limit int
	items []T
	start int    // index of the oldest item once the ring is full
	next  uint64 // sequence number of the next item
}

func (r *ring[T]) push(v T) {
	r.next++
	if len(r.items) < r.limit {
		r.items = append(r.items, v)
		return
	}
	r.items[r.start] = v
	r.start = (r.start + 1) % r.limit
}

// first returns the sequence number of the oldest item kept.
func (r *ring[T]) first() uint64 { return r.next - uint64(len(r.items)) }

// at returns the item with sequence number seq, or nil when it is not kept.
func (r *ring[T]) at(seq uint64) *T {
	if seq < r.first() || seq >= r.next {
		return nil
	}
	i := int(seq - r.first())
	return &r.items[(r.start+i)%len(r.items)]
}

func (r *ring[T]) len() int { return len(r.items) }
