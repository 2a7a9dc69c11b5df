package logs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SavedSpool is one file that a service writes to and a supervisor reads from.
type SavedSpool struct {
	Service string `json:"service"`
	Stream  string `json:"stream"`
	Path    string `json:"path"`
}

// Spool takes the output of a service that is to survive its supervisor. A pipe would fill up, or break, as soon as nobody reads it; a file does neither. What was read is given
// back to the file system at once, so that the file takes hardly any room while a supervisor runs. How far it was read stands in a second file, which outlives a supervisor that is killed.
type Spool struct {
	SavedSpool
	f, place *os.File
	wake     chan struct{}
	finished chan struct{}
	once     sync.Once

	mu       sync.Mutex
	deadline bool
	offset   int64 // read so far
	lines    int64 // of that, up to the end of the last line
	freed    int64
}

// freeEvery is how much is read before it is given back.
const freeEvery = 64 << 10

// NewSpool makes an empty file in dir and returns it with a descriptor for the service, which the caller closes.
func NewSpool(dir, id, service, stream string) (*Spool, int, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, -1, fmt.Errorf("cannot make directory for output: %v", err)
	}
	saved := SavedSpool{Service: service, Stream: stream, Path: filepath.Join(dir, strings.ReplaceAll(id, "/", "_")+"."+stream)}
	os.Remove(saved.Path)
	os.Remove(saved.Path + ".at")
	fd, err := unix.Open(saved.Path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, -1, fmt.Errorf("cannot make file for output: %v", err)
	}
	s, err := OpenSpool(saved)
	if err == nil {
		err = s.free(1) // where that is impossible the file would only grow
	}
	if err != nil {
		unix.Close(fd)
		os.Remove(saved.Path)
		return nil, -1, err
	}
	return s, fd, nil
}

// OpenSpool goes on reading where an earlier supervisor stopped.
func OpenSpool(saved SavedSpool) (*Spool, error) {
	f, err := os.OpenFile(saved.Path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open output of %s: %v", saved.Service, err)
	}
	place, err := os.OpenFile(saved.Path+".at", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open output of %s: %v", saved.Service, err)
	}
	s := &Spool{SavedSpool: saved, f: f, place: place, wake: make(chan struct{}, 1), finished: make(chan struct{})}
	var b [8]byte
	if _, err := place.ReadAt(b[:], 0); err == nil {
		s.offset = int64(binary.LittleEndian.Uint64(b[:]))
	}
	s.lines, s.freed = s.offset, s.offset
	return s, nil
}

// Finish says that nobody writes any more: what is there is read to its end.
func (s *Spool) Finish() { s.once.Do(func() { close(s.finished) }) }

// Read waits for output. It ends with io.EOF after Finish.
func (s *Spool) Read(p []byte) (int, error) {
	s.remember()
	for {
		s.mu.Lock()
		over := s.deadline
		s.mu.Unlock()
		if over {
			return 0, os.ErrDeadlineExceeded
		}
		finished := false
		select {
		case <-s.finished:
			finished = true
		default:
		}
		n, err := s.f.ReadAt(p, s.offset)
		if n > 0 {
			if i := bytes.LastIndexByte(p[:n], '\n'); i >= 0 {
				s.lines = s.offset + int64(i) + 1
			}
			s.offset += int64(n)
			return n, nil
		}
		if err != nil && err != io.EOF || finished {
			return 0, io.EOF
		}
		select {
		case <-s.wake:
		case <-s.finished:
		}
	}
}

// remember notes what has been taken as whole lines, and frees it.
func (s *Spool) remember() {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(s.lines))
	s.place.WriteAt(b[:], 0)
	if s.lines-s.freed >= freeEvery && s.free(s.lines) == nil {
		s.freed = s.lines
	}
}

func (s *Spool) free(upTo int64) (err error) {
	ctlErr := s.control(func(fd uintptr) {
		err = unix.Fallocate(int(fd), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, upTo)
	})
	if err != nil {
		return fmt.Errorf("cannot free the read part of %s: %v", s.Path, err)
	}
	return ctlErr
}

func (s *Spool) control(fn func(fd uintptr)) error {
	rc, err := s.f.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Control(fn)
}

// SetReadDeadline stops reading at once when t is in the past and goes on when it is zero.
func (s *Spool) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	s.deadline = !t.IsZero()
	s.mu.Unlock()
	s.poke()
	return nil
}

// poke has the reader look again.
func (s *Spool) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close ends reading. The files go when all is read and nobody writes; else the next supervisor needs them.
func (s *Spool) Close() error {
	select {
	case <-s.finished:
		os.Remove(s.Path)
		os.Remove(s.Path + ".at")
	default:
	}
	s.place.Close()
	return s.f.Close()
}

// Detach closes a spool that nothing reads.
func (s *Spool) Detach() {
	s.place.Close()
	s.f.Close()
}
