package logs

import (
	"fmt"
	"os"
	"sort"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// roomyPipe is how much a pipe may hold while nobody reads it. A process without privileges may be refused it; then the pipe stays as it is.
const roomyPipe = 1 << 20

// SavedPipe is one stream of a service whose reading another store goes on with.
type SavedPipe struct {
	Service   string `json:"service"`
	Stream    string `json:"stream"`
	FD        int    `json:"fd"`                // of a duplicate of the read end
	Partial   []byte `json:"partial,omitempty"` // the beginning of a line
	Continued bool   `json:"continued,omitempty"`
}

// SavedRing is what is in memory of one service.
type SavedRing struct {
	Lines   []api.LogLine `json:"lines,omitempty"`
	Order   []uint64      `json:"order,omitempty"` // of each line among those of all services
	Total   uint64        `json:"total,omitempty"`
	Evicted uint64        `json:"evicted,omitempty"`
	Lost    uint64        `json:"lost,omitempty"` // by its file
}

// Freeze stops reading without losing a byte and returns the pipes, whose descriptors the caller owns, and what is in memory. Thaw goes on.
func (s *Store) Freeze() (pipes []SavedPipe, rings map[string]SavedRing, err error) {
	s.mu.Lock()
	s.frozen = make(chan struct{})
	var sources []*source
	for src := range s.sources {
		sources = append(sources, src)
		enlarge(src.r)
		stopReading(src.r)
	}
	s.mu.Unlock()
	for _, src := range sources {
		if _, running := <-src.paused; !running {
			continue // it has ended
		}
		if _, ok := src.r.(*Spool); ok {
			continue // the file stays, and with it how far it was read
		}
		fd, err := duplicate(src.r)
		if err != nil {
			closePipes(pipes)
			return nil, nil, fmt.Errorf("cannot hand over the %s of %s: %v", src.stream, src.service, err)
		}
		pipes = append(pipes, SavedPipe{Service: src.service, Stream: src.stream, FD: fd, Partial: src.cut.buf, Continued: src.cut.continued})
	}
	if s.files != nil {
		s.files.sync()
	}
	return pipes, s.saveRings(), nil
}

// Thaw ends Freeze.
func (s *Store) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen == nil {
		return
	}
	for src := range s.sources {
		goOnReading(src.r)
	}
	close(s.frozen)
	s.frozen = nil
}

func (s *Store) saveRings() map[string]SavedRing {
	rings := map[string]SavedRing{}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, r := range s.rings {
		r.mu.Lock()
		saved := SavedRing{Total: r.lines, Evicted: r.evicted, Lost: s.Dropped(name)}
		for _, e := range r.entries[r.head:] {
			saved.Lines, saved.Order = append(saved.Lines, e.line), append(saved.Order, e.seq)
		}
		r.mu.Unlock()
		rings[name] = saved
	}
	return rings
}

// Restore fills an empty store with what another one had in memory.
func (s *Store) Restore(rings map[string]SavedRing) {
	type line struct {
		order uint64
		api.LogLine
	}
	var all []line
	for name, saved := range rings {
		for i, l := range saved.Lines {
			if i < len(saved.Order) {
				all = append(all, line{saved.Order[i], l})
			}
		}
		s.ring(name)
		if s.files != nil {
			s.files.mu.Lock()
			s.files.dropped[name] = saved.Lost
			s.files.mu.Unlock()
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].order < all[j].order })
	for _, l := range all {
		s.ring(l.Service).add(l.LogLine, &s.seq)
	}
	for name, saved := range rings {
		r := s.ring(name)
		r.mu.Lock()
		r.lines, r.evicted = saved.Total, saved.Evicted
		r.mu.Unlock()
	}
}

// Resume goes on reading a pipe. Its descriptor stays the caller's.
func (s *Store) Resume(p SavedPipe) error {
	fd, err := unix.FcntlInt(uintptr(p.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot take over the %s of %s: %v", p.Stream, p.Service, err)
	}
	unix.SetNonblock(fd, true)
	c := newCutter()
	c.buf, c.continued = append(c.buf, p.Partial...), p.Continued
	s.attach(&source{service: p.Service, stream: p.Stream, r: os.NewFile(uintptr(fd), "output"), cut: c})
	return nil
}

func closePipes(pipes []SavedPipe) {
	for _, p := range pipes {
		unix.Close(p.FD)
	}
}

func duplicate(r any) (fd int, err error) {
	c, ok := r.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("it has no descriptor")
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dupErr error
	if err = rc.Control(func(n uintptr) { fd, dupErr = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	return fd, dupErr
}

// enlarge makes room for what is written while nobody reads.
func enlarge(r any) {
	if c, ok := r.(syscall.Conn); ok {
		if rc, err := c.SyscallConn(); err == nil {
			rc.Control(func(n uintptr) { unix.FcntlInt(n, unix.F_SETPIPE_SZ, roomyPipe) })
		}
	}
}
