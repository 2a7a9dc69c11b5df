package supervise

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/limits"
	"github.com/sentinel-stack/sentinel/stack/logs"
	"github.com/sentinel-stack/sentinel/stack/ready"
	"github.com/sentinel-stack/sentinel/stack/reap"
)

// Spec is everything about how a service is run.
type Spec struct {
	Limits            limits.Set   // of each instance
	Command           exec.Command // its Env is complete but for NOTIFY_SOCKET and WATCHDOG_USEC, which the service adds
	Problem           string       // why the command cannot be run at all, "" = it can
	Policy            Policy
	Stop              Stop
	Ready             Readiness
	Overlap           bool          // a second instance may run beside the first, so that a replacement is ready before the old one drains
	Watchdog          time.Duration // 0 = none
	WatchdogFromStart bool          // the program is known to feed it; others are watched from their first feed on
}

// Stop says how a process is asked to end.
type Stop struct {
	Signal  syscall.Signal // 0 = TERM
	Timeout time.Duration  // then QUIT, and soon after KILL
}

// Readiness says how a service becomes ready; with neither Notify nor Probe it is ready when it was executed.
type Readiness struct {
	Notify  bool        // it sends READY=1
	Probe   ready.Probe // it is asked; with Notify, whichever comes first
	Timeout time.Duration

	// Again asks a process that was adopted before it was known to be ready: with Notify, it may have said so to a supervisor that died. nil = it is given the time to say it.
	Again ready.Probe

	RestartHung bool // a service that no longer answers its probe is restarted, rather than only shown as degraded
}

// Deps is what all services share. All fields are required unless they say otherwise.
type Deps struct {
	Launcher  *exec.Launcher
	Reaper    *reap.Reaper
	Forest    *reap.Forest
	Limits    *limits.Host
	Logs      *logs.Store
	Null      int    // /dev/null, for standard input
	NotifyDir string // where the notification sockets live
	OutputDir string // where services that survive the supervisor write to; "" = there are none
	OnChange  func() // something changed that Save returns; it must not wait. nil = nobody cares
	OnEvent   func(api.Event)
	Note      func(level, text string) // the supervisor's own log
}

// Service is one supervised service. Its methods are safe for concurrent use.
type Service struct {
	name, kind string
	deps       Deps
	notify     *ready.Receiver
	began      time.Time // zero of the machine's clock
	work       chan func()
	stop       chan struct{}
	done       chan struct{}
	running    sync.WaitGroup // goroutines of instances
	snapshot   atomic.Pointer[api.Service]
	latency    latencies

	// Below belongs to the service's goroutine.
	m         *machine
	plan      *prepared // of instances started from now on
	staged    *prepared // of the next instance while a replacement runs
	instances map[int]*instance
	early     []ready.Report // came before the start was reported
	timer     *time.Timer
	waiters   []waiter
	replacers []chan error
	trial     time.Duration // how long the next instance is watched beside the current one before it takes over
	answers   []func()      // to callers, after the snapshot was published
	lackTold  string        // the layers whose lack was told last
	since     time.Time
	last      State
	shown     int       // the current instance as last published
	exitedAt  time.Time // of the last current instance, until the next was executed
	status    string    // STATUS= of the current instance
	lastProbe string
	hits      hits
	leaving   int // instances that have ended and whose killed descendants may not be gone yet
}

// ErrClosed is returned by calls on a service whose Close was called.
var ErrClosed = errors.New("the service is closed")

// New makes a service in state stopped. Close it when it has been stopped.
func New(name, kind string, spec Spec, d Deps) (*Service, error) {
	s := blank(name, kind, spec, d)
	err := s.listen(-1)
	if err != nil {
		return nil, err
	}
	if s.plan, err = s.prepare(spec); err != nil {
		s.notify.Close()
		return nil, err
	}
	s.publish()
	go s.loop()
	return s, nil
}

func blank(name, kind string, spec Spec, d Deps) *Service {
	return &Service{
		name: name, kind: kind, deps: d, began: time.Now(), since: time.Now(), last: Stopped,
		work: make(chan func(), 64), stop: make(chan struct{}), done: make(chan struct{}), instances: map[int]*instance{},
		m: newMachine(spec.Policy, rand.Float64),
	}
}

// Name of the service.
func (s *Service) Name() string { return s.name }

// Kind of the service: proxy, agent or service.
func (s *Service) Kind() string { return s.kind }

// Start starts the service and waits until it is ready or has failed for the first time; it is then retried in the background.
func (s *Service) Start(ctx context.Context) error {
	return s.wait(ctx, func() chan error {
		s.start()
		return s.await(untilReady)
	})
}

// Stop stops the service and waits until all its processes are gone.
func (s *Service) Stop(ctx context.Context) error {
	return s.wait(ctx, func() chan error {
		s.apply(event{kind: evStop})
		return s.await(func(m *machine) (bool, error) { return m.state == Stopped && s.leaving == 0, nil })
	})
}

// Signal sends sig to every process the service was started as.
func (s *Service) Signal(ctx context.Context, sig syscall.Signal) error {
	return s.wait(ctx, func() chan error {
		for _, in := range s.instances {
			s.signal(in, sig)
		}
		return answer(nil)
	})
}

// Close releases the service. Stop comes first; processes that still run are killed.
func (s *Service) Close() {
	close(s.stop)
	<-s.done
	s.notify.Close()
}

// OpenNull opens what services get as standard input.
func OpenNull() (*os.File, error) { return os.Open(os.DevNull) }
