package logs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
)

// fileQueue is how many lines may wait for the disk.
const fileQueue = 8192

// retryOpen is how long a file that could not be written rests before it is tried again.
const retryOpen = time.Second

// files writes <dir>/<service>.jsonl from one goroutine.
type files struct {
	dir   string
	queue chan api.LogLine
	again chan struct{} // asks for a reopen
	flush chan chan struct{}
	done  chan struct{}

	mu      sync.Mutex
	dropped map[string]uint64
	closed  bool
}

type logFile struct {
	f      *os.File
	failed time.Time // last failure, zero = fine
	torn   bool      // the file does not end with a whole line
}

func openFiles(dir string) (*files, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("cannot make log directory: %v", err)
	}
	f := &files{dir: dir, queue: make(chan api.LogLine, fileQueue), again: make(chan struct{}, 1), flush: make(chan chan struct{}), done: make(chan struct{}), dropped: map[string]uint64{}}
	go f.run()
	return f, nil
}

func (f *files) offer(l api.LogLine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	l.Dropped = 0
	select {
	case f.queue <- l:
	default:
		f.dropped[l.Service]++
	}
}

func (f *files) droppedOf(service string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped[service]
}

func (f *files) reopen() {
	select {
	case f.again <- struct{}{}:
	default: // one is pending already
	}
}

func (f *files) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	close(f.queue)
	<-f.done
}

func (f *files) run() {
	defer close(f.done)
	open := map[string]*logFile{}
	closeAll := func() {
		for name, lf := range open {
			if lf.f != nil {
				lf.f.Close()
			}
			delete(open, name)
		}
	}
	defer closeAll()
	for {
		select {
		case <-f.again:
			closeAll()
		case written := <-f.flush:
			for len(f.queue) > 0 {
				f.take(open, <-f.queue)
			}
			close(written)
		case l, ok := <-f.queue:
			if !ok {
				return
			}
			f.take(open, l)
		}
	}
}

func (f *files) take(open map[string]*logFile, l api.LogLine) {
	if !f.write(open, l) {
		f.mu.Lock()
		f.dropped[l.Service]++
		f.mu.Unlock()
	}
}

// sync waits until what was offered before is written.
func (f *files) sync() {
	written := make(chan struct{})
	select {
	case f.flush <- written:
		<-written
	case <-f.done:
	}
}

// write says whether the whole line reached the file.
func (f *files) write(open map[string]*logFile, l api.LogLine) bool {
	lf := open[l.Service]
	if lf == nil {
		lf = &logFile{}
		open[l.Service] = lf
	}
	if lf.f == nil {
		if !lf.failed.IsZero() && time.Since(lf.failed) < retryOpen {
			return false
		}
		name := strings.ReplaceAll(l.Service, "/", "_") + ".jsonl"
		file, err := os.OpenFile(filepath.Join(f.dir, name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
		if err != nil {
			lf.failed = time.Now()
			return false
		}
		lf.f = file
	}
	record, err := json.Marshal(l)
	if lf.torn { // the last line ended early
		record = append([]byte{'\n'}, record...)
	}
	if err == nil {
		var n int
		n, err = lf.f.Write(append(record, '\n'))
		lf.torn = err != nil && (n > 0 || lf.torn)
	}
	if err != nil { // a full disk: rest, then open the file again
		lf.f.Close()
		lf.f, lf.failed = nil, time.Now()
		return false
	}
	lf.failed = time.Time{}
	return true
}
