package exec

import (
	"errors"
	"runtime"
	"syscall"
	"time"
	"unsafe"

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

// ignored are the signals that must not end this process while neither the old nor the new program handles them. The Go runtime of the new one would end it for any that was only blocked, and leaves SIGHUP and
// SIGINT ignored until somebody asks for them; the others end nothing once it runs. Not so SIGTERM, which is left alone: better a stop without order than none.
var ignored = []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE}

// Replace executes another program in place of this one: same process, same children. The descriptors in keep stay open in it. last is called when nothing is left to do but that, and may
// still refuse. It returns only when that failed, and then nothing has changed.
func (t *Thread) Replace(path string, args, env []string, keep []int, last func() error) error {
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
		defer dispose(sigIgn, ignored...)()
		defer dispose(sigDfl, syscall.SIGTERM)() // from now on it kills: one that this program takes now would be lost
		time.Sleep(settle)                       // and one that it has just taken has to get to where last sees it
		if err = last(); err == nil {
			err = syscall.Exec(path, args, env)
		}
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

// sigaction is the kernel's struct on 64-bit Linux.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// settle is how long a signal that was taken may need to reach whoever was notified.
const settle = 5 * time.Millisecond

// What the kernel does with a signal.
const (
	sigDfl = 0
	sigIgn = 1
)

// dispose has the kernel itself deal with the signals until restore is called. Package signal cannot do that: it forgets who was notified.
func dispose(handler uintptr, signals ...syscall.Signal) (restore func()) {
	before := make([]sigaction, len(signals))
	set := func(sig syscall.Signal, now, was *sigaction) {
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(now)), uintptr(unsafe.Pointer(was)), unsafe.Sizeof(now.mask), 0, 0)
	}
	for i, sig := range signals {
		set(sig, &sigaction{handler: handler}, &before[i])
	}
	return func() {
		for i, sig := range signals {
			set(sig, &before[i], nil)
		}
	}
}
