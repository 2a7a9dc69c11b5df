package sockets

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func listenOn(t *testing.T, h *Holder, spec Spec) *Socket {
	t.Helper()
	s, _, err := h.Listen(spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestResume: what Save lists is held by another holder; a descriptor that is something else is refused and nothing is touched.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	specs := []Spec{{"web", "tcp", "127.0.0.1:0", "proxy"}, {"agent", "unix", filepath.Join(dir, "a.sock"), "agent"}}
	h, _ := NewHolder(nil)
	for _, s := range specs {
		listenOn(t, h, s)
	}
	saved := h.Save()
	next, _, err := Resume(saved, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Abandon()
	for _, s := range specs {
		if !next.Offers(s) {
			t.Errorf("%v is not held", s)
		}
		held, opened, err := next.Listen(s)
		if err != nil || opened {
			t.Fatalf("%v %v", opened, err)
		}
		c, err := net.Dial(s.Network, held.Bound)
		if err != nil {
			t.Errorf("nobody listens: %v", err)
			continue
		}
		c.Close()
	}

	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	forged := next.Save()
	forged[0].FD = int(null.Fd())
	if _, _, err := Resume(forged, nil); err == nil || !strings.Contains(err.Error(), "no listening socket") {
		t.Errorf("%v", err)
	}
	swapped := next.Save()
	swapped[0].FD, swapped[1].FD = swapped[1].FD, swapped[0].FD
	if _, _, err := Resume(swapped, nil); err == nil || !strings.Contains(err.Error(), "listens on") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(specs[1].Address); err != nil {
		t.Errorf("a refusal removed the socket's file: %v", err)
	}
	os.Remove(specs[1].Address)
	if _, _, err := Resume(next.Save(), nil); err == nil || !strings.Contains(err.Error(), "was removed") {
		t.Errorf("a socket that nobody can reach is taken over: %v", err)
	}
	next.Close()
}

// TestStored: a socket that comes back from the service manager's store is claimed by its address, even an ephemeral one, belongs to the stack, and is dropped when nothing names it.
func TestStored(t *testing.T) {
	h, _ := NewHolder(nil)
	web := Spec{"web", "tcp", "127.0.0.1:0", "proxy"}
	bound := listenOn(t, h, web)
	back := func() []*os.File {
		fd, err := unix.FcntlInt(uintptr(bound.FD()), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return []*os.File{os.NewFile(uintptr(fd), web.StoreName())}
	}
	next, ignored := NewHolder(back())
	if len(ignored) > 0 {
		t.Fatal(ignored)
	}
	s := listenOn(t, next, web)
	if s.Bound != bound.Bound || s.Adopted {
		t.Errorf("%+v, was %+v", s, bound)
	}
	if names := next.Drop(); len(names) > 0 {
		t.Errorf("dropped %v", names)
	}
	next.Close()
	other, _ := NewHolder(back())
	listenOn(t, other, Spec{"else", "tcp", "127.0.0.1:0", "proxy"})
	if u := other.Unclaimed(); len(u) > 0 {
		t.Errorf("the operator is told of what is ours: %v", u)
	}
	if names := other.Drop(); len(names) != 1 || names[0] != web.StoreName() {
		t.Errorf("dropped %v", names)
	}
	other.Close()
	h.Close()
}

// TestOdd: a socket that fits only by name is used, and that is said.
func TestOdd(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	dup, err := unix.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	named := os.NewFile(uintptr(dup), "web")
	h, _ := NewHolder([]*os.File{named})
	defer h.Close()
	if s := listenOn(t, h, Spec{"web", "tcp", "127.0.0.1:1", "proxy"}); s.Bound != ln.Addr().String() {
		t.Errorf("%+v", s)
	}
	if odd := h.Odd(); len(odd) != 1 || !strings.Contains(odd[0], ln.Addr().String()) || !strings.Contains(odd[0], "127.0.0.1:1") {
		t.Errorf("%v", odd)
	}
}

// TestFromProcess takes a listening socket out of another process, and nothing else.
func TestFromProcess(t *testing.T) {
	h, _ := NewHolder(nil)
	defer h.Close()
	web := Spec{"web", "tcp", "127.0.0.1:0", "proxy"}
	listenOn(t, h, web)
	saved := h.Save()[0]
	ln, err := listenerFile(saved.FD)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sleep", "60")
	cmd.ExtraFiles = []*os.File{ln}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	if _, err := FromProcess(pidfd, cmd.Process.Pid, saved.Inode+1); err == nil {
		t.Error("a socket that the process does not have")
	}
	fd, err := FromProcess(pidfd, cmd.Process.Pid, saved.Inode)
	if err == unix.EPERM {
		t.Skip("this user may not trace processes")
	}
	if err != nil {
		t.Fatal(err)
	}
	saved.FD = fd
	next, _, err := Resume([]Saved{saved}, nil)
	unix.Close(fd)
	if err != nil || !next.Offers(web) {
		t.Fatal(err)
	}
	next.Abandon()
}

func listenerFile(fd int) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return os.NewFile(uintptr(dup), "listener"), err
}
