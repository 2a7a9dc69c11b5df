package daemon

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// readGroup is the group whose members may read.
const readGroup = "sentinel"

// peer is who connected, as the kernel tells.
type peer struct {
	known  bool
	uid    uint32
	gid    uint32
	groups []uint32 // supplementary
	read   int64    // gid of readGroup, -1 = there is none
	boxed  bool     // it is a process in a sandbox of ours
}

// access decides whether a peer may do something.
type access func(peer) bool

// writeAccess: the owner of the stack and root.
func writeAccess(p peer) bool {
	return p.known && !p.boxed && (p.uid == 0 || p.uid == uint32(os.Geteuid()))
}

// readAccess: those who may write, and the group sentinel.
func readAccess(p peer) bool {
	if writeAccess(p) {
		return true
	}
	return p.known && !p.boxed && p.read >= 0 && (int64(p.gid) == p.read || slices.Contains(p.groups, uint32(p.read)))
}

type peerKey struct{}

func peerOf(r *http.Request) peer {
	p, _ := r.Context().Value(peerKey{}).(peer)
	return p
}

// withPeer asks once per connection. A peer that cannot be known may do nothing.
func (d *Daemon) withPeer(ctx context.Context, c net.Conn) context.Context {
	if l, ok := c.(*limitedConn); ok {
		c = l.Conn
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return ctx
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return ctx
	}
	var p peer
	rc.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return
		}
		p = peer{known: true, uid: cred.Uid, gid: cred.Gid, groups: peerGroups(int(fd)), read: readGID(), boxed: boxed(int(cred.Pid), cred.Uid, d.forest.Root())}
	})
	return context.WithValue(ctx, peerKey{}, p)
}

// readGID looks the group up each time: it may be made while the stack runs.
func readGID() int64 {
	g, err := user.LookupGroup(readGroup)
	if err != nil {
		return -1
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return -1
	}
	return int64(gid)
}

// shareWithGroup lets the read group reach the control socket. What it may do there is decided by credentials.
func shareWithGroup(dir, socket string) {
	os.Chmod(socket, 0o660)
	if gid := readGID(); gid >= 0 && os.Chown(socket, -1, int(gid)) == nil {
		if info, err := os.Stat(dir); err == nil && os.Chown(dir, -1, int(gid)) == nil {
			os.Chmod(dir, info.Mode().Perm()|0o010) // to pass through, not to list
		}
	}
}
