// Package sockets holds every listening socket of the stack: the proxy's listeners, its admin socket and the agents' sockets.
//
// A socket that the supervisor holds outlives the processes that accept on it. While a service restarts, connections wait in the backlog instead of being
// refused. Sockets are opened here once (or taken over from the service manager), handed to every instance of a service and closed only when the
// configuration no longer names them.
package sockets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec names a socket to hold.
type Spec struct {
	Name    string // what the service calls it; unique within the service
	Network string // tcp or unix
	Address string // host:port or path
	Kind    string // proxy, agent, admin, metrics
}

// key is the address: a listener that is only renamed keeps its socket. Sockets of port 0 are told apart by name.
func (s Spec) key() string {
	if s.Network == "tcp" && strings.HasSuffix(s.Address, ":0") {
		return s.Network + "|" + s.Address + "|" + s.Name
	}
	return s.Network + "|" + s.Address
}

// Socket is one held socket.
type Socket struct {
	Spec
	Bound   string // the address really bound; differs from Address for port 0
	Adopted bool   // the service manager made it
	fd      int
}

// FD is the descriptor to hand over. It stays the holder's.
func (s *Socket) FD() int { return s.fd }

// Holder keeps sockets. It is safe for concurrent use.
type Holder struct {
	mu    sync.Mutex
	held  map[string]*Socket
	spare []*inherited
	odd   []string
}

// inherited is a socket from the service manager that no Spec has claimed yet.
type inherited struct {
	name, network, address string
	fd                     int
}

// lost says that nobody can connect any more: the file of a Unix socket was removed. Abstract names have none.
func (in *inherited) lost() bool {
	if in.network != "unix" || strings.HasPrefix(in.address, "@") {
		return false
	}
	info, err := os.Lstat(in.address)
	return err != nil || info.Mode()&fs.ModeSocket == 0
}

// NewHolder takes over the given listening sockets; files that are something else are closed and reported.
func NewHolder(files []*os.File) (h *Holder, ignored []string) {
	h = &Holder{held: map[string]*Socket{}}
	for _, f := range files {
		in, err := inherit(f)
		if err != nil {
			ignored = append(ignored, fmt.Sprintf("%s: %v", f.Name(), err))
		} else {
			h.spare = append(h.spare, in)
		}
		f.Close()
	}
	return h, ignored
}

func inherit(f *os.File) (*inherited, error) {
	fd, err := duplicate(f)
	if err != nil {
		return nil, err
	}
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on == 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("not a listening stream socket")
	}
	network, address, err := localAddress(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &inherited{name: f.Name(), network: network, address: address, fd: fd}, nil
}

// Listen returns the held socket for spec, an inherited one that fits it, or a new one. opened says that it was not held before.
func (h *Holder) Listen(spec Spec) (s *Socket, opened bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.held[spec.key()]; s != nil {
		renamed := *s
		renamed.Spec = spec
		h.held[spec.key()] = &renamed
		return &renamed, false, nil
	}
	s = h.claim(spec)
	if s == nil {
		if s, err = open(spec); err != nil {
			return nil, false, err
		}
	}
	h.held[spec.key()] = s
	return s, true, nil
}

// claim finds an inherited socket by address, else by name.
func (h *Holder) claim(spec Spec) *Socket {
	pick := -1
	for i, in := range h.spare {
		if in.lost() {
			continue
		}
		if in.name == spec.StoreName() { // our own, stored by an earlier supervisor
			pick = i
			break
		}
		if in.network == spec.Network && sameAddress(spec, in.address) {
			pick = i
			break
		}
		if pick < 0 && in.network == spec.Network && in.name == spec.Name {
			pick = i
		}
	}
	if pick < 0 {
		return nil
	}
	in := h.spare[pick]
	h.spare = append(h.spare[:pick], h.spare[pick+1:]...)
	if !sameAddress(spec, in.address) && !stored(in.name) {
		h.odd = append(h.odd, fmt.Sprintf("the inherited socket named %q listens on %s, not on %s as configured: it is used because of its name", in.name, in.address, spec.Address))
	}
	return &Socket{Spec: spec, Bound: in.address, Adopted: !stored(in.name), fd: in.fd}
}

// Odd says once what was strange about the inherited sockets that are used.
func (h *Holder) Odd() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	odd := h.odd
	h.odd = nil
	return odd
}

// sameAddress also takes systemd's dual-stack [::]:80 for 0.0.0.0:80.
func sameAddress(spec Spec, bound string) bool {
	if spec.Address == bound {
		return true
	}
	if spec.Network != "tcp" {
		return filepath.Clean(spec.Address) == filepath.Clean(bound)
	}
	want, err1 := netip.ParseAddrPort(spec.Address)
	have, err2 := netip.ParseAddrPort(bound)
	if err1 != nil || err2 != nil || want.Port() != have.Port() {
		return false
	}
	return want.Addr().Unmap() == have.Addr().Unmap() || want.Addr() == netip.IPv4Unspecified() && have.Addr() == netip.IPv6Unspecified()
}

// Release closes the socket of spec; a Unix socket's file goes with it unless the service manager made it.
func (h *Holder) Release(spec Spec) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.held[spec.key()]; s != nil {
		delete(h.held, spec.key())
		s.close()
	}
}

// Retain releases every socket that is not in specs.
func (h *Holder) Retain(specs []Spec) (released []Spec) {
	want := map[string]bool{}
	for _, s := range specs {
		want[s.key()] = true
	}
	for _, s := range h.Held() {
		if !want[s.key()] {
			released = append(released, s.Spec)
			h.Release(s.Spec)
		}
	}
	return released
}

// Close closes all sockets.
func (h *Holder) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, s := range h.held {
		delete(h.held, k)
		s.close()
	}
	for _, in := range h.spare {
		unix.Close(in.fd)
	}
	h.spare = nil
}

// Unclaimed lists the inherited sockets that nothing uses.
func (h *Holder) Unclaimed() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for _, in := range h.spare {
		if !stored(in.name) {
			list = append(list, fmt.Sprintf("%s, named %q", in.address, in.name))
		}
	}
	return list
}

// Held lists the sockets in a steady order.
func (h *Holder) Held() []*Socket {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]*Socket, 0, len(h.held))
	for _, s := range h.held {
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].key() < list[j].key() })
	return list
}

func (s *Socket) close() {
	unix.Close(s.fd)
	if s.Network == "unix" && !s.Adopted {
		os.Remove(s.Address)
	}
}

// open binds a new socket.
func open(spec Spec) (*Socket, error) {
	if spec.Network == "unix" {
		if err := clearStale(spec.Address); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ln, err := (&net.ListenConfig{}).Listen(ctx, spec.Network, spec.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for %s: %v", spec.Name, err)
	}
	defer ln.Close()
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
		if err := os.Chmod(spec.Address, 0o660); err != nil {
			return nil, fmt.Errorf("cannot listen for %s: %v", spec.Name, err)
		}
	}
	fd, err := duplicate(ln.(syscall.Conn))
	if err != nil {
		return nil, fmt.Errorf("cannot hold socket of %s: %v", spec.Name, err)
	}
	return &Socket{Spec: spec, Bound: ln.Addr().String(), fd: fd}, nil
}

// clearStale makes room for a Unix socket. A file that is not a socket is left alone, and so is one that somebody answers on.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if os.IsNotExist(err) {
		return os.MkdirAll(filepath.Dir(path), 0o750)
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("cannot listen on %s: a file that is no socket is in the way", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("cannot listen on %s: another process listens there", path)
	case !errors.Is(err, syscall.ECONNREFUSED): // no permission, a full backlog: that does not mean that nobody listens
		return fmt.Errorf("cannot tell whether another process listens on %s: %v", path, err)
	}
	return os.Remove(path)
}

// duplicate copies the descriptor. The runtime keeps its own copy non-blocking, and so stays the shared file description.
func duplicate(c syscall.Conn) (int, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	if err := rc.Control(func(n uintptr) { fd, dupErr = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	return fd, dupErr
}

func localAddress(fd int) (network, address string, err error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", "", err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return "tcp", netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String(), nil
	case *unix.SockaddrInet6:
		return "tcp", netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String(), nil
	case *unix.SockaddrUnix:
		return "unix", sa.Name, nil
	}
	return "", "", fmt.Errorf("unknown address family")
}
