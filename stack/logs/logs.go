// Package logs takes what services write and keeps it: line by line, bounded, searchable.
//
// Each pipe is drained by a goroutine that does nothing slow: it cuts lines, puts them into the service's ring and offers them to followers and to the
// optional file. A follower or a disk that is too slow loses lines, which are counted and reported with the next line; the child never waits for either.
package logs

import (
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// DefaultRingBytes is what one service may keep in memory; with 64 KiB lines it still holds sixteen.
const DefaultRingBytes = 1 << 20

// StackService is the service name of the supervisor's own notes.
const StackService = "stack"

// lineOverhead is charged for each line beside its text, so that a flood of empty lines is bounded too.
const lineOverhead = 128

// Options are the optional settings of a Store.
type Options struct {
	RingBytes int              // per service; 0 = DefaultRingBytes
	Dir       string           // "" = no files
	Tell      func(Trouble)    // of the files; nil = nobody is told. It must not wait.
	Now       func() time.Time // nil = time.Now
}

// Store holds the lines of all services.
type Store struct {
	now       func() time.Time
	ringBytes int
	files     *files // nil = none
	seq       atomic.Uint64
	readers   sync.WaitGroup

	mu      sync.RWMutex // guards what is below, not its contents
	rings   map[string]*ring
	subs    map[*Subscription]struct{}
	sources map[*source]struct{}
	frozen  chan struct{} // nil = readers run; closed by Thaw
	tails   *tails        // nil = there was no spool yet
}

// entry is one line with its place among all lines.
type entry struct {
	seq  uint64
	line api.LogLine
}

// ring keeps the newest lines of one service, at most limit bytes.
type ring struct {
	mu      sync.Mutex
	entries []entry // oldest first, from head on
	head    int
	bytes   int
	limit   int
	lines   uint64 // ever
	evicted uint64 // pushed out by newer lines
}

// NewStore makes a store. Close it after every attached pipe has ended.
func NewStore(o Options) (*Store, error) {
	if o.RingBytes <= 0 {
		o.RingBytes = DefaultRingBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{now: o.Now, ringBytes: o.RingBytes, rings: map[string]*ring{}, subs: map[*Subscription]struct{}{}, sources: map[*source]struct{}{}}
	if o.Dir != "" {
		f, err := openFiles(o.Dir, o.Tell)
		if err != nil {
			return nil, err
		}
		s.files = f
	}
	return s, nil
}

// Note records a line of the supervisor itself, or several when text has newlines. Level is debug, info, warn or error.
func (s *Store) Note(level, text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		s.put(s.ring(StackService), api.LogLine{Time: s.now(), Service: StackService, Stream: "stderr", Level: level, Text: line})
	}
}

// Close waits for the attached pipes to end, ends all followers and writes out the files.
func (s *Store) Close() {
	s.readers.Wait()
	if s.tails != nil {
		s.tails.close()
	}
	s.mu.Lock()
	for sub := range s.subs {
		sub.end()
	}
	s.subs = map[*Subscription]struct{}{}
	s.mu.Unlock()
	if s.files != nil {
		s.files.close()
	}
}

// Reopen closes and opens the files again, for log rotation.
func (s *Store) Reopen() {
	if s.files != nil {
		s.files.reopen()
	}
}

// Dropped counts the lines of a service that its file lost.
func (s *Store) Dropped(service string) uint64 {
	if s.files == nil {
		return 0
	}
	return s.files.droppedOf(service)
}

// Totals counts the lines a service ever wrote and those that newer ones pushed out of memory.
func (s *Store) Totals(service string) (lines, evicted uint64) {
	r := s.ring(service)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines, r.evicted
}

// Query returns the lines in memory that match f, oldest first, at most the last n; n < 0 = all.
func (s *Store) Query(f *Filter, n int) []api.LogLine {
	lines, _ := s.query(f, n)
	return lines
}

// query also returns the newest sequence number it saw of each service.
func (s *Store) query(f *Filter, n int) ([]api.LogLine, map[string]uint64) {
	var found []entry
	seen := map[string]uint64{}
	s.mu.RLock()
	for name, r := range s.rings {
		if f.wants(name) {
			found, seen[name] = r.collect(found, f)
		}
	}
	s.mu.RUnlock()
	sort.Slice(found, func(i, j int) bool { return found[i].seq < found[j].seq })
	if n >= 0 && len(found) > n {
		found = found[len(found)-n:]
	}
	lines := make([]api.LogLine, len(found))
	for i := range found {
		lines[i] = found[i].line
	}
	return lines, seen
}

// Knows reports whether a service has ever been listened to.
func (s *Store) Knows(service string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return service == StackService || s.rings[service] != nil
}

func (s *Store) ring(service string) *ring {
	s.mu.RLock()
	r := s.rings[service]
	s.mu.RUnlock()
	if r != nil {
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r = s.rings[service]; r == nil {
		r = &ring{limit: s.ringBytes}
		s.rings[service] = r
	}
	return r
}

// put never waits for anything slower than a mutex.
func (s *Store) put(r *ring, line api.LogLine) {
	e := r.add(line, &s.seq)
	if s.files != nil {
		s.files.offer(line)
	}
	s.mu.RLock()
	for sub := range s.subs {
		sub.offer(e)
	}
	s.mu.RUnlock()
}

// add takes the sequence number under the ring's lock, so that within one ring numbers only grow.
func (r *ring) add(line api.LogLine, seq *atomic.Uint64) entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := entry{seq.Add(1), line}
	r.lines++
	r.entries = append(r.entries, e)
	r.bytes += len(line.Text) + lineOverhead
	for r.bytes > r.limit && r.head < len(r.entries)-1 {
		r.bytes -= len(r.entries[r.head].line.Text) + lineOverhead
		r.entries[r.head] = entry{} // frees the text
		r.head++
		r.evicted++
	}
	// Moving the live part down only when the dead part is as large keeps the cost per line constant.
	if r.head > 64 && r.head >= len(r.entries)/2 {
		live := copy(r.entries, r.entries[r.head:])
		clear(r.entries[live:])
		r.entries, r.head = r.entries[:live], 0
	}
	return e
}

func (r *ring) collect(to []entry, f *Filter) ([]entry, uint64) {
	r.mu.Lock()
	live := append([]entry(nil), r.entries[r.head:]...) // matching may be slow: not under the writer's lock
	r.mu.Unlock()
	var newest uint64
	for _, e := range live {
		newest = e.seq
		if f.Match(&e.line) {
			to = append(to, e)
		}
	}
	return to, newest
}
