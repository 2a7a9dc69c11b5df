package sockets

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func holder(t *testing.T, files ...*os.File) *Holder {
	t.Helper()
	h, ignored := NewHolder(files)
	if len(ignored) > 0 {
		t.Fatalf("ignored %v", ignored)
	}
	t.Cleanup(h.Close)
	return h
}

func listen(t *testing.T, h *Holder, s Spec) *Socket {
	t.Helper()
	sock, _, err := h.Listen(s)
	if err != nil {
		t.Fatal(err)
	}
	return sock
}

func dials(network, address string) bool {
	c, err := net.Dial(network, address)
	if err == nil {
		c.Close()
	}
	return err == nil
}

func TestHeldSocketAcceptsWithoutAnyProcess(t *testing.T) {
	t.Parallel()
	h := holder(t)
	path := filepath.Join(t.TempDir(), "sub", "a.sock")
	for _, spec := range []Spec{{"web", "tcp", "127.0.0.1:0", "proxy"}, {"agent", "unix", path, "agent"}} {
		s := listen(t, h, spec)
		if !dials(spec.Network, s.Bound) {
			t.Errorf("%v refuses", spec)
		}
		if flags, _ := unix.FcntlInt(uintptr(s.FD()), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%v would leak into other programs", spec)
		}
		again, opened, err := h.Listen(spec)
		if err != nil || opened || again.FD() != s.FD() {
			t.Errorf("%v is opened twice: %v", spec, err)
		}
		h.Release(spec)
		if dials(spec.Network, s.Bound) {
			t.Errorf("%v still listens", spec)
		}
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket's file is left: %v", err)
	}
}

func TestRenamedListenerKeepsItsSocket(t *testing.T) {
	t.Parallel()
	h := holder(t)
	path := filepath.Join(t.TempDir(), "a.sock")
	before := listen(t, h, Spec{"old", "unix", path, "agent"})
	after, opened, err := h.Listen(Spec{"new", "unix", path, "agent"})
	if err != nil || opened || after.FD() != before.FD() || h.Held()[0].Name != "new" {
		t.Errorf("%+v %v %v", after, opened, err)
	}
}

func TestRetain(t *testing.T) {
	t.Parallel()
	h := holder(t)
	dir := t.TempDir()
	a, b := Spec{"a", "unix", filepath.Join(dir, "a"), "agent"}, Spec{"b", "unix", filepath.Join(dir, "b"), "agent"}
	listen(t, h, a)
	listen(t, h, b)
	if gone := h.Retain([]Spec{b}); len(gone) != 1 || gone[0] != a {
		t.Errorf("released %v", gone)
	}
	if dials("unix", a.Address) || !dials("unix", b.Address) {
		t.Error("the wrong one was closed")
	}
}

func TestStaleSocketIsReplacedAndAnythingElseIsNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	h := holder(t)
	if s := listen(t, h, Spec{"a", "unix", stale, "agent"}); !dials("unix", s.Bound) {
		t.Error("refuses")
	}
	alive, err := net.Listen("unix", filepath.Join(dir, "alive"))
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	file := filepath.Join(dir, "file")
	os.WriteFile(file, []byte("precious"), 0o600)
	for path, want := range map[string]string{alive.Addr().String(): "another process", file: "no socket"} {
		if _, _, err := h.Listen(Spec{"a", "unix", path, "agent"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file is gone")
	}
}

func TestInheritedSocketsAreClaimedByAddressThenByName(t *testing.T) {
	t.Parallel()
	make := func(network, address, name string) (*os.File, string) {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fd, _ := unix.Dup(int(f.Fd()))
		return os.NewFile(uintptr(fd), name), ln.Addr().String()
	}
	f1, addr1 := make("tcp", "127.0.0.1:0", "x")
	f2, addr2 := make("tcp", "127.0.0.1:0", "web")
	f3, addr3 := make("tcp", "[::]:0", "dual")
	h := holder(t, f1, f2, f3)
	if s := listen(t, h, Spec{"first", "tcp", addr1, "proxy"}); !s.Adopted || s.Bound != addr1 {
		t.Errorf("by address: %+v", s)
	}
	if s := listen(t, h, Spec{"web", "tcp", "127.0.0.1:1", "proxy"}); !s.Adopted || s.Bound != addr2 {
		t.Errorf("by name: %+v", s)
	}
	_, port, _ := net.SplitHostPort(addr3)
	if s := listen(t, h, Spec{"any", "tcp", "0.0.0.0:" + port, "proxy"}); !s.Adopted {
		t.Errorf("dual stack: %+v", s)
	}
	if left := h.Unclaimed(); len(left) != 0 {
		t.Errorf("unclaimed: %v", left)
	}
}

func TestInheritedFileThatDoesNotListenIsReported(t *testing.T) {
	t.Parallel()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	h, ignored := NewHolder([]*os.File{f})
	defer h.Close()
	if len(ignored) != 1 {
		t.Errorf("ignored %v", ignored)
	}
}
