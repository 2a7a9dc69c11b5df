package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/handover"
	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/reap"
	"github.com/sentinel-stack/sentinel/stack/sockets"
	"github.com/sentinel-stack/sentinel/stack/supervise"
	"github.com/sentinel-stack/sentinel/stack/systemd"
)

// maxStateFile bounds what is read of a state file.
const maxStateFile = 64 << 20

// leftBehind reads what an earlier supervisor left in the runtime directory, nil = nothing that lives. The caller holds the lock.
func leftBehind(dir string) (s *handover.State, why string) {
	path := handover.File(dir)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ""
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxStateFile {
		return nil, fmt.Sprintf("%s is no state of a supervisor", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err.Error()
	}
	if s, err = handover.Decode(raw); err != nil {
		return nil, err.Error()
	}
	switch {
	case s.BootID != handover.BootID():
		return nil, ""
	case slices.ContainsFunc(s.PIDs(), hidden):
		return nil, "their processes cannot be looked at: another user namespace (systemd's PrivateUsers=) or hidepid hides them"
	case !slices.ContainsFunc(s.Services, alive):
		return nil, ""
	case s.RuntimeDir != dir:
		return nil, fmt.Sprintf("%s is of a supervisor in %s", path, s.RuntimeDir)
	}
	return s, ""
}

// alive says whether some process of the service still is the one that was noted.
func alive(s supervise.Saved) bool {
	return slices.ContainsFunc(s.Instances, func(in supervise.SavedInstance) bool {
		start, err := exec.StartTime(in.PID)
		return err == nil && start == in.StartTime
	})
}

// hidden says that there is a process which /proc does not show.
func hidden(pid int) bool {
	_, err := exec.StartTime(pid)
	return err != nil && unix.Kill(pid, 0) == nil
}

// adopt takes over the services of a supervisor that died.
func (d *Daemon) adopt(s *handover.State, why *string) (adopted bool, err error) {
	began := time.Now()
	d.o.Host.ProgramDir = s.ProgramDir
	services, err := d.takeIn(s)
	if err != nil {
		*why = err.Error()
		return false, nil
	}
	defer d.close()
	if d.control, err = d.serve(nil, nil); err != nil {
		return true, err
	}
	defer func() { d.control.close() }()
	defer func() { d.watcher.Close() }()
	d.goOn(s, services)
	stop := d.watchState()
	defer stop()
	n := 0
	for _, r := range services {
		if r.Running() > 0 {
			n++
			d.emit(api.Event{Time: time.Now(), Service: r.Name(), Kind: "adopt", To: "adopted", Reason: fmt.Sprintf("it went on as pid %d", r.Snapshot().PID)})
		}
	}
	d.Note("warn", fmt.Sprintf("an earlier supervisor (pid %d) died: adopted %s in %d ms", s.PID, plan.Count(n), time.Since(began).Milliseconds()))
	d.settle(s)
	d.stay()
	return true, nil
}

// settle starts what the earlier supervisor did not come to, and applies what has changed in the configuration since.
func (d *Daemon) settle(s *handover.State) {
	var failed error
	d.ops <- struct{}{}
	if !s.Started {
		failed = d.startAll(d.life)
	} else {
		d.awaitStarting()
	}
	<-d.ops
	if failed == nil {
		failed = d.notReady()
	}
	d.ready(failed)
	d.background.Go(func() { d.Reload(d.life) })
}

// awaitStarting waits for services that are being started anew.
func (d *Daemon) awaitStarting() {
	var wg sync.WaitGroup
	for _, s := range d.list() {
		if s.Snapshot().State == string(supervise.Starting) {
			wg.Go(func() { s.Start(d.life) })
		}
	}
	wg.Wait()
}

// takeIn makes everything ready and begins nothing. On error the services are as before, but for those that cannot be adopted.
func (d *Daemon) takeIn(s *handover.State) (services []*supervise.Resumed, err error) {
	list, err := d.takeBase(s)
	if err != nil {
		return nil, err
	}
	var undo transaction
	defer func() {
		if err != nil {
			undo.rollback()
			d.logs.Close()
			d.null.Close()
			d.launcher.Close()
		}
	}()
	recovered := recoverSockets(s, list)
	d.sockets, _, err = sockets.Resume(recovered, d.inherited)
	for _, r := range recovered {
		if r.FD >= 0 {
			unix.Close(r.FD)
		}
	}
	if err != nil {
		return nil, err
	}
	d.inherited = nil
	undo.onUndo(d.sockets.Abandon)
	for i := range s.Services {
		d.giveUp(&s.Services[i], list[i])
	}
	if n := reap.KillLeftovers("SENTINEL_RUNTIME_DIR", d.o.RuntimeDir, s.PIDs()...); n > 0 {
		d.Note("warn", fmt.Sprintf("killed %d processes that an earlier supervisor left behind and that nobody can take over", n))
	}
	if d.reaper, err = reap.NewReaper(); err != nil {
		return nil, err
	}
	undo.onUndo(d.reaper.Close)
	d.began, d.upgrade = time.Now(), s.Upgrade
	return d.takeServices(s, list, &undo)
}

// giveUp kills the processes of a service whose sockets are lost: another process has to listen anew.
func (d *Daemon) giveUp(saved *supervise.Saved, s plan.Service) {
	for _, sock := range s.Sockets {
		if d.sockets.Offers(socketSpec(sock)) || len(saved.Instances) == 0 {
			continue
		}
		d.Note("error", fmt.Sprintf("%s cannot be adopted and is started anew: the socket %s did not come back, neither from the service manager nor from the process", s.Name, sock.Address))
		for _, in := range saved.Instances {
			d.end(saved, in)
		}
		saved.Instances = nil
		return
	}
}

func (d *Daemon) end(saved *supervise.Saved, in supervise.SavedInstance) {
	proc, err := exec.Attach(in.PID, in.StartTime)
	if err != nil {
		return
	}
	if tree, err := d.forest.Attach(saved.TreeID(in), true); err == nil {
		tree.Kill(in.PID)
		tree.Detach()
	}
	proc.Kill()
	proc.Wait()
	proc.Detach()
}

// recoverSockets duplicates the sockets out of the processes that serve on them.
func recoverSockets(s *handover.State, list []plan.Service) []sockets.Saved {
	out := slices.Clone(s.Sockets)
	for i := range out {
		out[i].FD = -1
		for k, v := range list {
			if slices.ContainsFunc(v.Sockets, func(x plan.Socket) bool { return socketSpec(x) == out[i].Spec }) {
				if fd := fromInstances(s.Services[k].Instances, out[i].Inode); fd >= 0 {
					out[i].FD = fd
					break
				}
			}
		}
	}
	return out
}

func fromInstances(instances []supervise.SavedInstance, inode uint64) int {
	for _, in := range instances {
		pidfd, err := unix.PidfdOpen(in.PID, 0)
		if err != nil {
			continue
		}
		fd := -1
		if start, err := exec.StartTime(in.PID); err == nil && start == in.StartTime {
			if fd, err = sockets.FromProcess(pidfd, in.PID, inode); err != nil {
				fd = -1
			}
		}
		unix.Close(pidfd)
		if fd >= 0 {
			return fd
		}
	}
	return -1
}

// begin decides how a supervisor begins: by adopting what a dead one left, or from nothing.
func begin(ctx context.Context, o Options, l *lock) error {
	inherited := systemd.Files()
	left, why := leftBehind(o.RuntimeDir)
	if left != nil {
		d, quit := newDaemon(ctx, o, l)
		defer quit()
		d.inherited = inherited
		if adopted, err := d.adopt(left, &why); adopted || err != nil {
			return err
		}
		inherited = d.inherited
	}
	first, digest, err := load(o, nil)
	if err != nil {
		return err
	}
	d, quit := newDaemon(ctx, o, l)
	defer quit()
	d.inherited = inherited
	if err := d.open(); err != nil {
		return err
	}
	defer d.close()
	if why != "" {
		d.Note("error", "an earlier supervisor left services that could not be adopted, they were killed: "+why)
	}
	return d.run(first, digest)
}
