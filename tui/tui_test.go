package tui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	stackapi "github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/tui/source"
)

// asProgram makes the test binary run the dashboard instead of the tests, so that a real terminal can show it.
const asProgram = "SENTINEL_TUI_TEST_SOCKET"

func TestMain(m *testing.M) {
	if socket := os.Getenv(asProgram); socket != "" {
		os.Exit(programMain(socket))
	}
	goleak.VerifyTestMain(m)
}

func programMain(socket string) int {
	o := Options{ControlSocket: socket, Refresh: 100 * time.Millisecond, In: os.Stdin, Out: os.Stdout, Env: os.Environ()}
	var err error
	if os.Getenv("SENTINEL_TUI_TEST_PANIC") != "" {
		src, openErr := source.New(source.Options{Stack: &panicking{Client: stackapi.NewClient(socket)}, Refresh: o.Refresh})
		if openErr != nil {
			return 2
		}
		err = runProgram(context.Background(), o, src)
	} else {
		err = Run(context.Background(), o)
	}
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Println("error:", first)
		return 1
	}
	return 0
}

// panicking reads a few times and then panics in the source's own goroutine.
type panicking struct {
	*stackapi.Client
	calls int
}

func (p *panicking) Status(ctx context.Context) (*stackapi.Status, error) {
	if p.calls++; p.calls > 5 {
		panic("on purpose")
	}
	return p.Client.Status(ctx)
}

func run(t *testing.T, o Options) (string, error) {
	t.Helper()
	var out bytes.Buffer
	o.Out, o.In, o.Refresh = &out, strings.NewReader(""), 100*time.Millisecond
	if o.Env == nil {
		o.Env = []string{"TERM=xterm-256color", "LANG=C.UTF-8"}
	}
	err := Run(t.Context(), o)
	return out.String(), err
}

func TestTable(t *testing.T) {
	t.Parallel()
	f := newFakeStack(t)
	out, err := run(t, Options{ControlSocket: f.control})
	if err != nil {
		t.Fatal(err)
	}
	if miss := contains(out, "● ready  gen 3", "api", "● ok", "backend", "127.0.0.1:9001", "denylist", "● closed", "4242", "18M"); miss != "" {
		t.Error(miss)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("an escape sequence in a pipe")
	}
	if f.written() != "" {
		t.Errorf("the table wrote: %s", f.written())
	}
}

func TestTableASCII(t *testing.T) {
	t.Parallel()
	f := newFakeStack(t)
	for _, o := range []Options{{ASCII: true}, {Env: []string{"LANG=C"}}, {Env: []string{"LANG=en_US.UTF-8", "LC_ALL=POSIX"}}, {Env: []string{}}} {
		o.ControlSocket = f.control
		out, err := run(t, o)
		if err != nil {
			t.Fatal(err)
		}
		if strings.IndexFunc(out, func(r rune) bool { return r > 0x7e }) >= 0 || contains(out, "* ready") != "" {
			t.Errorf("%v: not ASCII:\n%s", o.Env, out)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	f := newFakeStack(t)
	f.setState(1, "backoff")
	out, err := run(t, Options{ControlSocket: f.control, JSON: true})
	var state *StateError
	if !errors.As(err, &state) || state.ExitCode() != 1 || state.State != "faulty" {
		t.Errorf("a service in backoff gives %v", err)
	}
	var got report
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Rate == nil || *got.Rate <= 0 || len(got.Routes) != 1 || len(got.Services) != 2 || len(got.Faults) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestNotRunning(t *testing.T) {
	t.Parallel()
	out, err := run(t, Options{ControlSocket: filepath.Join(t.TempDir(), "none.sock")})
	var state *StateError
	if !errors.As(err, &state) || state.ExitCode() != 5 || !IsNotRunning(err) {
		t.Errorf("got %v", err)
	}
	if miss := contains(out, "unreachable", "no supervisor is running"); miss != "" {
		t.Error(miss)
	}
	if _, err := run(t, Options{}); err == nil {
		t.Error("a dashboard of nothing")
	}
}

func TestProxyAlone(t *testing.T) {
	t.Parallel()
	f := newFakeStack(t)
	out, err := run(t, Options{ProxyAdmin: f.admin})
	if err != nil {
		t.Fatal(err)
	}
	if miss := contains(out, "● ready  gen 3", "api"); miss != "" {
		t.Error(miss)
	}
	if strings.Contains(out, "services") {
		t.Error("services of a stack that is not there")
	}
}

func TestInteractiveNeedsTwoTerminals(t *testing.T) {
	t.Parallel()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, o := range []Options{
		{In: null, Out: null, Env: []string{"TERM=xterm"}}, // a character device, but no terminal
		{In: strings.NewReader(""), Out: &bytes.Buffer{}, Env: []string{"TERM=xterm"}},
		{In: os.Stdin, Out: os.Stdout, Env: []string{"TERM=dumb"}},
		{In: os.Stdin, Out: os.Stdout, Env: []string{"TERM=xterm", "CI=true"}},
		{In: os.Stdin, Out: os.Stdout, Env: nil},
	} {
		if interactive(o) {
			t.Errorf("%v is interactive", o.Env)
		}
	}
}

func TestNoColour(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]bool{"": true, "NO_COLOR=": true, "NO_COLOR=1": false, "NO_COLOR=yes": false} {
		if got := colored([]string{env}); got != want {
			t.Errorf("%q: %v", env, got)
		}
	}
}

// terminal is one tmux server with one window, of 120 by 40 cells.
type terminal struct {
	t      *testing.T
	socket string
}

// newTerminal runs the dashboard in a real terminal. When it ends, its exit code appears on the screen.
func newTerminal(t *testing.T, env ...string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, socket: filepath.Join(t.TempDir(), "tmux.sock")}
	command := fmt.Sprintf("echo before; env -u CI -u NO_COLOR LC_ALL=C.UTF-8 %s %q; echo exit=$?; stty -a | grep -o ' -*icanon'; exec sleep 1000", strings.Join(env, " "), self)
	term.tmux("new-session", "-d", "-x", "120", "-y", "40", command)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", term.socket, "kill-server").Run() })
	return term
}

func (s *terminal) tmux(args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "tmux", append([]string{"-u", "-S", s.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (s *terminal) keys(keys ...string) { s.tmux(append([]string{"send-keys"}, keys...)...) }

// shows waits until the screen holds all the texts.
func (s *terminal) shows(wants ...string) {
	s.t.Helper()
	eventually(s.t, func() string { return contains(s.tmux("capture-pane", "-p"), wants...) })
}

// TestTerminal drives the real program on a real terminal: it shows the stack, acts only after a yes, follows the stack's going
// and coming, and leaving it restores the terminal and touches nothing.
func TestTerminal(t *testing.T) {
	t.Parallel()
	f := newFakeStack(t)
	term := newTerminal(t, asProgram+"="+f.control)
	term.shows("● ready", "gen 3", "[1 Routes (1)]", "path-prefix /api", "rules loaded", "nothing is wrong")
	term.keys("4")
	term.shows("[4 Services (2)]", "4242", "4243")
	term.keys("j", "s")
	term.shows("stop denylist? y/n")
	term.keys("n")
	term.shows("not done")
	term.keys("r", "y")
	eventually(t, func() string { return contains(f.written(), "/v1/services/denylist/restart") })
	term.shows("restart denylist: done")
	f.setState(1, "quarantined")
	term.shows("✕ faulty", "‖ quarantined")
	term.keys("Enter")
	term.shows("service denylist", "newest log lines")
	term.keys("Escape")
	term.shows("SERVICE  STATE") // a key right after Escape would be read as one with Alt
	term.keys("6")
	term.shows("starting → ● ready")
	term.tmux("resize-window", "-x", "50", "-y", "11")
	term.shows("6/6 Events")
	term.tmux("resize-window", "-x", "120", "-y", "40")
	term.keys("q")
	term.shows("before", "exit=0", " icanon")
	if got := f.written(); got != "/v1/services/denylist/restart" {
		t.Errorf("the stack was told: %s", got)
	}
	if _, err := stackapi.NewClient(f.control).Status(t.Context()); err != nil {
		t.Errorf("the stack after the dashboard: %v", err)
	}
}

// TestTerminalLosesTheStack closes the control socket: the screen keeps its figures and says how old they are.
func TestTerminalLosesTheStack(t *testing.T) {
	t.Parallel()
	f := newFakeStack(t)
	term := newTerminal(t, asProgram+"="+f.control)
	term.shows("● ready")
	_ = f.server.Close()
	term.shows("STALE", "unreachable", "path-prefix /api")
	term.keys("C-c")
	term.shows("exit=0", " icanon")
}

// TestTerminalAfterPanic panics in a goroutine of the source: the terminal must be usable afterwards and the error be shown.
func TestTerminalAfterPanic(t *testing.T) {
	t.Parallel()
	f := newFakeStack(t)
	term := newTerminal(t, asProgram+"="+f.control, "SENTINEL_TUI_TEST_PANIC=1")
	term.shows("before", "error: dashboard panicked: on purpose", "exit=1", " icanon")
}
