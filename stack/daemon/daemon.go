// Package daemon is the running supervisor: it brings a plan to life, keeps it so, applies reloads and answers the control API.
package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/handover"
	"github.com/sentinel-stack/sentinel/stack/hooks"
	"github.com/sentinel-stack/sentinel/stack/limits"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/plan"
	"github.com/sentinel-stack/sentinel/stack/reap"
	"github.com/sentinel-stack/sentinel/stack/sandbox"
	"github.com/sentinel-stack/sentinel/stack/sockets"
	"github.com/sentinel-stack/sentinel/stack/supervise"
	"github.com/sentinel-stack/sentinel/stack/systemd"
	"github.com/sentinel-stack/sentinel/stack/watch"
)

// Options are what a supervisor is started with.
type Options struct {
	Config         string // path, or the embedded starter's
	RuntimeDir     string // must be known
	Host           plan.Host
	Version        string
	LogDir         string             // "" = no log files
	MetricsAddress string             // "" = only on the control socket
	Started        func(*Daemon)      // called once the control socket answers
	Ready          func(failed error) // called once everything was started; the error names what is not ready
	Patience       context.Context    // an orderly end is waited for until it ends; nil = as long as the plan says

	Args     []string            // of this program, for the next one
	Binary   string              // path this program was started from
	Detached bool                // nobody reads what it prints
	Thread   *exec.Thread        // to fork on; nil = one of its own, and then it cannot upgrade
	Resume   *handover.Inherited // what this program takes over from the one before it in the same process; nil = nothing
}

// Daemon is a running supervisor.
type Daemon struct {
	o        Options
	began    time.Time
	logs     *logs.Store
	events   *eventLog
	launcher *exec.Launcher
	reaper   *reap.Reaper
	forest   *reap.Forest
	limits   *limits.Host
	sandbox  sandbox.Host
	sockets  *sockets.Holder
	upward   *systemd.Notifier
	sampler  sampler
	hooks    *hooks.Engine
	null     *os.File
	life     context.Context    // ends when the supervisor is to stop
	quit     context.CancelFunc // ends it

	// ops is held by whoever changes the set of services or their processes on somebody's behalf, so that such changes follow one another.
	ops        chan struct{}
	retiring   map[string]*retirement // guarded by ops
	background sync.WaitGroup
	upgrades   chan *api.Upgrade // passed the trial; whoever sends holds ops and gives it away
	lock       *lock
	control    *control
	inherited  []*os.File      // from the service manager, until the sockets are opened
	kept       map[string]bool // sockets that the service manager keeps, by name; guarded by ops
	news       chan struct{}   // something changed that the scribe writes down
	begun      atomic.Bool     // everything has been started once
	writing    sync.Mutex      // of the state file
	unwritten  bool            // the last time failed; guarded by writing

	mu         sync.Mutex // guards what is below against readers; only the holder of ops writes
	plan       *plan.Plan
	bundle     string
	services   []*supervise.Service // in start order
	generation uint64
	lastReload *api.ReloadResult
	upgrade    *api.Upgrade // the last one
	digest     [sha256.Size]byte
	watcher    *watch.Watcher
}

// Run supervises until ctx ends or a shutdown is asked for, then stops everything in reverse order. A *RunningError says that somebody else does already,
// a config.Diagnostics error that the configuration is invalid.
func Run(ctx context.Context, o Options) error {
	o.Host.RuntimeDir = o.RuntimeDir
	if o.Resume != nil {
		return resume(ctx, o)
	}
	lock, err := acquire(o.RuntimeDir)
	if err != nil {
		return err
	}
	defer lock.release()
	return begin(ctx, o, lock)
}

func newDaemon(ctx context.Context, o Options, l *lock) (*Daemon, context.CancelFunc) {
	ctx, quit := context.WithCancel(ctx)
	return &Daemon{
		o: o, began: time.Now(), events: newEventLog(), upward: systemd.NewNotifier(), life: ctx, quit: quit, lock: l,
		ops: make(chan struct{}, 1), retiring: map[string]*retirement{}, upgrades: make(chan *api.Upgrade),
		news: make(chan struct{}, 1), hooks: hooks.New(),
	}, quit
}

// load reads the configuration together with a digest of the files it was read from. Which files those are is known only afterwards, so it is read until
// nothing changed meanwhile; a file that never comes to rest is left to the watcher.
func load(o Options, scale plan.Scale) (p *plan.Plan, digest [sha256.Size]byte, err error) {
	const attempts = 5
	for range attempts {
		if p, err = plan.LoadScaled(o.Config, o.Host, scale); err != nil {
			return nil, digest, err
		}
		digest = watch.Digest(p.Watched, p.Globs)
		again, err := plan.LoadScaled(o.Config, o.Host, scale)
		if err != nil {
			return nil, digest, err
		}
		if again.Hash == p.Hash {
			break
		}
	}
	if named := p.NamedRuntimeDir; named != "" && named != o.RuntimeDir { // the proxy would look for its agents there
		return nil, digest, fmt.Errorf("stack.runtime-dir is %s, but this supervisor runs in %s: it can change only while nothing runs, and --runtime-dir must agree with it", named, o.RuntimeDir)
	}
	return p, digest, nil
}

// open acquires what services share, in the order of close reversed.
func (d *Daemon) open() (err error) {
	d.sandbox = sandbox.ThisHost()
	os.Remove(handover.File(d.o.RuntimeDir)) // nobody adopts it any more
	os.RemoveAll(filepath.Join(d.o.RuntimeDir, "output"))
	for _, sub := range []string{"agents", "notify", "generations"} {
		if err := os.MkdirAll(filepath.Join(d.o.RuntimeDir, sub), 0o750); err != nil {
			return fmt.Errorf("cannot make runtime directory: %v", err)
		}
	}
	if d.logs, err = logs.NewStore(logs.Options{Dir: d.o.LogDir, Tell: d.logTrouble}); err != nil {
		return err
	}
	if d.null, err = supervise.OpenNull(); err != nil {
		d.logs.Close()
		return err
	}
	if n := reap.KillLeftovers("SENTINEL_RUNTIME_DIR", d.o.RuntimeDir); n > 0 {
		d.Note("warn", fmt.Sprintf("killed %d processes that an earlier supervisor left behind", n))
	}
	if d.reaper, err = reap.NewReaper(); err != nil {
		d.null.Close()
		d.logs.Close()
		return err
	}
	name := cgroupName(d.o.RuntimeDir)
	d.forest = reap.OpenForest(name)
	d.limits = limits.Open(d.forest.Root(), name)
	if why := d.forest.Why(); why != "" {
		d.Note("info", "services are killed by process group, not by cgroup: "+why)
	}
	d.launcher = d.newLauncher()
	var ignored []string
	d.sockets, ignored = sockets.NewHolder(d.inherited)
	for _, i := range ignored {
		d.Note("warn", "ignored inherited descriptor "+i)
	}
	return nil
}

// cgroupName is the name of a supervisor's cgroup.
func cgroupName(runtimeDir string) string {
	sum := sha256.Sum256([]byte(runtimeDir))
	return hex.EncodeToString(sum[:6])
}

func (d *Daemon) newLauncher() *exec.Launcher {
	if d.o.Thread != nil {
		return exec.LauncherOn(d.o.Thread)
	}
	return exec.NewLauncher()
}

func (d *Daemon) close() {
	d.drainHooks(d.patience())
	os.Remove(handover.File(d.o.RuntimeDir))
	os.RemoveAll(filepath.Join(d.o.RuntimeDir, "output"))
	os.RemoveAll(filepath.Join(d.o.RuntimeDir, "generations")) // bundles hold the values of environment variables
	d.launcher.Close()
	if n := d.reaper.KillOrphans(); n > 0 {
		d.Note("warn", fmt.Sprintf("killed %d processes that had left their service", n))
	}
	d.reaper.Close()
	d.limits.Close()
	d.forest.Close()
	d.sockets.Close()
	d.null.Close()
	d.logs.Close()
}

func (d *Daemon) run(first *plan.Plan, digest [sha256.Size]byte) (err error) {
	ctx := d.life
	d.ops <- struct{}{} // until everything was started
	if d.control, err = d.serve(nil, nil); err != nil {
		return err
	}
	defer func() { d.control.close() }()
	if err := d.prepare(ctx, first); err != nil {
		d.stopAll()
		return err
	}
	d.watcher = d.newWatcher()
	defer func() { d.watcher.Close() }()
	defer d.watchState()()
	d.storeSockets()
	if d.o.Started != nil {
		d.o.Started(d)
	}
	started := d.startAll(ctx)
	<-d.ops
	d.setWatch(first, digest)
	d.ready(started)
	d.stay()
	return nil
}

// ready is called when everything has been started; failed names what is not ready.
func (d *Daemon) ready(failed error) {
	d.begun.Store(true)
	if d.plan.Keep { // before anybody is told
		d.noteState(d.life)
	}
	d.changed()
	if d.o.Ready != nil {
		d.o.Ready(failed)
	}
	if failed == nil {
		d.upward.Ready(d.summary())
	} else {
		d.Note("error", "not everything is ready: "+failed.Error())
	}
	rest()
}

func (d *Daemon) newWatcher() *watch.Watcher {
	return watch.New(func() { d.reloadFromWatch(d.life) }, func(note string) { d.Note("warn", note) })
}

// stay supervises until the end and then stops everything.
func (d *Daemon) stay() {
	d.attend(d.life)
	d.upward.Stopping("stopping " + plan.Count(len(d.list())))
	d.watcher.Close()
	d.Note("info", "stopping")
	d.background.Wait() // ends with ctx
	select {            // an operation under way does too
	case d.ops <- struct{}{}:
	case <-time.After(d.plan.ShutdownTimeout):
	case <-d.patience().Done():
	}
	defer d.extend()()
	d.stopAll()
}

// extendBy is what the service manager is asked for while services drain, every third of it.
const extendBy = 15 * time.Second

// extend keeps the service manager from taking a long drain for a hang: the services' own deadlines bound it.
func (d *Daemon) extend() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(extendBy / 3)
		defer tick.Stop()
		for {
			d.upward.Extend(extendBy, "stopping: "+d.lingering())
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-done }
}

// lingering names what still runs.
func (d *Daemon) lingering() string {
	var names []string
	for _, s := range d.list() {
		if snap := s.Snapshot(); snap.PID != 0 {
			names = append(names, snap.Name+" is "+snap.State)
		}
	}
	return strings.Join(names, ", ")
}

func (d *Daemon) patience() context.Context {
	if d.o.Patience == nil {
		return context.Background()
	}
	return d.o.Patience
}

// attend is the supervisor's main loop: it waits for the end and for upgrades, and meanwhile tells the service manager that it lives.
func (d *Daemon) attend(ctx context.Context) {
	var tick <-chan time.Time
	interval := d.upward.WatchdogInterval() / 2
	if interval > 0 {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		tick = ticker.C
		d.upward.Alive()
	}
	ready := false
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-d.upgrades:
			d.handOver(u)
		case <-tick:
			if err := d.pulse(ctx, interval/2); err != nil {
				d.Note("error", "the watchdog is not fed: "+err.Error())
				continue
			}
			d.upward.Alive()
			if all := d.notReady() == nil; all && !ready {
				d.upward.Ready(d.summary())
				ready = true
			}
		}
	}
}

// pulse says whether everything that has to work does: the loop of each service answers in time. That this is asked at all proves it of the main loop.
func (d *Daemon) pulse(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for _, s := range d.list() {
		if err := s.Ping(ctx); err != nil && ctx.Err() != nil && d.life.Err() == nil {
			return fmt.Errorf("the loop of %s does not answer", s.Name())
		}
	}
	return nil
}

// Note writes a line of the supervisor's own log.
func (d *Daemon) Note(level, text string) { d.logs.Note(level, text) }

// Logs is where everything the services write can be read.
func (d *Daemon) Logs() *logs.Store { return d.logs }

// Plan is the plan that runs.
func (d *Daemon) Plan() *plan.Plan {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.plan
}

// Reopen opens the log files again and tells our own programs to do the same. Others may not know the signal and die of it.
func (d *Daemon) Reopen(ctx context.Context) {
	d.logs.Reopen()
	p := d.Plan()
	if p == nil {
		return
	}
	for _, s := range p.Services {
		if svc := d.find(s.Name); s.OurProgram && svc != nil {
			svc.Signal(ctx, unix.SIGUSR1)
		}
	}
}

func (d *Daemon) emit(e api.Event) {
	d.hooks.Emit(d.events.emit(e))
	level := "info"
	switch e.To {
	case string(supervise.Backoff), string(supervise.Degraded):
		level = "warn"
	case string(supervise.Quarantined), string(supervise.Failed):
		level = "error"
	}
	if e.Kind == "limit" {
		d.Note("warn", e.Service+": "+e.Reason)
	}
	if e.Kind == "state" {
		text := e.Service + " is " + e.To
		if e.Reason != "" {
			text += ": " + e.Reason
		}
		d.Note(level, text)
	}
}

func (d *Daemon) list() []*supervise.Service {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.services)
}

func (d *Daemon) find(name string) *supervise.Service {
	for _, s := range d.list() {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// notReady names what should serve and does not, nil = all is well.
func (d *Daemon) notReady() error {
	var bad []string
	for _, s := range d.list() {
		if snap := s.Snapshot(); snap.State != string(supervise.Ready) && snap.State != string(supervise.Stopped) {
			bad = append(bad, snap.Name+" is "+snap.State)
		}
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, ", "))
	}
	return nil
}

// summary is one line for systemctl status.
func (d *Daemon) summary() string {
	d.mu.Lock()
	n, generation := len(d.services), d.generation
	d.mu.Unlock()
	state := "all ready"
	if err := d.notReady(); err != nil {
		state = err.Error()
	}
	return fmt.Sprintf("generation %d, %s, %s", generation, plan.Count(n), state)
}

func (d *Daemon) setWatch(p *plan.Plan, digest [sha256.Size]byte) {
	d.mu.Lock()
	d.digest = digest
	d.mu.Unlock()
	if p.Watch {
		d.watcher.Set(p.Watched, p.Globs, digest)
	} else {
		d.watcher.Set(nil, nil, watch.Digest(nil, nil))
	}
}

// listen opens the control socket. The lock is ours, so a socket file that is in the way is stale.
func (d *Daemon) listen() (net.Listener, error) {
	path := ControlSocket(d.o.RuntimeDir)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("cannot remove stale control socket: %v", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on control socket: %v", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // the next program may listen on
	shareWithGroup(d.o.RuntimeDir, path)
	return ln, nil
}
