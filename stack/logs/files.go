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

// Trouble tells how the log files fare, once at each turn: Err is why a line could not be written; nil says that all files are written again, after Lost lines that never will be.
type Trouble struct {
	Err  error
	Lost uint64
}

// files writes <dir>/<service>.jsonl from one goroutine.
type files struct {
	dir   string
	queue chan api.LogLine
	again chan struct{} // asks for a reopen
	flush chan chan struct{}
	done  chan struct{}

	tell func(Trouble) // called by the writing goroutine; it must not wait for lines to be written
	bad  time.Time     // when a line was last lost, zero = all is well; belongs to the writing goroutine, as what follows
	lost uint64        // lines since then

	mu      sync.Mutex
	dropped map[string]uint64
	closed  bool
}

type logFile struct {
	f      *os.File
	failed time.Time // last failure, zero = fine
	why    error     // it failed
	torn   bool      // the file does not end with a whole line
}

func openFiles(dir string, tell func(Trouble)) (*files, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("cannot make log directory: %v", err)
	}
	f := &files{dir: dir, queue: make(chan api.LogLine, fileQueue), again: make(chan struct{}, 1), flush: make(chan chan struct{}), done: make(chan struct{}), tell: tell, dropped: map[string]uint64{}}
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
	lf := open[l.Service]
	if lf == nil {
		lf = &logFile{}
		open[l.Service] = lf
	}
	if f.write(lf, l) {
		f.recovered()
		return
	}
	f.mu.Lock()
	f.dropped[l.Service]++
	f.mu.Unlock()
	first := f.bad.IsZero()
	f.lost++
	if f.bad = time.Now(); first && f.tell != nil {
		f.tell(Trouble{Err: lf.why})
	}
}

// recovered is called when a line was written. All is well when none was lost for so long that every file that still has something to say was tried again: on a full disk a short line fits now and then.
func (f *files) recovered() {
	if f.bad.IsZero() || time.Since(f.bad) < 2*retryOpen {
		return
	}
	if f.tell != nil {
		f.tell(Trouble{Lost: f.lost})
	}
	f.bad, f.lost = time.Time{}, 0
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
func (f *files) write(lf *logFile, l api.LogLine) bool {
	if lf.f == nil {
		if !lf.failed.IsZero() && time.Since(lf.failed) < retryOpen {
			return false
		}
		name := strings.ReplaceAll(l.Service, "/", "_") + ".jsonl"
		file, err := os.OpenFile(filepath.Join(f.dir, name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
		if err != nil {
			lf.failed, lf.why = time.Now(), err
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
		lf.f, lf.failed, lf.why = nil, time.Now(), err
		return false
	}
	lf.failed = time.Time{}
	return true
}
