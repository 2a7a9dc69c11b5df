package observe

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

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
			if backoff > 0 {
				s.tell(nil)
			}
			backoff = 0
		} else {
			if backoff == 0 {
				s.tell(s.cause)
			}
			backoff = min(maxBackoff, max(s.interval, 2*backoff))
		}
	}
}

func (s *sink) tell(err error) {
	if s.failing != nil {
		s.failing(err)
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
				s.cause = err
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
