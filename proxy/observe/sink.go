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
	flushBytes   = 64 << 10               // a shard this full is written at once
	sinkShards   = 4                      // a power of two
	recordBytes  = 512                    // expected size of a record, to turn a number of records into a bound in bytes
	minShardSize = 256 << 10
	keepBytes    = 256 << 10 // a larger buffer is given up once it is written
	maxBackoff   = 5 * time.Second
)

// errSinkClosed is the answer of a closed log.
var errSinkClosed = errors.New("cannot reopen log: closed")

// sink is the asynchronous writer behind every log: records are appended to one of a few buffers, and one goroutine swaps the
// buffers out and writes them in large pieces. Records of one shard keep their order; between shards it may differ by one flush.
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

	// Owned by the writer goroutine.
	out     io.Writer
	closer  io.Closer
	spare   []byte
	batch   []byte // being written; batch[off:] is still to do
	off     int
	records int // in batch
}

type shard struct {
	mu     sync.Mutex // guards the rest
	buf    []byte
	n      int // records in buf
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
			return sh
		}
		sh.mu.Unlock()
	}
	for i := range uint32(sinkShards) { // all were busy or full: now wait for the short critical sections
		sh := &s.shards[(hint+i)%sinkShards]
		sh.mu.Lock()
		if s.room(sh) {
			return sh
		}
		sh.mu.Unlock()
	}
	s.metrics.Dropped.Add(1)
	return nil
}

func (s *sink) room(sh *shard) bool {
	return !sh.closed && sh.n < s.maxRecords && len(sh.buf) < s.maxBytes
}

// end unlocks a shard after a record was appended and wakes the writer when there is reason to.
func (s *sink) end(sh *shard) {
	sh.n++
	first, full := sh.n == 1, len(sh.buf) >= flushBytes || sh.n == s.maxRecords
	sh.mu.Unlock()
	if first {
		signal(s.pending)
	}
	if full {
		signal(s.full)
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
	select {
	case s.reopen <- answer:
		return <-answer
	case <-s.done:
		return errSinkClosed
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

func (s *sink) run() {
	defer close(s.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	backoff := time.Duration(0)
	for {
		select {
		case <-s.pending:
		case answer := <-s.reopen:
			s.flush()
			answer <- s.openAgain()
			continue
		case <-s.stop:
			s.finish()
			return
		}
		wait := max(s.interval, backoff)
		timer.Reset(wait)
		full := s.full
		if backoff > 0 {
			full = nil // the disk refuses; do not hammer it
		}
		select {
		case <-timer.C:
		case <-full:
		case answer := <-s.reopen:
			backoff = 0
			s.flush()
			answer <- s.openAgain()
		case <-s.stop:
			s.finish()
			return
		}
		if s.flush() {
			backoff = 0
			continue
		}
		backoff = min(maxBackoff, max(s.interval, 2*backoff))
		signal(s.pending) // come back without a new record
	}
}

// openAgain opens the file by its name; the rest of a record that was cut by a failed write stays behind with the old file.
func (s *sink) openAgain() error {
	if err := s.open(); err != nil {
		return fmt.Errorf("cannot reopen log: %w", err)
	}
	if s.file != "" && s.off > 0 && s.off < len(s.batch) && s.batch[s.off-1] != '\n' {
		if i := bytes.IndexByte(s.batch[s.off:], '\n'); i >= 0 {
			s.off += i + 1
		}
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

// take exchanges a shard's full buffer for the empty one.
func (s *sink) take(sh *shard) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.n == 0 {
		return
	}
	s.batch, s.off, s.records = sh.buf, 0, sh.n
	sh.buf, sh.n = s.spare[:0], 0
	s.spare = nil
}

// write continues with the batch; after an error it can be called again.
func (s *sink) write() bool {
	for s.off < len(s.batch) {
		n, err := s.out.Write(s.batch[s.off:])
		s.off += max(0, n)
		if err == nil && n <= 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			s.metrics.Errors.Add(1)
			return false
		}
	}
	if s.batch != nil {
		s.metrics.Written.Add(uint64(s.records))
		if cap(s.batch) <= keepBytes {
			s.spare = s.batch[:0]
		}
		s.batch, s.off, s.records = nil, 0, 0
	}
	return true
}

// finish is the last act of the writer: no shard takes records any more, one last attempt to write, the rest counts as dropped.
func (s *sink) finish() {
	ok := s.write()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.closed = true
		sh.mu.Unlock()
		if ok {
			s.take(sh)
			ok = s.write()
		}
		sh.mu.Lock()
		s.metrics.Dropped.Add(uint64(sh.n))
		sh.buf, sh.n = nil, 0
		sh.mu.Unlock()
	}
	s.metrics.Dropped.Add(uint64(s.records))
	if s.closer != nil {
		s.closer.Close()
	}
	if s.release {
		s.metrics.Release()
	}
}
