// Package sandbox turns what the configuration allows a service into what the kernel is told to refuse it, and reads back what is in force.
//
// Layers stand behind each other on purpose: what one of them lets through, by a bug or because this host does not have it, another one refuses.
package sandbox

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/sentinel-stack/sentinel/stack/exec/shim"
)

// Networks.
const (
	NetworkNone = "none" // Unix sockets that were handed down, and nothing else
	NetworkHost = "host"
)

// Policy is what a service may do; the zero value restricts nothing.
type Policy struct {
	NoNewPrivs   bool
	DropCaps     bool     // all capabilities but Capabilities
	Capabilities []string // without "CAP_", in lower case
	Seccomp      bool     // system calls that no service needs are refused
	Network      string   // "" = NetworkHost
	Files        bool     // only what Read and Write name, beside the system's programs and libraries
	SharedView   bool     // Files is left to Landlock: the file systems are those of everybody
	PrivateTmp   bool
	Read, Write  []string // absolute paths
	User, Group  string   // names or numbers, "" = the supervisor's; a user without a group has its own
}

// Zero reports whether nothing is restricted.
func (p *Policy) Zero() bool {
	return !p.NoNewPrivs && !p.DropCaps && !p.Seccomp && (p.Network == "" || p.Network == NetworkHost) && !p.Files && !p.PrivateTmp && p.User == "" && p.Group == ""
}

// views reports whether it has file systems of its own.
func (p *Policy) views() bool { return p.PrivateTmp || p.Files && !p.SharedView }

// Needs is what a service has to reach whatever its policy says.
type Needs struct {
	Program string   // absolute path
	Dir     string   // its working directory, "" = the supervisor's
	Sockets []string // paths it connects to, as that for its reports
	Closed  []string // directories of which it is to see nothing but what it needs, beside /run: that of the supervisor
}

// Host is what this machine can do.
type Host struct {
	Landlock int // version of the interface, 0 = none
	Root     bool
}

// ThisHost asks the kernel.
func ThisHost() Host { return Host{Landlock: landlockVersion(), Root: os.Geteuid() == 0} }

// Box makes the box for a service. The error says what cannot be done here at all; a layer that the kernel lacks is only found out when the service is started.
func (h Host) Box(p Policy, n Needs, strict bool) (shim.Box, error) {
	b := shim.Box{Strict: strict, NoNewPrivs: p.NoNewPrivs || p.Seccomp || p.Files, DropCaps: p.DropCaps}
	var err error
	if b.Switch, b.User, b.Group, err = h.identity(p.User, p.Group); err != nil {
		return b, err
	}
	if b.KeepCaps, err = capabilities(p.Capabilities); err != nil {
		return b, err
	}
	if h.Root || strict { // nobody else can make namespaces; Landlock and seccomp refuse the same
		b.NoNetwork = p.Network == NetworkNone
		if p.views() {
			files(&b, &p, &n)
		}
	}
	if p.Files && h.Landlock > 0 {
		b.Access = h.access(&p, &n)
	}
	if p.Seccomp {
		b.Filter = filter(families(p.Network))
	}
	return b, nil
}

// files makes the view: everything is read-only but what may be written, and what no service has to know is covered.
func files(b *shim.Box, p *Policy, n *Needs) {
	b.View, b.ReadOnly, b.PrivateTmp = true, p.Files, p.PrivateTmp
	b.Writable = slices.Clone(p.Write)
	needed := append(append([]string{n.Program, n.Dir}, n.Sockets...), append(slices.Clone(p.Read), p.Write...)...)
	if p.Files {
		for _, dir := range secretPlaces {
			if !slices.ContainsFunc(needed, func(path string) bool { return within(path, dir) }) {
				b.Hidden = append(b.Hidden, dir)
			}
		}
	}
	covered := []string{}
	if p.PrivateTmp {
		covered = append(covered, "/tmp", "/var/tmp")
	}
	if p.Files {
		b.Cover = append([]string{"/run"}, n.Closed...) // where the sockets are of those who do things for others: the supervisor, D-Bus, container engines
		covered = append(covered, b.Cover...)
		needed = append(needed, "/run/systemd/resolve")
	}
	for _, path := range needed {
		below := func(dir string) bool { return within(path, dir) && path != dir }
		if path != "" && slices.ContainsFunc(covered, below) && !slices.Contains(b.Keep, path) {
			b.Keep = append(b.Keep, path)
		}
	}
	slices.Sort(b.Keep) // a directory before what is in it
	slices.Sort(b.Cover)
}

// secretPlaces are covered unless something below them is needed.
var secretPlaces = []string{"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssh", "/root", "/home"}

// Secret reports whether a path is one of those that are covered for everybody who does not name them.
func Secret(path string) bool {
	return slices.ContainsFunc(secretPlaces, func(dir string) bool { return within(path, dir) || within(dir, path) })
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// identity finds the numbers of a user and a group.
func (h Host) identity(name, group string) (change bool, uid, gid uint32, err error) {
	if name == "" && group == "" {
		return false, 0, 0, nil
	}
	uid, gid = uint32(os.Geteuid()), uint32(os.Getegid())
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			u, err = user.LookupId(name)
		}
		switch n, bad := strconv.ParseUint(name, 10, 32); {
		case err == nil:
			uid, gid = number(u.Uid), number(u.Gid)
		case bad == nil: // a number nobody has a name for
			uid, gid = uint32(n), uint32(n)
		default:
			return false, 0, 0, fmt.Errorf("there is no user %s on this machine", name)
		}
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			g, err = user.LookupGroupId(group)
		}
		switch n, bad := strconv.ParseUint(group, 10, 32); {
		case err == nil:
			gid = number(g.Gid)
		case bad == nil:
			gid = uint32(n)
		default:
			return false, 0, 0, fmt.Errorf("there is no group %s on this machine", group)
		}
	}
	if uid == uint32(os.Geteuid()) && gid == uint32(os.Getegid()) {
		return false, uid, gid, nil
	}
	if !h.Root {
		return false, 0, 0, fmt.Errorf("only root can run a service as user %d, group %d", uid, gid)
	}
	return true, uid, gid, nil
}

func number(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}
