// Package reap makes sure that nothing a service spawned survives it, and that no zombie stays.
//
// The supervisor is a subreaper: a process whose parent died becomes its child. Package reap collects those orphans when they end (Reaper) and kills
// whole trees of processes (Tree), by cgroup.kill where a cgroup v2 hierarchy may be written, else by process group and a walk over /proc.
package reap

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Reaper collects orphans. Children that somebody waits for are registered and left to their owner.
type Reaper struct {
	starting sync.RWMutex // held shared while a child is started: a sweep must not see it before it is registered

	ending sync.RWMutex // held shared while a status is collected and told: after Hold every status has been told or can still be collected

	mu    sync.Mutex
	known map[int]struct{}

	signals chan os.Signal
	sweep   chan struct{}
	done    chan struct{}
}

// NewReaper makes this process a subreaper and begins to collect. The children in known are registered already.
func NewReaper(known ...int) (*Reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("cannot become a subreaper: %v", err)
	}
	r := &Reaper{known: map[int]struct{}{}, signals: make(chan os.Signal, 1), sweep: make(chan struct{}, 1), done: make(chan struct{})}
	for _, pid := range known {
		r.known[pid] = struct{}{}
	}
	signal.Notify(r.signals, unix.SIGCHLD)
	r.sweep <- struct{}{} // what ended before anybody listened
	go r.run()
	return r, nil
}

// Close stops collecting. The process stays a subreaper.
func (r *Reaper) Close() {
	signal.Stop(r.signals)
	close(r.signals)
	<-r.done
}

// Start runs fn, which starts a child and returns its pid (0 when there is none), and registers it. Call Forget after the child was waited for.
func (r *Reaper) Start(fn func() int) {
	r.starting.RLock()
	defer r.starting.RUnlock()
	if pid := fn(); pid > 0 {
		r.mu.Lock()
		r.known[pid] = struct{}{}
		r.mu.Unlock()
	}
}

// Ending runs fn, which collects the status of a registered child and tells whom it concerns.
func (r *Reaper) Ending(fn func()) {
	r.ending.RLock()
	defer r.ending.RUnlock()
	fn()
}

// Hold has calls of Ending wait until release is called. No call is under way when it returns.
func (r *Reaper) Hold() (release func()) {
	r.ending.Lock()
	return r.ending.Unlock
}

// Forget ends the registration of pid. A known zombie hides those behind it, so collecting goes on here.
func (r *Reaper) Forget(pid int) {
	r.mu.Lock()
	delete(r.known, pid)
	r.mu.Unlock()
	select {
	case r.sweep <- struct{}{}:
	default:
	}
}

// Run is cmd.Run with the child registered.
func (r *Reaper) Run(cmd *exec.Cmd) error {
	var err error
	r.Start(func() int {
		if err = cmd.Start(); err != nil {
			return 0
		}
		return cmd.Process.Pid
	})
	if err != nil {
		return err
	}
	defer r.Forget(cmd.Process.Pid)
	return cmd.Wait()
}

func (r *Reaper) run() {
	defer close(r.done)
	for {
		select {
		case _, ok := <-r.signals:
			if !ok {
				return
			}
		case <-r.sweep:
		}
		r.collect()
	}
}

// collect looks before it reaps, because waiting for any child would steal the registered ones from their owners.
func (r *Reaper) collect() {
	r.starting.Lock()
	defer r.starting.Unlock()
	for {
		pid, ok := peek()
		if !ok {
			return
		}
		r.mu.Lock()
		_, known := r.known[pid]
		r.mu.Unlock()
		if known {
			return // its owner reaps it now and calls Forget
		}
		unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}

// Orphans lists the running children of this process that nobody registered.
func (r *Reaper) Orphans() []int {
	r.starting.Lock()
	defer r.starting.Unlock()
	var found []int
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			r.mu.Lock()
			_, known := r.known[pid]
			r.mu.Unlock()
			if err == nil && !known {
				found = append(found, pid)
			}
		}
	}
	return found
}

// KillOrphans kills every unregistered child and returns how many there were. It is the last step of a shutdown, when no service runs any more.
func (r *Reaper) KillOrphans() int {
	return repeat(func() (found []int) {
		for _, pid := range r.Orphans() {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue
			}
			// Whoever the number belongs to is held now; it is an orphan only if it is still a child of ours.
			if alive(pid) && parentOf(pid) == os.Getpid() && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
				found = append(found, pid)
			}
			unix.Close(fd)
		}
		return found
	})
}
