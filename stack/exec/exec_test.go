package exec

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/stack/exec/shim"
)

// The test program is also the service: with this variable set it reports about itself.
const childVar = "EXEC_TEST_CHILD"

func TestMain(m *testing.M) {
	switch mode := os.Getenv(childVar); mode {
	case "":
		goleak.VerifyTestMain(m)
	case "report":
		report()
	case "rlimits":
		b, _ := os.ReadFile("/proc/self/limits")
		os.Stdout.Write(b)
	case "sleep":
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "supervisor":
		supervisor()
	default:
		os.Exit(len(mode))
	}
}

// report prints what the child sees; the parent compares.
func report() {
	mask := syscall.Umask(0)
	sid, _ := unix.Getsid(0)
	dir, _ := os.Getwd()
	fmt.Printf("args %s\numask %o\nleader %v\ndir %s\n", strings.Join(os.Args, " "), mask, sid == os.Getpid(), dir)
	fmt.Printf("pid-ok %v\nfds %s\nnames %s\n", os.Getenv("LISTEN_PID") == fmt.Sprint(os.Getpid()), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"))
	fmt.Printf("shim-var %q\n", os.Getenv(shim.Var))
	var pdeath int32
	unix.Prctl(unix.PR_GET_PDEATHSIG, ptr(&pdeath), 0, 0, 0)
	fmt.Printf("pdeath %d\n", pdeath)
	if f := os.NewFile(3, "l"); os.Getenv("LISTEN_FDS") != "" {
		l, err := net.FileListener(f)
		fmt.Printf("listener %v\n", err)
		if err == nil {
			c, err := l.Accept()
			if err == nil {
				io.WriteString(c, "hello")
				c.Close()
			}
		}
		f.Close()
	}
	var stray []string
	for fd := 4; fd < 200; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			stray = append(stray, fmt.Sprint(fd))
		}
	}
	fmt.Printf("stray %s\n", strings.Join(stray, ","))
}

func command(mode string) Command {
	exe, _ := os.Executable()
	return Command{Name: "child", Path: exe, Args: []string{"child", "a b", ""}, Env: []string{childVar + "=" + mode, "PATH=/bin"}, Umask: 0o027}
}

type started struct {
	*Process
	out    *os.File
	timing Timing
}

func start(t *testing.T, l *Launcher, c Command) (started, error) {
	t.Helper()
	p, err := Prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	proc, timing, err := l.Start(p, Output{int(null.Fd()), int(w.Fd()), int(w.Fd())}, -1)
	t.Cleanup(func() { r.Close() })
	return started{proc, r, timing}, err
}

func finish(t *testing.T, p started) Exit {
	t.Helper()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	e, err := p.Reap()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestChildSeesExactlyWhatItWasGiven(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stray, err := unix.Open(os.DevNull, unix.O_RDONLY, 0) // inheritable on purpose
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stray)

	l := NewLauncher()
	defer l.Close()
	c := command("report")
	c.Dir = t.TempDir()
	fd := 0
	control(f, func(n uintptr) { fd = int(n) })
	c.Listen = []Socket{{"web", fd}}
	p, err := start(t, l, c)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if hello, _ := io.ReadAll(conn); string(hello) != "hello" {
		t.Errorf("through the inherited listener came %q", hello)
	}
	if e := finish(t, p); !e.Success() {
		t.Errorf("ended with %s", e)
	}
	out, _ := io.ReadAll(p.out)
	for _, want := range []string{"args child a b ", "umask 27", "leader true", "dir " + c.Dir, "pid-ok true", "fds 1", "names web",
		`shim-var ""`, "pdeath 9", "listener <nil>", "stray "} {
		if !slices.Contains(strings.Split(string(out), "\n"), want) {
			t.Errorf("no line %q in:\n%s", want, out)
		}
	}
}

func TestFailingStageIsNamed(t *testing.T) {
	t.Parallel()
	notExecutable := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(notExecutable, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Command)
		stage  string
		errno  syscall.Errno
	}{
		{"no such program", func(c *Command) { c.Path = "/no/such/program" }, shim.StageExec, unix.ENOENT},
		{"not executable", func(c *Command) { c.Path = notExecutable }, shim.StageExec, unix.EACCES},
		{"no such directory", func(c *Command) { c.Dir = "/no/such/dir" }, shim.StageChdir, unix.ENOENT},
	}
	l := NewLauncher()
	defer l.Close()
	for _, tt := range tests {
		c := command("report")
		tt.change(&c)
		_, err := start(t, l, c)
		var e *Error
		if !errors.As(err, &e) || e.Stage != tt.stage || e.Errno != tt.errno || !e.Permanent() {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestExitAndSignal(t *testing.T) {
	t.Parallel()
	l := NewLauncher()
	defer l.Close()
	p, err := start(t, l, command("four"))
	if err != nil {
		t.Fatal(err)
	}
	if e := finish(t, p); e.String() != "exit 4" || e.Success() {
		t.Errorf("got %s", e)
	}
	p, err = start(t, l, command("sleep"))
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(p.out, make([]byte, 5))
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	if err := p.Kill(); err != nil { // ended, not reaped: nobody to signal, and no error
		t.Error(err)
	}
	if e := finish(t, p); e.String() != "signal TERM" {
		t.Errorf("got %s", e)
	}
}

// supervisor starts a sleeping child, prints its pid and waits to be killed.
func supervisor() {
	l := NewLauncher()
	c := command("sleep")
	p, err := Prepare(c)
	if err != nil {
		panic(err)
	}
	proc, _, err := l.Start(p, Output{0, 2, 2}, -1)
	if err != nil {
		panic(err)
	}
	fmt.Println(proc.PID())
	time.Sleep(time.Hour)
}

func TestChildDiesWithItsSupervisor(t *testing.T) {
	t.Parallel()
	exe, _ := os.Executable()
	cmd := osexec.Command(exe)
	cmd.Env = []string{childVar + "=supervisor"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("the child does not run")
	}
	cmd.Process.Kill()
	cmd.Wait()
	for end := time.Now().Add(5 * time.Second); alive(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the child survived its supervisor")
		}
	}
}

// alive looks at the state, because kill 0 also succeeds on zombies.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return after != "" && after[0] != 'Z' && after[0] != 'X'
}

func TestShimStaysSmall(t *testing.T) {
	t.Parallel()
	out, err := osexec.Command("go", "list", "-f", `{{join .Imports " "}}`, "./shim").Output()
	if err != nil {
		t.Skipf("no go command: %v", err)
	}
	if got := strings.TrimSpace(string(out)); got != "syscall unsafe" {
		t.Errorf("package shim imports %s: it would be initialised late and every restart would pay for it", got)
	}
}

func TestStartIsFast(t *testing.T) {
	l := NewLauncher()
	defer l.Close()
	var took []time.Duration
	for range 50 {
		p, err := start(t, l, Command{Name: "true", Path: "/bin/true", Args: []string{"true"}})
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, p.timing.Executed.Sub(p.timing.Forked))
		finish(t, p)
	}
	slices.Sort(took)
	t.Logf("fork to exec: p50 %v, p90 %v", took[25], took[45])
	if took[25] > time.Second { // the figure says little on a busy machine or under the race detector
		t.Errorf("p50 is %v", took[25])
	}
}

func FuzzDecode(f *testing.F) {
	good := shim.Spec{Path: "/bin/x", Args: []string{"x", ""}, Env: []string{"A=b"}, Listen: 2}
	f.Add(good.Encode())
	f.Add([]byte{})
	f.Add(good.Encode()[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := shim.Decode(b)
		if ok && string(s.Encode()) != string(b) {
			t.Error("decoding and encoding changes a spec")
		}
	})
}
