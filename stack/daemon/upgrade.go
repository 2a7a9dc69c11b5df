package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/handover"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// freezeTimeout bounds the wait for processes that are just being started.
const freezeTimeout = 15 * time.Second

// postUpgrade replaces the supervisor's program. The answer comes when the new program has passed its trial and before anything is handed over, because the connection does not outlive that.
func (d *Daemon) postUpgrade(w http.ResponseWriter, r *http.Request) {
	var req api.UpgradeRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&req); err != nil && err != io.EOF {
		fail(w, http.StatusBadRequest, "cannot read the request: "+err.Error(), "")
		return
	}
	select {
	case d.ops <- struct{}{}: // the next program lets go of it
	case <-time.After(actTimeout):
		fail(w, http.StatusConflict, "another change is still under way", "")
		return
	case <-r.Context().Done():
		return
	}
	u, err := d.tryUpgrade(r.Context(), req.Binary)
	if err != nil {
		d.upgradeFailed(u, err)
		<-d.ops
		fail(w, http.StatusConflict, "not upgraded, nothing changed: "+err.Error(), "")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusAccepted)
	json.NewEncoder(w).Encode(u)
	http.NewResponseController(w).Flush()
	select {
	case d.upgrades <- u:
	case <-d.life.Done():
		<-d.ops
	}
}

// tryUpgrade has the new program say whether it could take over.
func (d *Daemon) tryUpgrade(ctx context.Context, binary string) (*api.Upgrade, error) {
	d.mu.Lock()
	id := uint64(1)
	if d.upgrade != nil {
		id = d.upgrade.ID + 1
	}
	d.mu.Unlock()
	if binary == "" {
		binary = d.o.Binary
	}
	u := &api.Upgrade{ID: id, At: time.Now(), Binary: binary, From: d.o.Version}
	if !filepath.IsAbs(binary) {
		return u, fmt.Errorf("the path of the program must be absolute: %q", binary)
	}
	if d.o.Thread == nil {
		return u, errors.New("this supervisor does not own its process")
	}
	var services []supervise.Saved
	for _, s := range d.list() {
		saved, err := s.Save(ctx)
		if err != nil {
			return u, err
		}
		services = append(services, saved)
	}
	version, err := handover.Try(ctx, binary, d.state(services, u), d.reaper.Run)
	u.To = version
	return u, err
}

// upgradeFailed notes that nothing changed.
func (d *Daemon) upgradeFailed(u *api.Upgrade, err error) {
	u.OK, u.Error = false, err.Error()
	d.upgradeDone(u)
}

// upgradeDone notes how an upgrade ended.
func (d *Daemon) upgradeDone(u *api.Upgrade) {
	d.mu.Lock()
	d.upgrade = u
	d.mu.Unlock()
	e := api.Event{Time: time.Now(), Kind: "upgrade", From: u.From, To: "applied", Reason: fmt.Sprintf("version %s, services ran on, nobody supervised for %d ms", u.To, u.PauseMillis)}
	level := "info"
	if !u.OK {
		e.To, e.Reason, level = "refused", u.Error, "error"
	}
	d.emit(e)
	d.Note(level, "upgrade "+e.To+": "+e.Reason)
}

// state is the supervisor without its descriptors.
func (d *Daemon) state(services []supervise.Saved, u *api.Upgrade) *handover.State {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &handover.State{
		Format: handover.Format, Program: d.o.Version, PID: os.Getpid(), WrittenAt: exec.BootTime(), BootID: handover.BootID(), Args: d.o.Args, Config: d.o.Config,
		RuntimeDir: d.o.RuntimeDir, ProgramDir: d.o.Host.ProgramDir, Detached: d.o.Detached, Began: d.began, Generation: d.generation, LastReload: d.lastReload,
		Bundle: d.bundle, Hash: d.plan.Hash, Watched: d.plan.Watched, Globs: d.plan.Globs, Digest: d.digest[:], Services: services, Sockets: d.sockets.Save(),
		ForestRoot: d.forest.Root(), ForestWhy: d.forest.Why(), Limits: d.limits.Save(), Lock: -1, Control: -1, Metrics: -1, Upgrade: u, Started: true,
	}
	for _, r := range d.retiring {
		s.Retiring = append(s.Retiring, handover.Retiring{Service: r.service, Replaced: r.replaced})
	}
	return s
}

// handOver lets the new program take over. When that fails this one goes on as if nothing had been.
func (d *Daemon) handOver(u *api.Upgrade) {
	defer func() { <-d.ops }()
	err := d.replaceProgram(u)
	d.upgradeFailed(u, err) // else this program would be gone
}

func (d *Daemon) replaceProgram(u *api.Upgrade) (err error) {
	var own []int // descriptors made for the next program
	defer func() {
		for _, fd := range own {
			unix.Close(fd)
		}
	}()
	duplicate := func(c any) int {
		fd, dupErr := duplicateOf(c)
		if dupErr != nil {
			err = errors.Join(err, dupErr)
			return -1
		}
		own = append(own, fd)
		return fd
	}
	lock, control, metrics := duplicate(d.lock.file), duplicate(d.control.ln), -1
	if d.control.metrics != nil {
		metrics = duplicate(d.control.metrics)
	}
	if err != nil {
		return err
	}
	defer d.pauseHooks()()
	d.control.pause() // connections wait in the backlog
	defer func() { err = errors.Join(err, d.serveAgain(control, metrics)) }()

	release := d.reaper.Hold()
	defer release()
	ctx, cancel := context.WithTimeout(context.Background(), freezeTimeout)
	defer cancel()
	began := exec.BootTime()
	var services []supervise.Saved
	for _, s := range d.list() {
		saved, thaw, err := s.Freeze(ctx)
		if err != nil {
			return err
		}
		defer thaw()
		own = append(own, saved.NotifyFD)
		services = append(services, saved)
	}
	defer d.logs.Thaw()
	pipes, rings, err := d.logs.Freeze()
	for _, p := range pipes {
		own = append(own, p.FD)
	}
	if err != nil {
		return err
	}
	s := d.state(services, u)
	s.Lock, s.Control, s.Metrics, s.Pipes, s.Rings, s.WrittenAt = lock, control, metrics, pipes, rings, began
	s.Events, s.Counts = d.events.save()
	return handover.Over(d.o.Thread, u.Binary, s, d.life.Err) // who was told to end meanwhile ends
}

// serveAgain answers the control API again with what was kept for the next program.
func (d *Daemon) serveAgain(control, metrics int) error {
	ln, err := listenerOf(control)
	if err != nil {
		return err
	}
	var mln net.Listener
	if metrics >= 0 {
		if mln, err = listenerOf(metrics); err != nil {
			return err
		}
	}
	d.control, err = d.serve(ln, mln)
	return err
}
