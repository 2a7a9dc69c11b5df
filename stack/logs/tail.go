package logs

import (
	"encoding/binary"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pollSpools is how often files are looked at where the kernel does not tell of changes.
const pollSpools = 100 * time.Millisecond

// tails tells spools when their file has grown. It exists from the first spool on.
type tails struct {
	mu      sync.Mutex
	events  *os.File // inotify, nil = none: polled
	byWatch map[int32]*Spool
	all     map[*Spool]int32
	stop    chan struct{}
	done    chan struct{}
}

func newTails() *tails {
	t := &tails{byWatch: map[int32]*Spool{}, all: map[*Spool]int32{}, stop: make(chan struct{}), done: make(chan struct{})}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		go t.poll()
		return t
	}
	t.events = os.NewFile(uintptr(fd), "inotify")
	go t.listen()
	return t
}

// add begins to tell s.
func (t *tails) add(s *Spool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all[s] = -1
	if t.events != nil {
		if rc, err := t.events.SyscallConn(); err == nil {
			rc.Control(func(fd uintptr) {
				if wd, err := unix.InotifyAddWatch(int(fd), s.Path, unix.IN_MODIFY); err == nil {
					t.byWatch[int32(wd)], t.all[s] = s, int32(wd)
				}
			})
		}
		if t.all[s] < 0 {
			go t.pollOne(s)
		}
	}
	s.poke() // what was written before
}

func (t *tails) remove(s *Spool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wd, ok := t.all[s]
	delete(t.all, s)
	if !ok || wd < 0 || t.events == nil {
		return
	}
	delete(t.byWatch, wd)
	if rc, err := t.events.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { unix.InotifyRmWatch(int(fd), uint32(wd)) })
	}
}

func (t *tails) listen() {
	defer close(t.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := t.events.Read(buf)
		if err != nil {
			return // closed
		}
		t.mu.Lock()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			if mask&unix.IN_Q_OVERFLOW != 0 {
				for s := range t.all {
					s.poke()
				}
			} else if s := t.byWatch[wd]; s != nil {
				s.poke()
			}
			b = b[min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:]))):]
		}
		t.mu.Unlock()
	}
}

func (t *tails) poll() {
	defer close(t.done)
	tick := time.NewTicker(pollSpools)
	defer tick.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-tick.C:
		}
		t.mu.Lock()
		for s := range t.all {
			s.poke()
		}
		t.mu.Unlock()
	}
}

// pollOne serves a file that the kernel would not watch.
func (t *tails) pollOne(s *Spool) {
	tick := time.NewTicker(pollSpools)
	defer tick.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-tick.C:
		}
		t.mu.Lock()
		_, there := t.all[s]
		t.mu.Unlock()
		if !there {
			return
		}
		s.poke()
	}
}

func (t *tails) close() {
	close(t.stop)
	if t.events != nil {
		t.events.Close()
	}
	<-t.done
}
