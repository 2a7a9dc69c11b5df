package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/handover"
	"github.com/sentinel-stack/sentinel/stack/limits"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/reap"
	"github.com/sentinel-stack/sentinel/stack/sandbox"
	"github.com/sentinel-stack/sentinel/stack/sockets"
	"github.com/sentinel-stack/sentinel/stack/supervise"
)

// CheckState says whether this program could take over from s, without touching anything.
func CheckState(s *handover.State, host plan.Host) error {
	host.RuntimeDir, host.ProgramDir = s.RuntimeDir, s.ProgramDir
	p, err := planOf(s, host)
	if err == nil {
		_, err = planned(s, p)
	}
	return err
}

// planOf is the plan of the configuration that runs, which is not what is on disk by now perhaps.
func planOf(s *handover.State, host plan.Host) (*plan.Plan, error) {
	p, err := plan.Load("bundle:"+s.Bundle, host)
	if err != nil {
		return nil, fmt.Errorf("cannot load the running configuration: %v", err)
	}
	if p.Hash != s.Hash {
		return nil, fmt.Errorf("cannot load the running configuration: the bundle %s holds another one", s.Bundle)
	}
	p.File, p.Watched, p.Globs = s.Config, s.Watched, s.Globs
	return p, nil
}

// planned finds what the plan, or the retirement, says about each service of the state.
func planned(s *handover.State, p *plan.Plan) ([]plan.Service, error) {
	known := map[string]plan.Service{}
	for _, r := range s.Retiring {
		known[r.Service.Name] = r.Service
	}
	for _, v := range p.Services {
		known[v.Name] = v
	}
	var list []plan.Service
	for _, saved := range s.Services {
		v, ok := known[saved.Name]
		if !ok {
			return nil, fmt.Errorf("the service %s is not in the running configuration", saved.Name)
		}
		list = append(list, v)
	}
	return list, nil
}

// resume goes on where the program before this one stopped. An error before the point of no return is a *handover.Refusal.
func resume(ctx context.Context, o Options) error {
	s := o.Resume.State
	o.Host.ProgramDir = s.ProgramDir
	d, quit := newDaemon(ctx, o, nil)
	defer quit()
	r, err := d.takeOver(s)
	if err != nil {
		return &handover.Refusal{Reason: err}
	}
	defer d.lock.release()
	defer d.close()
	defer func() { d.control.close() }()
	defer func() { d.watcher.Close() }()
	if err := d.goOnAfterUpgrade(s, r); err != nil {
		d.Note("error", err.Error())
	}
	stop := d.watchState()
	defer stop()
	d.stay()
	return nil
}

// takeOver makes everything ready from duplicates of the inherited descriptors and begins nothing. On error the old program can go on with the same state.
func (d *Daemon) takeOver(s *handover.State) (services []*supervise.Resumed, err error) {
	var undo transaction
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if err != nil {
			undo.rollback()
		}
	}()
	list, err := d.takeBase(s)
	if err != nil {
		return nil, err
	}
	if d.sockets, _, err = sockets.Resume(s.Sockets, nil); err != nil {
		return nil, err
	}
	undo.onUndo(d.sockets.Abandon)
	if err := d.takeControl(s); err != nil {
		return nil, err
	}
	if d.reaper, err = reap.NewReaper(s.PIDs()...); err != nil {
		return nil, err
	}
	undo.onUndo(d.reaper.Close)
	return d.takeServices(s, list, &undo)
}

// takeBase makes what services share and returns them as they are planned.
func (d *Daemon) takeBase(s *handover.State) ([]plan.Service, error) {
	p, err := planOf(s, d.o.Host)
	if err != nil {
		return nil, err
	}
	list, err := planned(s, p)
	if err != nil {
		return nil, err
	}
	if d.forest, err = reap.ResumeForest(s.ForestRoot, s.ForestWhy); err != nil {
		return nil, err
	}
	d.sandbox = sandbox.ThisHost()
	d.limits = limits.Resume(s.ForestRoot, cgroupName(d.o.RuntimeDir), s.Limits)
	if d.logs, err = logs.NewStore(logs.Options{Dir: d.o.LogDir, Tell: d.logTrouble}); err != nil {
		return nil, err
	}
	if d.null, err = supervise.OpenNull(); err != nil {
		d.logs.Close()
		return nil, err
	}
	d.launcher = d.newLauncher()
	d.began, d.generation, d.lastReload, d.bundle, d.plan = s.Began, s.Generation, s.LastReload, s.Bundle, p
	copy(d.digest[:], s.Digest)
	return list, nil
}

// takeServices takes hold of the services. Nothing is done to them yet.
func (d *Daemon) takeServices(s *handover.State, list []plan.Service, undo *transaction) (services []*supervise.Resumed, err error) {
	for i, saved := range s.Services {
		spec, err := d.spec(list[i], s.Bundle)
		if err != nil {
			return nil, err
		}
		r, err := supervise.Resume(list[i].Kind, spec, d.deps(), saved)
		if err != nil {
			return nil, err
		}
		undo.onUndo(r.Detach)
		services = append(services, r)
	}
	return services, nil
}

// takeControl takes over the lock and the control sockets. Nothing is accepted yet.
func (d *Daemon) takeControl(s *handover.State) error {
	fd, err := unix.FcntlInt(uintptr(s.Lock), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot take over the lock: %v", err)
	}
	d.lock = &lock{os.NewFile(uintptr(fd), filepath.Join(d.o.RuntimeDir, "stack.lock"))}
	c := &control{path: ControlSocket(d.o.RuntimeDir), cancel: func() {}}
	if c.ln, err = listenerOf(s.Control); err != nil {
		return err
	}
	if s.Metrics >= 0 {
		c.metrics, err = listenerOf(s.Metrics)
	}
	d.control = c
	return err
}

// goOn is the point of no return.
func (d *Daemon) goOn(s *handover.State, services []*supervise.Resumed) {
	strangers := d.forest.Strangers(treesOf(s)) // of instances that have ended and whose last processes were just being killed
	d.background.Go(func() { reap.Fell(strangers) })
	d.setHooks(d.plan)
	for _, r := range services {
		d.services = append(d.services, r.Go())
	}
	d.watcher = d.newWatcher()
	d.setWatch(d.plan, d.digest)
	for _, r := range s.Retiring {
		d.retire(r.Service, r.Replaced)
	}
	d.storeSockets()
	if d.o.Started != nil {
		d.o.Started(d)
	}
}

// goOnAfterUpgrade is goOn in the process of the program before.
func (d *Daemon) goOnAfterUpgrade(s *handover.State, services []*supervise.Resumed) (err error) {
	d.events.restore(s.Events, s.Counts)
	d.logs.Restore(s.Rings)
	for _, p := range s.Pipes {
		err = errors.Join(err, d.logs.Resume(p))
	}
	d.o.Resume.Done() // before anything is forked that could inherit them
	d.goOn(s, services)
	if u := s.Upgrade; u != nil {
		u.PauseMillis = (exec.BootTime() - s.WrittenAt).Milliseconds()
		if u.OK = d.o.Resume.Failed == ""; u.OK {
			u.To = d.o.Version
			d.upgradeDone(u)
		} else {
			d.upgradeFailed(u, errors.New(d.o.Resume.Failed+"; the old program went on"))
		}
	}
	d.background.Go(func() { d.Reopen(d.life) }) // it may have been asked for while nobody listened
	d.ready(nil)
	return errors.Join(err, d.resumeControl()) // last: whoever asks sees how it ended
}

func (d *Daemon) resumeControl() error {
	ln, metrics := d.control.ln, d.control.metrics
	if d.o.MetricsAddress == "" && metrics != nil {
		metrics.Close()
		metrics = nil
	}
	c, err := d.serve(ln, metrics)
	if err == nil {
		d.control = c
	}
	return err
}

// treesOf are those of running instances.
func treesOf(s *handover.State) map[string]bool {
	keep := map[string]bool{}
	for i := range s.Services {
		for _, in := range s.Services[i].Instances {
			keep[s.Services[i].TreeID(in)] = true
		}
	}
	return keep
}
