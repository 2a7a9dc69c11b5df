package upstream

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func socketFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") // t.TempDir is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestUnixTargetIsPooled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(socketFolder(t), "app.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := newTestPool(t, upstreamConfig("unix:"+path), testDeps())
	tg := mustPick(t, p)
	c := mustAcquire(t, tg, false)
	if c.Remote().IsValid() {
		t.Errorf("a Unix socket has the address %v", c.Remote())
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Release(true)
	mustAcquire(t, tg, true).Release(true)
	// A peer that goes away is noticed before the connection is used again.
	server.Close()
	mustAcquire(t, tg, false).Release(false)
	if n := tg.Metrics().Stale.Load(); n != 1 {
		t.Errorf("%d stale connections, want 1", n)
	}
}

// A full backlog makes a client wait, as with TCP, and not fail; but no longer than until its deadline.
func TestUnixTargetWithFullBacklog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(socketFolder(t), "full.sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	first, err := dialUnix(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := dialUnix(short, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with a full backlog: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		long, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, err := dialUnix(long, path)
		if err == nil {
			c.Close()
		}
		got <- err
	}()
	nfd, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(nfd)
	if err := <-got; err != nil {
		t.Errorf("after an accept: %v", err)
	}
}
