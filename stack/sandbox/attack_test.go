package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	launch "github.com/sentinel-stack/sentinel/stack/exec"
	"github.com/sentinel-stack/sentinel/stack/exec/shim"
)

// attackVar makes the test program the attacker: it is a service then.
const attackVar = "SANDBOX_ATTACK"

func TestMain(m *testing.M) {
	if what := os.Getenv(attackVar); what != "" {
		name, arg, _ := strings.Cut(what, "|")
		if err := attacks[name].try(arg); err != nil {
			fmt.Println("refused:", err)
			os.Exit(1)
		}
		if name == "status" {
			text, _ := os.ReadFile("/proc/self/status")
			fmt.Printf("%s", text)
		}
		fmt.Println("done")
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// attack is something that a service in a box is not to do.
type attack struct {
	try    func(arg string) error
	layers []string // each of which refuses it alone
}

var attacks = map[string]attack{
	"read a secret": {readFile, []string{shim.LayerView, shim.LayerLandlock, shim.LayerUser}},
	"connect":       {connect("tcp"), []string{shim.LayerNetwork, shim.LayerSeccomp, shim.LayerLandlock}},
	"send":          {connect("udp"), []string{shim.LayerNetwork, shim.LayerSeccomp}},
	"trace":         {trace, []string{shim.LayerSeccomp, shim.LayerLandlock, shim.LayerCapabilities, shim.LayerUser}},
	"read memory":   {readMemory, []string{shim.LayerSeccomp, shim.LayerLandlock, shim.LayerCapabilities, shim.LayerUser}},
	"mount":         {mount, []string{shim.LayerCapabilities, shim.LayerSeccomp, shim.LayerLandlock}},
	"become":        {become, []string{shim.LayerCapabilities, shim.LayerSeccomp}},
	"write outside": {writeFile, []string{shim.LayerView, shim.LayerLandlock}},
	"new namespace": {unshare, []string{shim.LayerSeccomp, shim.LayerCapabilities}},
	"signal":        {signal, []string{shim.LayerLandlock, shim.LayerUser}},

	// The innocent: what a service has to be able to do.
	"read what is named":  {try: readFile},
	"read what is kept":   {try: readFile},
	"write what is named": {try: writeFile},
	"write to tmp":        {try: writeFile},
	"run a program":       {try: func(path string) error { return exec.Command(path).Run() }},
	"status":              {try: func(string) error { _, err := os.ReadFile("/proc/self/status"); return err }},
	"wait":                {try: func(string) error { _, err := io.Copy(io.Discard, os.Stdin); return err }},
	"local socket":        {try: connect("unix")},
}

func readFile(path string) error {
	b, err := os.ReadFile(path)
	if err == nil && len(b) == 0 {
		err = io.EOF
	}
	return err
}

func writeFile(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }

func connect(network string) func(string) error {
	return func(addr string) error {
		c, err := net.DialTimeout(network, addr, 2*time.Second)
		if err == nil {
			_, err = c.Write([]byte("x"))
			c.Close()
		}
		return err
	}
}

func trace(pid string) error {
	runtime.LockOSThread() // a tracer is a thread
	n, _ := strconv.Atoi(pid)
	if err := unix.PtraceAttach(n); err != nil {
		return err
	}
	_, _ = unix.Wait4(n, nil, unix.WALL, nil)
	return unix.PtraceDetach(n)
}

func readMemory(pid string) error {
	n, _ := strconv.Atoi(pid)
	maps, err := os.ReadFile("/proc/" + pid + "/maps")
	if err != nil {
		return err
	}
	from, _, _ := strings.Cut(string(maps), "-")
	at, _ := strconv.ParseUint(from, 16, 64)
	var b [16]byte
	_, err = unix.ProcessVMReadv(n, []unix.Iovec{{Base: &b[0], Len: 16}}, []unix.RemoteIovec{{Base: uintptr(at), Len: 16}}, 0)
	return err
}

func mount(dir string) error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "") }

// become another user: by a raw call, because package syscall would change every thread and end the program when one refuses.
func become(uid string) error {
	n, _ := strconv.Atoi(uid)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(n), uintptr(n), uintptr(n)); e != 0 {
		return e
	}
	return nil
}

func unshare(string) error { return unix.Unshare(unix.CLONE_NEWUTS) }

func signal(pid string) error {
	n, _ := strconv.Atoi(pid)
	return unix.Kill(n, unix.SIGCONT)
}

// without switches a layer of a box off.
func without(b shim.Box, layer string) shim.Box {
	switch layer {
	case shim.LayerView:
		b.View = false
	case shim.LayerNetwork:
		b.NoNetwork = false
	case shim.LayerUser:
		b.Switch = false
	case shim.LayerCapabilities:
		b.DropCaps = false
	case shim.LayerLandlock:
		b.Access = shim.Access{}
	case shim.LayerSeccomp:
		b.Filter = nil
	}
	return b
}

// run runs an attack in a box and returns whether it succeeded, and what it said.
func (s *scene) run(t *testing.T, b shim.Box, name string) (done bool, said string) {
	t.Helper()
	p, err := launch.Prepare(launch.Command{Name: "attacker", Path: s.program, Args: []string{"attacker"}, Env: []string{attackVar + "=" + name + "|" + s.arg(name)}, Dir: "/", Umask: 0o022, Box: b})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l := launch.NewLauncher()
	defer l.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	proc, timing, err := l.Start(p, launch.Output{Stdin: int(null.Fd()), Stdout: int(w.Fd()), Stderr: int(w.Fd())}, -1)
	w.Close()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(timing.Skipped) > 0 {
		t.Fatalf("%s: this host lacks %v", name, timing.Skipped)
	}
	text, _ := io.ReadAll(r)
	proc.Wait()
	exit, err := proc.Reap()
	if err != nil {
		t.Fatal(err)
	}
	said = strings.TrimSpace(string(text))
	if !exit.Success() && !strings.HasPrefix(said, "refused:") {
		t.Fatalf("%s: neither done nor refused: %v %s", name, exit, said)
	}
	return exit.Success(), said
}

// scene is what attackers attack.
type scene struct {
	dir     string // open to everybody, named by nobody
	named   string // named for writing
	tcp     string
	udp     string
	unix    string
	sibling int
	program string // the attacker
	kept    string // a file that is named, below a directory that is covered
}

func newScene(t *testing.T, uid int) scene {
	t.Helper()
	dir, err := os.MkdirTemp("/var/lib", "sandbox-test-") // not below a directory for temporary files
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := scene{dir: dir, named: filepath.Join(dir, "named")}
	if err := os.Mkdir(s.named, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, s.named} {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "list"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	s.program, s.kept = filepath.Join(dir, "attacker"), filepath.Join(t.TempDir(), "kept")
	if err := errors.Join(os.WriteFile(s.program, program, 0o755), os.WriteFile(s.kept, []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	s.tcp, s.udp = tcp.Addr().String(), tcp.Addr().String() // a datagram needs nobody who takes it
	local, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { local.Close() })
	s.unix = filepath.Join(dir, "socket")
	if err := os.Chmod(s.unix, 0o777); err != nil {
		t.Fatal(err)
	}
	sibling := exec.Command("sleep", "1000")
	sibling.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	if err := sibling.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sibling.Process.Kill(); sibling.Wait() })
	s.sibling = sibling.Process.Pid
	return s
}

func (s *scene) arg(name string) string {
	return map[string]string{
		"read a secret": "/etc/shadow", "connect": s.tcp, "send": s.udp, "trace": strconv.Itoa(s.sibling), "read memory": strconv.Itoa(s.sibling), "signal": strconv.Itoa(s.sibling), "mount": s.named,
		"become": "1", "write outside": filepath.Join(s.dir, "new"), "read what is named": filepath.Join(s.dir, "list"), "write what is named": filepath.Join(s.named, "new"), "write to tmp": "/tmp/sandbox-test",
		"run a program": "/bin/true", "read what is kept": s.kept, "local socket": s.unix,
	}[name]
}

func (s *scene) box(t *testing.T, user string) shim.Box {
	t.Helper()
	p := Policy{
		NoNewPrivs: true, DropCaps: true, Seccomp: true, Network: NetworkNone, Files: true, PrivateTmp: true, User: user,
		Read: []string{filepath.Join(s.dir, "list"), s.kept}, Write: []string{s.named},
	}
	b, err := ThisHost().Box(p, Needs{Program: s.program, Dir: "/"}, true)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// needHost skips where the layers cannot be had.
func needHost(t *testing.T) {
	t.Helper()
	if h := ThisHost(); !h.Root || h.Landlock < 6 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("this host has no Landlock of version 6, or this is not root: %+v", h)
		}
		t.Skipf("needs root and Landlock of version 6: %+v", h)
	}
}

// Every attack is refused; so it is with each of its layers switched off in turn, so at least two of them refuse it; and with all of them off it succeeds, which shows that it is one.
func TestAttacks(t *testing.T) {
	needHost(t)
	s := newScene(t, 0)
	full := s.box(t, "")
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			if len(a.layers) == 0 {
				if done, said := s.run(t, full, name); !done {
					t.Errorf("the innocent is refused: %s", said)
				}
				return
			}
			layers := slices.DeleteFunc(slices.Clone(a.layers), func(l string) bool { return l == shim.LayerUser })
			if done, _ := s.run(t, full, name); done {
				t.Error("succeeds with all layers")
			}
			bare := full
			for _, layer := range layers {
				bare = without(bare, layer)
				if done, _ := s.run(t, without(full, layer), name); done && len(layers) > 1 { // the second layer against signals is another user, see below
					t.Errorf("succeeds without %s", layer)
				}
			}
			if done, said := s.run(t, bare, name); !done {
				t.Errorf("is no attack: it is refused with all of %v off: %s", layers, said)
			}
		})
	}
}

// As another user there is one layer more, and the innocent are still served.
func TestAttacksOfAnotherUser(t *testing.T) {
	needHost(t)
	s := newScene(t, 0)
	full := s.box(t, "65534")
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			done, said := s.run(t, full, name)
			if done != (len(a.layers) == 0) {
				t.Errorf("done is %v: %s", done, said)
			}
			if !slices.Contains(a.layers, shim.LayerUser) {
				return
			}
			alone := shim.Box{Switch: true, User: full.User, Group: full.Group}
			if done, _ := s.run(t, alone, name); done {
				t.Error("another user alone does not refuse it")
			}
			if done, _ := s.run(t, shim.Box{}, name); !done {
				t.Error("is no attack")
			}
		})
	}
}
