package exec

import (
	"errors"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Thread is an operating system thread on which services are forked and on which this program may replace itself.
//
// The kernel sends the parent-death signal when the parent *thread* ends, not the process, and Go ends threads when it likes. And when a program executes
// another one, all its threads end but the one that calls, which becomes the first thread of the new program. So everything that must not end the services has
// to happen on one thread: the first one. Only main has it, and gives it away with Serve.
type Thread struct {
	calls chan func()
	first bool
}

// FirstThread is the thread that main was called on. main has locked it in an init function and calls Serve.
func FirstThread() *Thread { return &Thread{calls: make(chan func()), first: true} }

// Serve lends the calling goroutine's thread until Close.
func (t *Thread) Serve() {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	for fn := range t.calls {
		fn()
	}
}

// Close ends Serve.
func (t *Thread) Close() { close(t.calls) }

// do runs fn on the thread and waits for it.
func (t *Thread) do(fn func()) {
	done := make(chan struct{})
	t.calls <- func() { fn(); close(done) }
	<-done
}

// delayed are the signals that reach the next program rather than kill it before it can take them.
var delayed = []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}

// Replace executes another program in place of this one: same process, same children. The descriptors in keep stay open in it. It returns only when that
// failed, and then nothing has changed.
func (t *Thread) Replace(path string, args, env []string, keep []int) error {
	if !t.first {
		return errors.New("this supervisor does not own its first thread")
	}
	var err error
	t.do(func() {
		// A fork in between would leak the descriptors into a service.
		syscall.ForkLock.Lock()
		defer syscall.ForkLock.Unlock()
		setCloseOnExec(keep, false)
		defer setCloseOnExec(keep, true)
		var before unix.Sigset_t
		if err = unix.PthreadSigmask(unix.SIG_BLOCK, sigset(delayed), &before); err != nil {
			return
		}
		defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
		err = syscall.Exec(path, args, env)
	})
	return err
}

func setCloseOnExec(fds []int, on bool) {
	flag := 0
	if on {
		flag = unix.FD_CLOEXEC
	}
	for _, fd := range fds {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag)
	}
}

func sigset(signals []unix.Signal) *unix.Sigset_t {
	const bits = 64
	var set unix.Sigset_t
	for _, s := range signals {
		n := uint(s) - 1
		set.Val[n/bits] |= 1 << (n % bits)
	}
	return &set
}
