package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/stack/exec/shim"
)

// What the kernel says of a process in a box is what was asked for: user, group, and the capabilities that were to stay.
func TestKeptCapabilitiesAndGroup(t *testing.T) {
	needHost(t)
	s := newScene(t, 0)
	for name, tt := range map[string]struct {
		policy Policy
		want   []string
	}{
		"nothing kept":       {Policy{DropCaps: true}, []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000"}},
		"one kept":           {Policy{DropCaps: true, Capabilities: []string{"net_bind_service"}}, []string{"CapEff:\t0000000000000400", "CapBnd:\t0000000000000400"}},
		"one kept by a user": {Policy{DropCaps: true, Capabilities: []string{"CAP_NET_BIND_SERVICE"}, User: "65534"}, []string{"CapEff:\t0000000000000400", "Uid:\t65534\t65534\t65534\t65534"}},
		"a group":            {Policy{Group: "65534"}, []string{"Gid:\t65534\t65534\t65534\t65534", "Uid:\t0\t0\t0\t0", "Groups:\t \n"}},
		"user and group":     {Policy{User: "nobody", Group: "12345"}, []string{"Uid:\t65534\t65534", "Gid:\t12345\t12345"}},
		"no new privileges":  {Policy{NoNewPrivs: true}, []string{"NoNewPrivs:\t1", "Seccomp:\t0"}},
		"filtered":           {Policy{Seccomp: true}, []string{"NoNewPrivs:\t1", "Seccomp:\t2"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := ThisHost().Box(tt.policy, Needs{Program: s.program, Dir: "/"}, true)
			if err != nil {
				t.Fatal(err)
			}
			_, said := s.run(t, b, "status")
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("lacks %q:\n%s", want, said)
				}
			}
		})
	}
}

// A program below a directory for temporary files, in a directory that is kept as well, can be started while it is running already.
func TestSecondInstanceBelowTmp(t *testing.T) {
	needHost(t)
	s := newScene(t, 0)
	dir := t.TempDir()
	program, err := os.ReadFile(s.program)
	if err != nil {
		t.Fatal(err)
	}
	s.program = filepath.Join(dir, "attacker")
	if err := os.WriteFile(s.program, program, 0o755); err != nil {
		t.Fatal(err)
	}
	first := exec.Command(s.program)
	first.Env = []string{attackVar + "=wait|"}
	in, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); first.Wait() }()
	b, err := ThisHost().Box(Policy{Files: true, PrivateTmp: true, Network: NetworkNone, Seccomp: true, DropCaps: true}, Needs{Program: s.program, Dir: dir}, true)
	if err != nil {
		t.Fatal(err)
	}
	if done, said := s.run(t, b, "wait"); !done {
		t.Error(said)
	}
}

// What cannot be done is said before anything is started; who is not root is not promised namespaces.
func TestBoxOfAnotherHost(t *testing.T) {
	t.Parallel()
	strict := Policy{NoNewPrivs: true, DropCaps: true, Seccomp: true, Network: NetworkNone, Files: true, PrivateTmp: true}
	for want, p := range map[string]Policy{
		"no user no-such-user":   {User: "no-such-user"},
		"no group no-such-group": {Group: "no-such-group"},
		"only root can run":      {User: "12345"},
		"no capability fly":      {DropCaps: true, Capabilities: []string{"fly"}},
	} {
		if _, err := (Host{}).Box(p, Needs{}, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	b, err := Host{Landlock: 3}.Box(strict, Needs{Program: "/bin/true"}, false)
	if err != nil || b.View || b.NoNetwork || b.Access.Net != 0 || b.Access.Scoped != 0 || b.Access.FS == 0 || len(b.Filter) == 0 || len(b.Filter)%8 != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	if b, err = (Host{}).Box(strict, Needs{}, false); err != nil || b.Access.FS != 0 {
		t.Errorf("without Landlock: %+v, %v", b.Access, err)
	}
	if b, err = (Host{Landlock: 7, Root: true}).Box(strict, Needs{Program: "/tmp/x/agent", Dir: "/home/me"}, false); err != nil || !b.View || !b.NoNetwork ||
		!slices.Contains(b.Keep, "/tmp/x/agent") || slices.Contains(b.Hidden, "/home") || !slices.Contains(b.Hidden, "/root") {
		t.Errorf("%+v, %v", b, err)
	}
	if z := (&Policy{}); !z.Zero() || strict.Zero() {
		t.Error("a policy without restrictions is one, and the other way round")
	}
}

// The encoding of a box is read back as it was, and a damaged one is not taken for one.
func TestBoxEncoding(t *testing.T) {
	t.Parallel()
	b, err := Host{Landlock: 7, Root: true}.Box(Policy{NoNewPrivs: true, DropCaps: true, Seccomp: true, Network: NetworkNone, Files: true, PrivateTmp: true, Read: []string{"/r"}, Write: []string{"/w"}, User: "65534", Capabilities: []string{"chown"}},
		Needs{Program: "/bin/true", Dir: "/tmp/x"}, true)
	if err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	spec := shim.Spec{Path: "/bin/true", Args: []string{"true"}, Box: b, Survives: true}
	raw := spec.Encode()
	got, ok := shim.Decode(raw)
	if !ok || string(got.Encode()) != string(raw) || got.Box.User != b.User || len(got.Box.Access.Paths) != len(b.Access.Paths) || string(got.Box.Filter) != string(b.Filter) {
		t.Errorf("%+v, %v", got, ok)
	}
	for n := range raw {
		if _, ok := shim.Decode(raw[:n]); ok {
			t.Fatalf("%d of %d bytes are taken for a whole", n, len(raw))
		}
	}
}

// The proxy's box has no namespaces: it keeps the network, and is refused the rest.
func TestBoxOfTheProxy(t *testing.T) {
	needHost(t)
	s := newScene(t, 0)
	b, err := ThisHost().Box(Policy{
		NoNewPrivs: true, DropCaps: true, Capabilities: []string{"chown", "dac_override", "dac_read_search", "fowner", "net_bind_service"}, Seccomp: true,
		Files: true, SharedView: true, Read: []string{filepath.Join(s.dir, "list"), s.kept}, Write: []string{s.named},
	}, Needs{Program: s.program}, true)
	if err != nil || b.View || b.NoNetwork {
		t.Fatalf("%+v %v", b, err)
	}
	for name, refused := range map[string]bool{
		"read a secret": true, "trace": true, "read memory": true, "signal": true, "mount": true, "become": true, "write outside": true,
		"connect": false, "send": false, "read what is named": false, "write what is named": false, "local socket": false,
	} {
		if _, known := attacks[name]; !known {
			t.Fatalf("no attack is called %s", name)
		}
		if done, said := s.run(t, b, name); done == refused {
			t.Errorf("%s: done is %v: %s", name, done, said)
		}
		if done, said := s.run(t, shim.Box{}, name); !done {
			t.Errorf("%s without a box: %s", name, said)
		}
	}
}
