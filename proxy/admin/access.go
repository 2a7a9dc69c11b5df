package admin

import (
	"context"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// peer is the process at the other end of the socket, as the kernel knows it.
type peer struct {
	uid, gid uint32
	known    bool
}

// access is one rule of the table.
type access func(peer) bool

// read is for root, the owner and the owner's group.
func read(p peer) bool { return write(p) || p.known && int(p.gid) == os.Getegid() }

// write is for root and the owner.
func write(p peer) bool { return p.known && (p.uid == 0 || int(p.uid) == os.Geteuid()) }

type peerKey struct{}

func peerOf(ctx context.Context) peer {
	p, _ := ctx.Value(peerKey{}).(peer)
	return p
}

// withPeer asks the kernel once for each connection. Whoever cannot be identified is nobody.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if l, ok := c.(*limitedConn); ok {
		c = l.Conn
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var p peer
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p = peer{uid: cred.Uid, gid: cred.Gid, known: true}
		}
	})
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// limitedListener lets at most cap(slots) connections exist at a time.
type limitedListener struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func limited(ln net.Listener, n int) net.Listener {
	return &limitedListener{Listener: ln, slots: make(chan struct{}, n), done: make(chan struct{})}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	free func()
}

func (c *limitedConn) Close() error {
	c.free()
	return c.Conn.Close()
}
