package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// socketPair returns the two ends of a connection over a Unix socket.
func socketPair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.UnixConn), s.(*net.UnixConn)
}

func quietPair(t *testing.T) (*quiet, *net.UnixConn) {
	t.Helper()
	a, b := socketPair(t)
	q, ok := Quiet(a).(*quiet)
	if !ok {
		t.Fatal("a Unix socket is not made quiet")
	}
	t.Cleanup(func() { q.Close() })
	return q, b
}

// events is what the runtime's poller would be woken with for fd from now on.
func events(t *testing.T, fd int) func() int {
	t.Helper()
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(ep) })
	const edge = syscall.EPOLLET & 0xffffffff // negative on some architectures
	err = syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edge})
	if err != nil {
		t.Fatal(err)
	}
	return func() int {
		n, err := syscall.EpollWait(ep, make([]syscall.EpollEvent, 4), 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

// The reason for quiet, and that it works: what the peer reads wakes an ordinary poller, and not that of a quiet connection; what the peer writes wakes both.
func TestQuietIsNotWokenWhenThePeerReads(t *testing.T) {
	q, peer := quietPair(t)
	ordinary, wakes := events(t, q.fd), events(t, int(q.in.file.Fd()))
	ordinary()
	wakes()
	one := make([]byte, 1)
	if _, err := q.Write(one); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(peer, one); err != nil {
		t.Fatal(err)
	}
	if ordinary() == 0 {
		t.Error("the kernel reports nothing when the peer reads: quiet is not needed any more")
	}
	if wakes() != 0 {
		t.Error("woken because the peer has read")
	}
	if _, err := peer.Write(one); err != nil {
		t.Fatal(err)
	}
	if wakes() == 0 {
		t.Error("not woken by data")
	}
}

func TestQuietCarriesBytesBothWays(t *testing.T) {
	q, peer := quietPair(t)
	const size = 8 << 20 // more than the socket holds: writing has to wait, again and again
	send := make([]byte, size)
	rand.New(rand.NewSource(1)).Read(send)
	var wg sync.WaitGroup
	for _, dir := range []struct {
		from io.Writer
		to   io.Reader
	}{{q, peer}, {peer, q}} {
		wg.Go(func() {
			if n, err := dir.from.Write(send); n != size || err != nil {
				t.Error(n, err)
			}
		})
		wg.Go(func() {
			got := make([]byte, size)
			if _, err := io.ReadFull(dir.to, got); err != nil || !bytes.Equal(got, send) {
				t.Error("other bytes arrived", err)
			}
		})
	}
	wg.Wait()
	peer.Close()
	if n, err := q.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d, %v after the peer closed", n, err)
	}
}

func TestQuietDeadlines(t *testing.T) {
	q, peer := quietPair(t)
	past, b := time.Unix(1, 0), make([]byte, 1)
	if err := q.SetReadDeadline(past); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if _, err := q.Write(b); err != nil {
		t.Errorf("a read deadline ends a write: %v", err)
	}
	if err := q.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Read(b); err != nil {
		t.Errorf("read after the deadline was taken back: %v", err)
	}
	// A wait that has begun ends as well, and the bytes that a full socket has taken are told.
	if err := q.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := q.Write(make([]byte, 8<<20)); n == 0 || n >= 8<<20 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %d, %v", n, err)
	}
}

func TestQuietCloseEndsWaits(t *testing.T) {
	for _, wait := range []struct {
		what string
		do   func(q *quiet) error
	}{
		{"read", func(q *quiet) error { _, err := q.Read(make([]byte, 1)); return err }},
		{"write", func(q *quiet) error { _, err := q.Write(make([]byte, 64<<20)); return err }},
	} {
		q, _ := quietPair(t)
		done := make(chan error)
		go func() { done <- wait.do(q) }()
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", wait.what, err)
		}
		if err := wait.do(q); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s afterwards: %v", wait.what, err)
		}
		if err := q.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed twice: %v", err)
		}
	}
}

// Closing takes the descriptors along, the one of the connection it replaced included.
func TestQuietLeavesNoDescriptor(t *testing.T) {
	count := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	quietPair(t) // the poller's own
	before := count()
	for range 50 {
		a, b := socketPair(t)
		Quiet(a).Close()
		b.Close()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestOtherConnectionsStayAsTheyAre(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if Quiet(a) != a {
		t.Error("a pipe was replaced")
	}
}
