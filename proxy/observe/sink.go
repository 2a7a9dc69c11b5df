package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	flushEvery   = 100 * time.Millisecond // longest wait of a record for its write
	chunkBytes   = 64 << 10               // records are collected in chunks of this size; a full one is written at once
	chunkRoom    = 2 << 10                // with less room left a chunk counts as full
	freeChunks   = 8                      // kept for later use
	sinkShards   = 4                      // a power of two
	recordBytes  = 512                    // expected size of a record, to turn a number of records into a bound in bytes
	minShardSize = 256 << 10
	maxBackoff   = 5 * time.Second
	reopenLimit  = 5 * time.Second
)

// errSinkClosed is the answer of a closed log.
var errSinkClosed = errors.New("cannot reopen log: closed")

// errSinkBusy is the answer while a write to the former file hangs; the file is opened anew when it returns.
var errSinkBusy = errors.New("cannot reopen log: a write hangs")

// sink is the asynchronous writer behind every log: records are appended to the chunk of one of a few shards, and one goroutine takes the
// chunks and writes each with one call. Records of one shard keep their order; between shards it may differ by one flush.
type sink struct {
	file       string
	fixed      io.Writer // when file is ""
	interval   time.Duration
	maxRecords int // per shard
	maxBytes   int // per shard
	shards     [sinkShards]shard

	pending chan struct{} // some shard is no longer empty
	full    chan struct{} // some shard wants to be written now
	reopen  chan chan error
	stop    chan struct{}
	stopped sync.Once
	done    chan struct{}

	failing func(error)
	metrics *LogMetrics
	release bool // metrics came from a Metrics

	freeMu sync.Mutex // guards free; taken while a shard is locked, never the other way round
	free   [][]byte

	// Owned by the writer goroutine.
	out    io.Writer
	closer io.Closer
	cause  error   // of the last write that failed
	taken  []chunk // to be written; taken[0].buf[off:] comes next
	off    int
}

// chunk is a number of whole records.
type chunk struct {
	buf []byte
	n   int // records
}

type shard struct {
	mu     sync.Mutex // guards the rest
	chunk             // collects
	full   []chunk    // wait for the writer
	count  int        // records in full
	closed bool
	_      [64]byte
}

func openSink(name string, o LogOptions) (*sink, error) { return openSinkEvery(name, o, flushEvery) }

func openSinkEvery(name string, o LogOptions, interval time.Duration) (*sink, error) {
	if o.Records <= 0 {
		o.Records = DefaultRecords
	}
	s := &sink{
		file: o.File, fixed: o.Output, interval: interval, failing: o.Failing,
		maxRecords: max(1, o.Records/sinkShards),
		maxBytes:   max(minShardSize, o.Records*recordBytes/sinkShards),
		pending:    make(chan struct{}, 1), full: make(chan struct{}, 1),
		reopen: make(chan chan error), stop: make(chan struct{}), done: make(chan struct{}),
		metrics: new(LogMetrics),
	}
	if s.file == "-" {
		s.file = ""
	}
	if s.file == "" && s.fixed == nil {
		return nil, fmt.Errorf("cannot open %s log: neither a file nor an output", name)
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("cannot open %s log: %w", name, err)
	}
	if o.Metrics != nil {
		s.metrics, s.release = o.Metrics.Log(name), true
	}
	go s.run()
	return s, nil
}

// open makes out the file of that name, or the fixed writer. The former file is closed only when the new one is open.
func (s *sink) open() error {
	if s.file == "" {
		s.out = s.fixed
		return nil
	}
	f, err := os.OpenFile(s.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	if s.closer != nil {
		s.closer.Close()
	}
	s.out, s.closer = f, f
	return nil
}

// begin locks a shard with room for one more record, or returns nil and counts a drop. The hint chooses where to look first; a
// shard that another goroutine holds is passed over as long as a free one is left.
func (s *sink) begin(hint uint32) *shard {
	for i := range uint32(sinkShards) {
		sh := &s.shards[(hint+i)%sinkShards]
		if !sh.mu.TryLock() {
			continue
		}
		if s.room(sh) {
			s.prepare(sh)
			return sh
		}
		sh.mu.Unlock()
	}
	for i := range uint32(sinkShards) { // all were busy or full: now wait for the short critical sections
		sh := &s.shards[(hint+i)%sinkShards]
		sh.mu.Lock()
		if s.room(sh) {
			s.prepare(sh)
			return sh
		}
		sh.mu.Unlock()
	}
	s.metrics.Dropped.Add(1)
	return nil
}

func (s *sink) room(sh *shard) bool {
	return !sh.closed && sh.count+sh.n < s.maxRecords && len(sh.full)*chunkBytes+len(sh.buf) < s.maxBytes
}

// prepare gives a shard a chunk; the writer leaves it without one.
func (s *sink) prepare(sh *shard) {
	if sh.buf == nil {
		sh.buf = s.empty()
	}
}

// end unlocks a shard after a record was appended and wakes the writer when there is reason to.
func (s *sink) end(sh *shard) {
	sh.n++
	first := sh.n == 1 && sh.count == 0
	full := len(sh.buf) >= chunkBytes-chunkRoom
	if full {
		sh.full = append(sh.full, sh.chunk)
		sh.count += sh.n
		sh.chunk = chunk{}
	}
	sh.mu.Unlock()
	if first {
		signal(s.pending)
	}
	if full {
		signal(s.full)
	}
}

// empty returns an empty chunk's buffer, a used one if there is one.
func (s *sink) empty() []byte {
	s.freeMu.Lock()
	defer s.freeMu.Unlock()
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return make([]byte, 0, chunkBytes)
}

// recycle keeps a written buffer for later, unless there are enough or a giant record made it grow.
func (s *sink) recycle(b []byte) {
	s.freeMu.Lock()
	defer s.freeMu.Unlock()
	if cap(b) == chunkBytes && len(s.free) < freeChunks {
		s.free = append(s.free, b[:0])
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Write appends one whole record, for slog's handlers. It never fails: a record without room is counted.
func (s *sink) Write(p []byte) (int, error) {
	if sh := s.begin(0); sh != nil {
		sh.buf = append(sh.buf, p...)
		s.end(sh)
	}
	return len(p), nil
}

// Reopen asks the writer to flush and open the file anew.
func (s *sink) Reopen() error {
	answer := make(chan error, 1)
	limit := time.NewTimer(reopenLimit)
	defer limit.Stop()
	select {
	case s.reopen <- answer:
	case <-s.done:
		return errSinkClosed
	case <-limit.C:
		return errSinkBusy
	}
	select {
	case err := <-answer:
		return err
	case <-limit.C:
		return errSinkBusy
	}
}

// Close stops the writer after what waits is written, or gives up when ctx is done; then the goroutine ends with its current write.
func (s *sink) Close(ctx context.Context) error {
	s.stopped.Do(func() { close(s.stop) })
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot flush log: %w", ctx.Err())
	}
}
