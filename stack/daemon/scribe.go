package daemon

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/sentinel-stack/sentinel/stack/handover"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// scribePause gathers changes that come together.
const scribePause = 2 * time.Millisecond

// saveTimeout bounds the wait for one busy service.
const saveTimeout = time.Second

// changed has the scribe look again; it never waits.
func (d *Daemon) changed() {
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// scribe tells the service manager how things are and, when services are to survive this supervisor, writes down what its successor needs.
func (d *Daemon) scribe(ctx context.Context) {
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.news:
		}
		time.Sleep(scribePause)
		p := d.Plan()
		if p == nil {
			continue
		}
		if s := d.summary(); d.upward.Active() && s != told && d.begun.Load() {
			d.upward.Status(s)
			told = s
		}
		if !p.Keep {
			os.Remove(handover.File(d.o.RuntimeDir))
			continue
		}
		d.noteState(ctx)
	}
}

// noteState writes the state and says when that begins to fail.
func (d *Daemon) noteState(ctx context.Context) {
	d.writing.Lock()
	defer d.writing.Unlock()
	err := d.writeState(ctx)
	if err != nil && !d.unwritten && ctx.Err() == nil {
		d.Note("error", fmt.Sprintf("the services would not survive this supervisor: %v", err))
	}
	d.unwritten = err != nil
}

// writeState replaces the state file.
func (d *Daemon) writeState(ctx context.Context) error {
	var services []supervise.Saved
	for _, s := range d.list() {
		saveCtx, cancel := context.WithTimeout(ctx, saveTimeout)
		saved, err := s.Save(saveCtx)
		cancel()
		if err != nil {
			return err
		}
		services = append(services, saved)
	}
	d.mu.Lock()
	last := d.upgrade
	d.mu.Unlock()
	s := d.state(services, last)
	s.Started = d.begun.Load()
	for i := range s.Sockets { // numbers mean nothing to another process
		s.Sockets[i].FD = -1
	}
	return s.WriteFile()
}

// watchState runs the scribe until the supervisor has stopped everything.
func (d *Daemon) watchState() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.scribe(ctx) }()
	d.changed()
	return func() { cancel(); <-done }
}

// storeSockets has the service manager keep every socket that it did not make itself, so that a crash of this supervisor closes none.
func (d *Daemon) storeSockets() {
	if !d.upward.Active() {
		return
	}
	for _, name := range d.sockets.Drop() { // first: what is stored below may have the same name
		d.upward.Forget(name)
	}
	now := map[string]bool{}
	for _, s := range d.sockets.Held() {
		if s.Adopted {
			continue
		}
		name := s.StoreName()
		now[name] = true
		if d.kept[name] {
			continue
		}
		if err := d.upward.Store(name, s.FD()); err != nil {
			d.Note("warn", fmt.Sprintf("the socket of %s would not survive this supervisor: %v", s.Name, err))
			return
		}
	}
	for name := range d.kept {
		if !now[name] {
			d.upward.Forget(name)
		}
	}
	d.kept = now
}
