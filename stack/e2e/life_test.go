package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/stack/api"
)

// plain serves the status page.
const plain = `
listeners { listener "web" { address "127.0.0.1:PORT" } }
routes {
    route "status" { matches { path-prefix "/" }; builtin-handler "status" }
}
`

// guarded has both agents in front of the status page. All clients of a test come from one address, so
// that limit is off, and calls wait for an agent however busy the machine is.
const guarded = `
listeners { listener "web" { address "127.0.0.1:PORT" } }
routes {
    route "status" { matches { path-prefix "/" }; builtin-handler "status"; filters "echo" "denylist" }
}
agents {
    agent "echo" type="echo" { events "request_headers"; restart { reset-after-secs 1 }; max-concurrent-calls 1000; timeout-ms 10000; queue-length 10000; queue-timeout-ms 10000 }
    agent "denylist" type="denylist" {
        events "request_headers"
        max-concurrent-calls 1000
        timeout-ms 10000
        queue-length 10000
        queue-timeout-ms 10000
        restart { reset-after-secs 1 }
        config { block-paths "/secret"; body "Not here.\n" }
    }
}
stack { proxy { restart { reset-after-secs 1 } } }
limits { max-connections-per-client 10000 }
`

func TestLife(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.must(5, "status")
	s.must(5, "down")
	out := s.must(0, "up", "-d")
	if !strings.Contains(out, s.runtime()) {
		t.Errorf("up -d says %q", out)
	}
	for _, v := range s.status().Services {
		if v.State != "ready" || v.PID == 0 {
			t.Errorf("%s is %s: %s", v.Name, v.State, v.Reason)
		}
	}
	if code, body, err := s.get("/"); code != 200 || err != nil {
		t.Errorf("%d %q %v", code, body, err)
	}
	if code, body, err := s.get("/secret"); code != 403 || body != "Not here.\n" {
		t.Errorf("%d %q %v", code, body, err)
	}
	pid := s.status().PID
	if out := s.must(4, "up"); !strings.Contains(out, fmt.Sprint("pid ", pid)) || !strings.Contains(out, s.runtime()) {
		t.Errorf("the second up says %q", out)
	}
	s.must(4, "up", "-d")

	before := s.service("proxy")
	s.must(0, "restart", "proxy")
	if after := s.service("proxy"); after.PID == before.PID || after.State != "ready" || !after.Since.After(before.Since) || !after.Started.After(before.Started) {
		t.Errorf("restarted: %+v", after)
	}
	s.must(0, "stop", "echo")
	if v := s.service("echo"); v.State != "stopped" || v.PID != 0 {
		t.Errorf("stopped: %+v", v)
	}
	s.must(0, "start", "echo")
	s.must(1, "restart", "nobody")
	s.must(2, "restart")
	s.must(2, "no-such-command")
	s.must(2, "up", "--no-such-flag")
	if out := s.must(1, "logs", "echo", "ehco"); !strings.Contains(out, `no service is called "ehco"`) {
		t.Errorf("logs of an unknown service: %q", out)
	}
	if out := s.must(0, "logs", "--grep", "is ready", "stack"); strings.Count(out, "is ready") < 3 {
		t.Errorf("logs: %s", out)
	}
	if out := s.must(0, "events"); !strings.Contains(out, "proxy starting -> ready") {
		t.Errorf("events: %s", out)
	}
	if st := decode[api.Status](t, s.must(0, "status", "--json")); st.PID != pid || len(st.Listeners) != 4 {
		t.Errorf("status: %+v", st)
	}
	if out := s.must(0, "down"); out != "stopped\n" {
		t.Errorf("down says %q", out)
	}
	if left, _ := filepath.Glob(filepath.Join(s.runtime(), "agents", "*")); len(left) > 0 {
		t.Errorf("sockets are left: %v", left)
	}
	s.must(5, "status")
}

func TestStartOrderFollowsTheRoutesAndStopIsTheReverse(t *testing.T) {
	t.Parallel()
	s := newStack(t, strings.Replace(guarded, `"echo" "denylist"`, `"denylist"`, 1))
	file, err := os.Create(filepath.Join(s.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	up := s.command("up")
	up.Stdout, up.Stderr = file, file
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	said := func() string { b, _ := os.ReadFile(file.Name()); return string(b) }
	eventually(t, "the last one is ready", func() bool { return strings.Contains(said(), "echo is ready") })
	s.must(0, "down")
	if err := up.Wait(); err != nil {
		t.Error(err)
	}
	out, last := said(), -1
	for _, text := range []string{
		"denylist is ready", "proxy is starting", "proxy is ready", "echo is starting",
		"echo is stopping", "echo is stopped", "proxy is stopping", "proxy is stopped", "denylist is stopping", "denylist is stopped",
	} {
		i := strings.Index(out, text)
		if i < last || i < 0 {
			t.Fatalf("%q is missing or too early:\n%s", text, out)
		}
		last = i
	}
}

func TestSupervisorKilledLeavesNothingAndTheNextHeals(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	first := s.status()
	kill(first.PID)
	took := eventually(t, "all services are gone", func() bool { return len(s.descendants()) == 0 })
	t.Logf("gone within %v", took)
	if _, err := os.Stat(filepath.Join(s.runtime(), "control.sock")); err != nil {
		t.Errorf("this test wants a stale socket: %v", err)
	}
	s.must(5, "status")
	s.up()
	if code, _, err := s.get("/"); code != 200 {
		t.Errorf("%d %v", code, err)
	}
	if s.status().PID == first.PID {
		t.Error("the same supervisor")
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain)
	const n = 4
	codes := make(chan int, n)
	for range n {
		cmd := s.command("up", "-d")
		go func() {
			cmd.Run()
			codes <- cmd.ProcessState.ExitCode()
		}()
	}
	won := 0
	for range n {
		switch c := <-codes; c {
		case 0:
			won++
		case 4:
		default:
			t.Errorf("exit %d", c)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d won", won, n)
	}
}

func TestExitCodesOfConfiguration(t *testing.T) {
	t.Parallel()
	s := newStack(t, strings.Replace(plain, "builtin-handler", "builtin-hander", 1))
	place := regexp.MustCompile(`sentinel\.kdl:4:\d+`)
	for _, args := range [][]string{{"up"}, {"up", "-d"}, {"validate"}} {
		if out := s.must(3, args...); !place.MatchString(out) {
			t.Errorf("%v says %q", args, out)
		}
	}
	s.write(plain)
	s.must(0, "validate")
	const unwatched = plain + "stack { watch #false }\n" // the reload must not be faster than diff
	broken := `agents { agent "x" type="echo" { command "/no/such/program" } }`
	s.write(strings.Replace(plain, `builtin-handler`, `filters "x"; builtin-handler`, 1) + broken)
	if out := s.must(3, "validate"); !regexp.MustCompile(`sentinel\.kdl:\d+:\d+: error: agent x: cannot find program`).MatchString(out) {
		t.Errorf("validate says %q", out)
	}
	s.write(unwatched + broken)
	s.must(0, "validate") // no route misses it
	if out := s.must(6, "up", "-d"); !strings.Contains(out, "/no/such/program") {
		t.Errorf("up says %q", out)
	}
	if v := s.service("x"); v.State != "failed" {
		t.Errorf("%+v", v)
	}
	if code, _, err := s.get("/"); code != 200 { // one broken agent does not stop the others
		t.Errorf("%d %v", code, err)
	}
	s.must(0, "diff")
	s.write(unwatched)
	if out := s.must(2, "diff"); !strings.Contains(out, "- agent x") {
		t.Errorf("diff says %q", out)
	}
}

func TestInitAndForeground(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain)
	os.Remove(s.file)
	s.must(0, "init", s.file)
	s.must(1, "init", s.file)
	s.must(0, "init", "--force", s.file)
	text, _ := os.ReadFile(s.file)
	s.write(strings.Replace(string(text), "127.0.0.1:8080", "127.0.0.1:PORT", 1))
	s.must(0, "validate")
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := s.must(0, "completion", shell); len(out) < 500 {
			t.Errorf("completion %s: %q", shell, out)
		}
	}
	s.must(2, "completion", "tcsh")
	s.must(0, "version")
	s.must(0, "--version")

	cmd := s.command("up")
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it serves", func() bool { code, _, _ := s.get("/"); return code == 200 })
	cmd.Process.Signal(unix.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, want := range []string{"proxy is ready", "proxy is stopped"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("escape sequences although there is no terminal")
	}
}

func TestStrangersMayNotUseTheControlSocket(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	s := newStack(t, plain)
	s.up()
	os.Chmod(s.dir, 0o755)
	os.Chmod(bin, 0o755)
	os.Chmod(s.runtime(), 0o755)
	os.Chmod(filepath.Join(s.runtime(), "control.sock"), 0o666) // file modes must not be what protects it
	for _, args := range [][]string{{"status"}, {"reload"}, {"stop", "proxy"}, {"down"}} {
		cmd := s.command(args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Env = append(cmd.Env, "HOME=/")
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "permission denied") {
			t.Errorf("%v as nobody: %d %s", args, cmd.ProcessState.ExitCode(), out)
		}
	}
	s.must(0, "status")
}

func TestForeignServiceWithItsOwnProbe(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3")
	}
	port := proxytest.Port(t)
	s := newStack(t, plain+fmt.Sprintf(`
stack { service "files" { command "python3" "-m" "http.server" "--bind" "127.0.0.1" "%d"; ready { http "127.0.0.1:%d/"; timeout-secs 20 } } }`, port, port))
	s.up()
	if v := s.service("files"); v.State != "ready" {
		t.Errorf("%+v", v)
	}
	before := s.service("files").PID
	kill(before)
	eventually(t, "it is back", func() bool { v := s.service("files"); return v.State == "ready" && v.PID != before })
}
