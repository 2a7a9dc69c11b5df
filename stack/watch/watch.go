// Package watch says when files have really changed.
//
// Editors rename, truncate and write in pieces; deployment tools swap symlinks. So the directories are watched rather than the files, events are gathered
// until they pause, and then the contents are compared: only another content is a change. Where the kernel does not report changes (network file
// systems, or no watch left), the same comparison runs on a timer.
package watch

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Debounce is how long events must pause before the files are read.
const Debounce = 150 * time.Millisecond

// maxDelay bounds the wait when events never pause.
const maxDelay = 300 * time.Millisecond

// pollInterval is the timer's pace where events cannot be had.
const pollInterval = time.Second

// maxFile bounds what is read of one file for the comparison; a configuration is far smaller.
const maxFile = 64 << 20

// Watcher watches a set of files, which may be changed at any time.
type Watcher struct {
	changed func()
	note    func(string)
	events  *fsnotify.Watcher // nil = poll
	reset   chan struct{}
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu    sync.Mutex
	files []string
	globs []string
	dirs  map[string]bool // watched
	names map[string]bool // the paths whose events count; log files often live beside the configuration
	poll  bool            // some directory gives no events
	last  [sha256.Size]byte
}

// New makes a watcher without files. changed is called from one goroutine, one call at a time; note gets what an operator should know.
func New(changed func(), note func(string)) *Watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{changed: changed, note: note, reset: make(chan struct{}, 1), cancel: cancel, dirs: map[string]bool{}}
	events, err := fsnotify.NewBufferedWatcher(64)
	if err != nil {
		note("cannot watch files by events, polling every second: " + err.Error())
	} else {
		w.events = events
	}
	w.wg.Go(func() { w.run(ctx) })
	return w
}

// Close ends the watcher and waits for a running call of changed.
func (w *Watcher) Close() {
	w.cancel()
	w.wg.Wait()
	if w.events != nil {
		w.events.Close()
	}
}

// Set replaces what is watched. digest is that of the content the caller knows: whatever differs from it, also from before Set, is a change.
func (w *Watcher) Set(files, globs []string, digest [sha256.Size]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files, w.globs = slices.Clone(files), slices.Clone(globs)
	w.poll = w.events == nil
	want, names := w.directories()
	w.names = names
	for dir := range w.dirs {
		if !want[dir] {
			w.events.Remove(dir)
			delete(w.dirs, dir)
		}
	}
	for dir := range want {
		if w.events == nil || w.dirs[dir] {
			continue
		}
		if remote(dir) {
			w.poll = true
		} else if err := w.events.Add(dir); err != nil {
			w.poll = true
			w.note("cannot watch " + dir + " by events, polling every second: " + err.Error())
		} else {
			w.dirs[dir] = true
		}
	}
	w.last = digest
	select {
	case w.reset <- struct{}{}:
	default:
	}
}

// directories are those of the files and, where a file or its directory is a symlink, those on the way to its target; names are
// the files, links and targets themselves.
func (w *Watcher) directories() (dirs, names map[string]bool) {
	dirs, names = map[string]bool{}, map[string]bool{}
	for _, f := range append(slices.Clone(w.files), w.globs...) {
		for range 16 { // a chain of links is short
			dir := filepath.Dir(f)
			if _, err := os.Stat(dir); err == nil {
				dirs[dir] = true
			}
			names[f] = true
			if _, err := os.Readlink(dir); err == nil {
				dirs[filepath.Dir(dir)] = true
				names[dir] = true
			}
			link, err := os.Readlink(f)
			if err != nil {
				break
			}
			if !filepath.IsAbs(link) {
				link = filepath.Join(dir, link)
			}
			f = link
		}
		if real, err := filepath.EvalSymlinks(f); err == nil {
			dirs[filepath.Dir(real)] = true
			names[real] = true
		}
	}
	return dirs, names
}

// concerns reports whether an event at path may have changed what is watched. Without this a busy log file beside the configuration would keep
// the events from ever pausing.
func (w *Watcher) concerns(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names[path] || w.dirs[path] { // a watched directory itself was moved or removed
		return true
	}
	return slices.ContainsFunc(w.globs, func(g string) bool {
		ok, err := filepath.Match(g, path)
		return ok && err == nil
	})
}

// remote says that the file system of dir reports no changes of other machines.
func remote(dir string) bool {
	const nfs, smb, smb2, cifs, fuse, v9fs, ceph = 0x6969, 0x517B, 0xFE534D42, 0xFF534D42, 0x65735546, 0x01021997, 0x00C36400
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	return slices.Contains([]int64{nfs, smb, smb2, cifs, fuse, v9fs, ceph}, int64(uint32(st.Type)))
}

func (w *Watcher) run(ctx context.Context) {
	var events <-chan fsnotify.Event
	var errs <-chan error
	if w.events != nil {
		events, errs = w.events.Events, w.events.Errors
	}
	quiet := time.NewTimer(time.Hour) // runs while events are being gathered
	quiet.Stop()
	poll := time.NewTimer(time.Hour)
	poll.Stop()
	defer quiet.Stop()
	defer poll.Stop()
	var first time.Time
	gather := func() {
		if first.IsZero() {
			first = time.Now()
		}
		quiet.Reset(min(Debounce, max(0, maxDelay-time.Since(first))))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.reset: // a change between the caller's reading and Set has no event any more
			w.mu.Lock()
			differs := w.last != Digest(w.files, w.globs)
			polling := w.poll
			w.mu.Unlock()
			if polling {
				poll.Reset(pollInterval)
			} else {
				poll.Stop()
			}
			if differs {
				gather()
			}
		case e := <-events:
			if e.Op != fsnotify.Chmod && w.concerns(e.Name) {
				gather()
			}
		case err := <-errs:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.note("watching files: " + err.Error())
			}
			gather()
		case <-quiet.C:
			first = time.Time{}
			w.check()
		case <-poll.C:
			w.check()
			poll.Reset(pollInterval)
		}
	}
}

// check calls changed when the contents differ from the last ones seen.
func (w *Watcher) check() {
	w.mu.Lock()
	now := Digest(w.files, w.globs)
	differs := now != w.last
	w.last = now
	w.mu.Unlock()
	if differs {
		w.changed()
	}
}

// Digest is a hash over the names and contents of the files and of those that match globs. A file that cannot be read counts as such.
func Digest(files, globs []string) (sum [sha256.Size]byte) {
	all := slices.Clone(files)
	for _, g := range globs {
		found, _ := filepath.Glob(g)
		all = append(all, found...)
	}
	slices.Sort(all)
	h := sha256.New()
	for _, name := range slices.Compact(all) {
		io.WriteString(h, name+"\x00")
		f, err := os.Open(name)
		if err != nil {
			io.WriteString(h, "unreadable\x00")
			continue
		}
		each := sha256.New()
		io.Copy(each, io.LimitReader(f, maxFile))
		f.Close()
		h.Write(each.Sum(nil))
	}
	h.Sum(sum[:0])
	return sum
}
