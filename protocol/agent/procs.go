package agent

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// procs fits the number of processors that the runtime schedules on to the load. Most agents are idle most of the time, and an idle runtime with several processors
// spends more on waking and searching threads than a handler takes; with one it costs about half. So an agent that has needed little for a while gets one,
// and all of them back within a moment of being busy. It looks only when events arrive.
type procs struct {
	all  int                  // what the process began with
	set  func(n int)          // runtime.GOMAXPROCS
	cpu  func() time.Duration // used by the process so far
	look atomic.Int64         // unix nanoseconds of the next look

	mu      sync.Mutex // guards everything below
	current int
	at      time.Time // of the last look
	used    time.Duration
	calm    time.Time // since when little was needed, zero = it is not
}

const (
	procsEvery = 50 * time.Millisecond
	procsCalm  = 5 * time.Second
	procsBusy  = 0.5  // of one processor: more gives all of them
	procsIdle  = 0.25 // of one processor: less, for procsCalm, leaves one
)

// newProcs returns nil, which does nothing, when the operator has chosen a number or there is only one.
func newProcs(getenv func(string) string) *procs {
	if all := runtime.GOMAXPROCS(0); all > 1 && getenv("GOMAXPROCS") == "" {
		return &procs{all: all, current: all, set: func(n int) { runtime.GOMAXPROCS(n) }, cpu: processCPU}
	}
	return nil
}

func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// arrived is called for every event; now is the time and waiting how many events are under way.
func (p *procs) arrived(now time.Time, waiting int64) {
	if p == nil || now.UnixNano() < p.look.Load() {
		return
	}
	p.look.Store(now.Add(procsEvery).UnixNano())
	p.mu.Lock()
	defer p.mu.Unlock()
	used, elapsed := p.cpu(), now.Sub(p.at)
	share := float64(used-p.used) / float64(max(elapsed, 1))
	first := p.at.IsZero()
	p.at, p.used = now, used
	switch {
	case first:
		p.calm = now
	case share >= procsBusy || waiting > int64(p.current)*4:
		p.calm = time.Time{}
		p.use(p.all)
	case share >= procsIdle:
		p.calm = time.Time{}
	case p.calm.IsZero():
		p.calm = now
	case now.Sub(p.calm) >= procsCalm:
		p.use(1)
	}
}

// use is called with mu held.
func (p *procs) use(n int) {
	if p.current != n {
		p.current = n
		p.set(n)
	}
}
