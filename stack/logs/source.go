package logs

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// source is one stream of a service that is being read.
type source struct {
	service, stream string
	r               io.ReadCloser
	cut             *cutter
	paused          chan struct{} // gets a value when the reader has stopped for Freeze
}

// Attach drains r until it ends, in a goroutine of its own, and closes it. done is closed afterwards.
func (s *Store) Attach(service, stream string, r io.ReadCloser) (done <-chan struct{}) {
	return s.attach(&source{service: service, stream: stream, r: r, cut: newCutter()})
}

// Tail drains a spool until it is finished, in a goroutine of its own, and closes it. done is closed afterwards.
func (s *Store) Tail(spool *Spool) (done <-chan struct{}) {
	s.mu.Lock()
	if s.tails == nil {
		s.tails = newTails()
	}
	tails := s.tails
	s.mu.Unlock()
	tails.add(spool)
	return s.attach(&source{service: spool.Service, stream: spool.Stream, r: spool, cut: newCutter()})
}

func (s *Store) attach(src *source) <-chan struct{} {
	src.paused = make(chan struct{}, 1)
	ended := make(chan struct{})
	ring := s.ring(src.service)
	s.mu.Lock()
	s.sources[src] = struct{}{}
	if s.frozen != nil {
		stopReading(src.r)
	}
	s.mu.Unlock()
	s.readers.Add(1)
	go func() {
		defer s.readers.Done()
		defer close(ended)
		defer s.detach(src)
		emit := func(text string) {
			s.put(ring, api.LogLine{Time: s.now(), Service: src.service, Stream: src.stream, Level: levelOf(text), Text: text})
		}
		for errors.Is(src.cut.read(src.r, emit), os.ErrDeadlineExceeded) {
			s.mu.RLock()
			thawed := s.frozen
			s.mu.RUnlock()
			if thawed != nil {
				src.paused <- struct{}{}
				<-thawed
			}
		}
		src.cut.flush(emit)
	}()
	return ended
}

func (s *Store) detach(src *source) {
	s.mu.Lock()
	delete(s.sources, src)
	tails := s.tails
	s.mu.Unlock()
	if spool, ok := src.r.(*Spool); ok {
		tails.remove(spool)
	}
	src.r.Close()
	close(src.paused)
}

// deadliner is what can be told to stop reading. Pipes and sockets can.
type deadliner interface{ SetReadDeadline(time.Time) error }

func stopReading(r io.Reader) {
	if d, ok := r.(deadliner); ok {
		d.SetReadDeadline(time.Unix(1, 0))
	}
}

func goOnReading(r io.Reader) {
	if d, ok := r.(deadliner); ok {
		d.SetReadDeadline(time.Time{})
	}
}
