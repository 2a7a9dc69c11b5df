package observe

import (
	"bytes"
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

	metrics *LogMetrics
	release bool // metrics came from a Metrics

	freeMu sync.Mutex // guards free; taken while a shard is locked, never the other way round
	free   [][]byte

	// Owned by the writer goroutine.
	out    io.Writer
	closer io.Closer
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
		file: o.File, fixed: o.Output, interval: interval,
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

// run is the writer: it sleeps until there is a record, then lets records gather for the interval or until a chunk is full.
func (s *sink) run() {
	defer close(s.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var backoff time.Duration
	for {
		if backoff == 0 {
			select {
			case <-s.pending:
			case answer := <-s.reopen:
				answer <- s.openAgain()
				continue
			case <-s.stop:
				s.finish()
				return
			}
		}
		full := s.full
		if backoff > 0 {
			full = nil // the disk refuses; do not hammer it
		}
		timer.Reset(max(s.interval, backoff))
		select {
		case <-timer.C:
		case <-full:
		case answer := <-s.reopen:
			answer <- s.openAgain()
		case <-s.stop:
			s.finish()
			return
		}
		if s.flush() {
			backoff = 0
		} else {
			backoff = min(maxBackoff, max(s.interval, 2*backoff))
		}
	}
}

// openAgain writes what waits to the former file and opens the file by its name; the rest of a record that was cut by a failed write stays behind with the old file.
func (s *sink) openAgain() error {
	s.flush()
	if err := s.open(); err != nil {
		return fmt.Errorf("cannot reopen log: %w", err)
	}
	if s.file == "" || s.off == 0 {
		return nil
	}
	if rest := s.taken[0].buf[s.off:]; s.taken[0].buf[s.off-1] != '\n' {
		s.off += bytes.IndexByte(rest, '\n') + 1 // every record ends in a newline
	}
	return nil
}

// flush writes every shard's records and reports whether all went out.
func (s *sink) flush() bool {
	if !s.write() {
		return false
	}
	for i := range s.shards {
		s.take(&s.shards[i])
		if !s.write() {
			return false
		}
	}
	return true
}

// take moves a shard's chunks to the writer.
func (s *sink) take(sh *shard) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.taken = append(s.taken, sh.full...)
	clear(sh.full)
	sh.full, sh.count = sh.full[:0], 0
	if sh.n > 0 {
		s.taken = append(s.taken, sh.chunk)
		sh.chunk = chunk{}
	}
}

// write writes what was taken; after an error it can be called again and goes on where it stopped.
func (s *sink) write() bool {
	for done, c := range s.taken {
		for s.off < len(c.buf) {
			n, err := s.out.Write(c.buf[s.off:])
			s.off += max(0, n)
			if err == nil && n <= 0 {
				err = io.ErrShortWrite
			}
			if err != nil {
				s.metrics.Errors.Add(1)
				s.taken = append(s.taken[:0], s.taken[done:]...)
				return false
			}
		}
		s.off = 0
		s.metrics.Written.Add(uint64(c.n))
		s.recycle(c.buf)
	}
	clear(s.taken)
	s.taken = s.taken[:0]
	return true
}

// finish is the last act of the writer: no shard takes records any more, one last attempt to write, the rest counts as dropped.
func (s *sink) finish() {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.closed = true
		sh.mu.Unlock()
		s.take(sh)
	}
	if !s.write() {
		for _, c := range s.taken {
			s.metrics.Dropped.Add(uint64(c.n))
		}
	}
	if s.closer != nil {
		s.closer.Close()
	}
	if s.release {
		s.metrics.Release()
	}
}
