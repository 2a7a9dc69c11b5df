package exec

import (
	"errors"
	"os"
	osexec "os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAttach(t *testing.T) {
	cmd := osexec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	start, err := StartTime(pid)
	if err != nil || start == 0 {
		t.Fatalf("%d %v", start, err)
	}
	if _, err := Attach(pid, start+1); !errors.Is(err, ErrGone) {
		t.Errorf("another process of the same number: %v", err)
	}
	p, err := Attach(pid, start)
	if err != nil || p.Alien() {
		t.Fatalf("%v", err)
	}
	p.Signal(unix.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if e, err := p.Reap(); err != nil || e.String() != "signal TERM" || e.Success() {
		t.Errorf("%v %v", e, err)
	}
	if _, err := Attach(pid, start); !errors.Is(err, ErrGone) {
		t.Errorf("after the end: %v", err)
	}
}

// TestAttachAlien watches a process of another parent: its end is noticed, its status is not known, and that is said.
func TestAttachAlien(t *testing.T) {
	cmd := osexec.Command("/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!")
	out, err := cmd.Output() // the shell ends, somebody else becomes the parent
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	for _, c := range out {
		if c >= '0' && c <= '9' {
			pid = pid*10 + int(c-'0')
		}
	}
	start, err := StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Attach(pid, start)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Alien() {
		t.Skip("this process is a subreaper")
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("ended early: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	p.Kill()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if e, err := p.Reap(); err != nil || !e.Unknown || e.Success() || e.String() != "ended, exit status unknown: it was adopted" {
		t.Errorf("%v %v", e, err)
	}
}

// TestReplaceNeedsTheFirstThread: any other thread's services would die with it.
func TestReplaceNeedsTheFirstThread(t *testing.T) {
	l := NewLauncher()
	defer l.Close()
	if err := l.thread.Replace("/bin/true", []string{"true"}, os.Environ(), nil, nil); err == nil {
		t.Error("replaced")
	}
}

// TestReplaceFails: after a failure, or a refusal at the last moment, the descriptors are closed on exec again and signals arrive.
func TestReplaceFails(t *testing.T) {
	thread := &Thread{calls: make(chan func()), first: true}
	served := make(chan struct{})
	go func() { defer close(served); thread.Serve() }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fd := int(w.Fd())
	if err := thread.Replace("/nonexistent", []string{"x"}, nil, []int{fd}, func() error { return nil }); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v", err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %d %v", flags, err)
	}
	refusal := errors.New("no")
	if err := thread.Replace("/bin/true", []string{"true"}, nil, nil, func() error { return refusal }); err != refusal {
		t.Errorf("%v", err)
	}
	for _, sig := range ignored {
		got := make(chan os.Signal, 1)
		signal.Notify(got, sig)
		thread.do(func() { defer dispose(sigIgn, ignored...)(); unix.Kill(os.Getpid(), sig) }) // lost
		unix.Kill(os.Getpid(), sig)
		select {
		case <-got:
		case <-time.After(10 * time.Second):
			t.Errorf("%v does not arrive any more", sig)
		}
		select {
		case <-got:
			t.Errorf("%v arrived though it was ignored", sig)
		default:
		}
		signal.Stop(got)
	}
	thread.Close()
	<-served
}
