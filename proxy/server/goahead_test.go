package server

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// A client that does not read what it is sent cannot hold the goroutine that writes 100 (Continue): the send timeout ends the wait.
func TestGoAheadToAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dial := func() (client, served *net.TCPConn) {
		a, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close(); b.Close() })
		return a.(*net.TCPConn), b.(*net.TCPConn)
	}
	try := func(full bool) (told bool, u *upload, client *net.TCPConn) {
		client, served := dial()
		_, up := dial()
		c := &conn{settings: &Listener{}}
		c.settings.SendTimeout = 100 * time.Millisecond
		w := &work{}
		w.up.tcp = up
		if err := c.wire.init(served); err != nil {
			t.Fatal(err)
		}
		if full {
			fill(t, served)
		}
		u = &upload{c: c, w: w, goAhead: make(chan struct{})}
		u.proceed()
		return u.awaitGoAhead(), u, client
	}
	if told, u, _ := try(true); told || !u.failed.Load() || u.code != "client_gone" {
		t.Errorf("told %v, failed %v, %q", told, u.failed.Load(), u.code)
	}
	told, u, client := try(false)
	got := make([]byte, len(continueLine))
	if _, err := io.ReadFull(client, got); !told || u.failed.Load() || err != nil || string(got) != string(continueLine) {
		t.Errorf("told %v, failed %v, the client got %q, %v", told, u.failed.Load(), got, err)
	}
}

// fill writes until the peer's and our own buffers take no byte more.
func fill(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	big, one := make([]byte, 1<<20), make([]byte, 1)
	for p := big; ; {
		_ = raw.Write(func(fd uintptr) bool { _, err = syscall.Write(int(fd), p); return true })
		switch {
		case err == nil:
			continue
		case err != syscall.EAGAIN:
			t.Fatal(err)
		case len(p) > 1:
			p = one
		default:
			return
		}
	}
}
