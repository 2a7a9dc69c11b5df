package run

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of inherited sockets that are not listeners of the configuration.
const (
	adminSocketName   = "sentinel-admin"
	metricsSocketName = "sentinel-metrics"
)

// firstFD is where inherited sockets begin, by sd_listen_fds(3).
const firstFD = 3

// inherited holds the sockets that whoever started us bound already.
type inherited struct {
	sockets []socket
}

type socket struct {
	name  string
	ln    net.Listener
	taken bool
}

// inherit takes over the sockets of sd_listen_fds(3): LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES. The variables are removed, so that no child believes them.
func inherit() (*inherited, error) {
	pid, fds, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, key := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(key)
	}
	in := &inherited{}
	if fds == "" || pid != strconv.Itoa(os.Getpid()) {
		return in, nil
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 || n > 1024 {
		return nil, fmt.Errorf("cannot take over sockets: LISTEN_FDS=%q", fds)
	}
	list := strings.Split(names, ":")
	for i := range n {
		fd := firstFD + i
		unix.CloseOnExec(fd)
		name := ""
		if i < len(list) {
			name = list[i]
		}
		f := os.NewFile(uintptr(fd), name)
		ln, err := net.FileListener(f)
		f.Close() // FileListener works on a copy
		if err != nil {
			in.close()
			return nil, fmt.Errorf("cannot take over socket %d (%s): %v", fd, name, err)
		}
		if u, ok := ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // the path belongs to whoever bound it
		}
		in.sockets = append(in.sockets, socket{name: name, ln: ln})
	}
	return in, nil
}

// tcp returns the inherited socket bound to addr, else the one called name, else nil. Each is given out once.
func (in *inherited) tcp(addr netip.AddrPort, name string) net.Listener {
	for i := range in.sockets {
		s := &in.sockets[i]
		if local, ok := s.ln.Addr().(*net.TCPAddr); ok && !s.taken && sameAddr(local.AddrPort(), addr) {
			s.taken = true
			return s.ln
		}
	}
	return in.named(name)
}

// unix returns the inherited socket at path, else the one called name, else nil.
func (in *inherited) unix(path, name string) net.Listener {
	for i := range in.sockets {
		s := &in.sockets[i]
		if local, ok := s.ln.Addr().(*net.UnixAddr); ok && !s.taken && filepath.Clean(local.Name) == filepath.Clean(path) {
			s.taken = true
			return s.ln
		}
	}
	return in.named(name)
}

// sameAddr treats 0.0.0.0:80 and an IPv6 socket that also takes IPv4 as different, and ::ffff:1.2.3.4 and 1.2.3.4 as the same.
func sameAddr(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().Unmap() == b.Addr().Unmap()
}

// named returns the inherited socket called name, or nil.
func (in *inherited) named(name string) net.Listener {
	for i := range in.sockets {
		if s := &in.sockets[i]; !s.taken && s.name == name {
			s.taken = true
			return s.ln
		}
	}
	return nil
}

// left returns the names of sockets that nobody asked for.
func (in *inherited) left() []string {
	var names []string
	for _, s := range in.sockets {
		if !s.taken {
			names = append(names, fmt.Sprintf("%s (%s)", s.name, s.ln.Addr()))
		}
	}
	return names
}

// close closes what nobody asked for.
func (in *inherited) close() {
	for _, s := range in.sockets {
		if !s.taken {
			s.ln.Close()
		}
	}
}
