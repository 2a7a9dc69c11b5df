package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/api"
	"github.com/sentinel-stack/sentinel/proxy/config"
)

// The tests run the proxy as a process of its own: the test binary, told by an environment variable to be the proxy.
func TestMain(m *testing.M) {
	if path := os.Getenv("RUN_TEST_PROXY"); path != "" {
		if os.Getenv("LISTEN_PID") == "self" { // what the supervisor's shim does
			os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
		}
		err := Run(context.Background(), Options{Config: path, Version: "test", Stderr: os.Stderr, Stdout: os.Stdout})
		var invalid config.Diagnostics
		if errors.As(err, &invalid) {
			os.Exit(config.ExitInvalid)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// proxy is one child process.
type proxy struct {
	t      *testing.T
	dir    string
	file   string
	cmd    *exec.Cmd
	stderr *os.File
	admin  *api.Client
	notify *net.UnixConn
	exited chan struct{}
}

// startProxy runs the configuration text; %d in it is the port of the inherited listener "http".
func startProxy(t *testing.T, text string) (p *proxy, url string) {
	t.Helper()
	return startProxyWriting(t, text, nil)
}

// startProxyWriting does the same with a standard output.
func startProxyWriting(t *testing.T, text string, stdout *os.File) (p *proxy, url string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close(); socket.Close(); os.RemoveAll(dir) })
	p = &proxy{t: t, dir: dir, file: filepath.Join(dir, "s.kdl"), exited: make(chan struct{})}
	p.write(strings.ReplaceAll(text, "%d", fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)))
	p.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	p.stderr, _ = os.Create(filepath.Join(dir, "stderr"))
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), "RUN_TEST_PROXY="+p.file, "LISTEN_PID=self", "LISTEN_FDS=1", "LISTEN_FDNAMES=http",
		"NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "SENTINEL_RUNTIME_DIR="+dir)
	p.cmd.ExtraFiles = []*os.File{socket}
	p.cmd.Stderr = p.stderr
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.exited
		p.notify.Close()
		p.stderr.Close()
		if t.Failed() {
			raw, _ := os.ReadFile(p.stderr.Name())
			t.Logf("the proxy's log:\n%s", raw)
		}
	})
	p.expect("READY=1")
	p.admin = api.NewClient(filepath.Join(dir, "proxy.sock"))
	return p, "http://" + ln.Addr().String()
}

func (p *proxy) write(text string) {
	p.t.Helper()
	if err := os.WriteFile(p.file, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// edit replaces text in the configuration file.
func (p *proxy) edit(old, new string) {
	p.t.Helper()
	raw, err := os.ReadFile(p.file)
	if err != nil || !strings.Contains(string(raw), old) {
		p.t.Fatalf("cannot edit: %q is not in the file (%v)", old, err)
	}
	p.write(strings.ReplaceAll(string(raw), old, new))
}

// expect waits for a notification that begins with prefix.
func (p *proxy) expect(prefix string) {
	p.t.Helper()
	p.notify.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 4096)
	for {
		n, err := p.notify.Read(buf)
		if err != nil {
			p.t.Fatalf("no %s: %v", prefix, err)
		}
		if strings.HasPrefix(string(buf[:n]), prefix) {
			return
		}
	}
}

func (p *proxy) exitCode() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(15 * time.Second):
		p.t.Fatal("the proxy did not end")
		return -1
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

const statusOnly = `
listeners { listener "http" { address "127.0.0.1:%d" } }
routes {
  route "status" { matches { path "/status" }; builtin-handler "status" }
}
`

func TestReloadAppliesOrRefuses(t *testing.T) {
	t.Parallel()
	p, url := startProxy(t, statusOnly)
	ctx := context.Background()
	if code, _ := get(t, url+"/new"); code != 404 {
		t.Fatalf("/new before = %d", code)
	}
	p.edit(`path "/status"`, `path "/status" "/new"`)
	out, err := p.admin.Reload(ctx, api.ReloadRequest{})
	if err != nil || !out.OK || out.Generation != 2 {
		t.Fatalf("reload: %+v, %v", out, err)
	}
	if code, body := get(t, url+"/new"); code != 200 || !strings.Contains(body, `"generation": 2`) {
		t.Errorf("/new after = %d %s", code, body)
	}

	p.edit(`builtin-handler "status"`, `builtin-handler "statsu"`)
	out, err = p.admin.Reload(ctx, api.ReloadRequest{})
	if err != nil || out.OK || out.Generation != 2 || len(out.Diagnostics) != 1 {
		t.Fatalf("broken reload: %+v, %v", out, err)
	}
	if d := out.Diagnostics[0]; d.Line != 4 || d.Col == 0 || d.File != p.file {
		t.Errorf("diagnostic %+v: want line 4 of %s", d, p.file)
	}
	if code, _ := get(t, url+"/new"); code != 200 {
		t.Errorf("the running generation was touched: /new = %d", code)
	}
	st, err := p.admin.Status(ctx)
	if err != nil || st.Generation != 2 || st.LastReload == nil || st.LastReload.OK {
		t.Errorf("status %+v, %v", st, err)
	}

	p.edit("statsu", "status")
	if out, _ = p.admin.Reload(ctx, api.ReloadRequest{Hash: "0000"}); out.OK || !strings.Contains(out.Error, "it changed meanwhile") {
		t.Errorf("reload with another hash: %+v", out)
	}
}

func TestReloadCannotMoveListeners(t *testing.T) {
	t.Parallel()
	p, url := startProxy(t, statusOnly)
	p.edit(`listener "http" {`, `listener "more" { address "127.0.0.1:1" }; listener "http" {`)
	out, err := p.admin.Reload(context.Background(), api.ReloadRequest{})
	if err != nil || out.OK || !strings.Contains(out.Error, "cannot change listeners of a running proxy") {
		t.Errorf("reload %+v, %v", out, err)
	}
	if code, _ := get(t, url+"/status"); code != 200 {
		t.Errorf("/status = %d", code)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	logs := `observability { logging { access-log { enabled #true; file "DIR/access.log"; format "combined" } } }`
	p, url := startProxy(t, statusOnly)
	p.edit("routes {", strings.ReplaceAll(logs, "DIR", p.dir)+"\nroutes {")
	p.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "generation 2 after SIGHUP", func() bool {
		s, err := p.admin.Status(context.Background())
		return err == nil && s.Generation == 2
	})
	get(t, url+"/status?first")
	eventually(t, "a line in the access log", func() bool { return contains(p.dir+"/access.log", "/status?first") })
	if err := os.Rename(p.dir+"/access.log", p.dir+"/access.log.1"); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Signal(syscall.SIGUSR1)
	eventually(t, "a new access log after SIGUSR1", func() bool { _, err := os.Stat(p.dir + "/access.log"); return err == nil })
	get(t, url+"/status?second")
	eventually(t, "a line in the new log", func() bool { return contains(p.dir+"/access.log", "/status?second") })
	if contains(p.dir+"/access.log.1", "second") {
		t.Error("the moved log still grows")
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.expect("STOPPING=1")
	if code := p.exitCode(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

func contains(path, text string) bool {
	raw, err := os.ReadFile(path)
	return err == nil && strings.Contains(string(raw), text)
}

// A request that is being answered when SIGTERM comes is answered in full, and the process ends after it.
func TestDrainFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	hold, arrived := make(chan struct{}), make(chan struct{})
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	go http.Serve(backend, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-hold
		io.WriteString(w, "late but whole")
	}))
	p, url := startProxy(t, `
listeners { listener "http" { address "127.0.0.1:%d" } }
routes { route "all" { matches { path-prefix "/" }; upstream "b" } }
upstreams { upstream "b" { target "`+backend.Addr().String()+`" } }
`)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-arrived
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.expect("STOPPING=1")
	close(hold)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "late but whole" || !res.Close {
		t.Errorf("answer %q, close %v, %v", body, res.Close, err)
	}
	if code := p.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A second SIGTERM ends the patience with a request that is never answered; the first one alone does not.
func TestSecondSignalCutsTheDrain(t *testing.T) {
	t.Parallel()
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	arrived := make(chan struct{})
	go http.Serve(backend, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	p, url := startProxy(t, `
system { graceful-shutdown-timeout-secs 3600 }
listeners { listener "http" { address "127.0.0.1:%d" } }
routes { route "all" { matches { path-prefix "/" }; upstream "b" } }
upstreams { upstream "b" { target "`+backend.Addr().String()+`" } }
`)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-arrived
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.expect("STOPPING=1")
	began := time.Now()
	p.cmd.Process.Signal(syscall.SIGTERM) // at once: the same request to stop, on another way
	eventually(t, "the end", func() bool {
		select {
		case <-p.exited:
			return true
		default:
			p.cmd.Process.Signal(syscall.SIGTERM)
			return false
		}
	})
	if took := time.Since(began); took < sameRequest {
		t.Errorf("the exchange was cut after %v", took)
	}
	if code := p.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Whoever reads the log may die; the proxy serves on and says so where it still can.
func TestTheReaderOfALogMayDie(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, url := startProxyWriting(t, `observability { logging { access-log { enabled #true; file "-" } } }`+"\n"+statusOnly, w)
	w.Close()
	if code, _ := get(t, url+"/status"); code != 200 {
		t.Fatal(code)
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil || !strings.Contains(line, `"path":"/status"`) {
		t.Fatalf("access log %q, %v", line, err)
	}
	r.Close()
	get(t, url+"/status")
	eventually(t, "a word about the log", func() bool { return contains(p.stderr.Name(), "cannot write log") })
	if code, _ := get(t, url+"/status"); code != 200 {
		t.Error(code)
	}
}

func TestAutoReload(t *testing.T) {
	t.Parallel()
	p, url := startProxy(t, "system { auto-reload #true }\n"+statusOnly)
	p.edit(`path "/status"`, `path "/status" "/auto"`)
	eventually(t, "/auto", func() bool { code, _ := get(t, url+"/auto"); return code == 200 })
	p.edit("system {", `include "more-*.kdl"`+"\nsystem {")
	p.edit(`"/auto"`, `"/auto" "/pattern"`)
	eventually(t, "the pattern", func() bool { code, _ := get(t, url+"/pattern"); return code == 200 })
	more := `routes { route "more" { matches { path "/more" }; builtin-handler "health" } }`
	if err := os.WriteFile(filepath.Join(p.dir, "more-1.kdl"), []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a file that the pattern matches", func() bool { code, _ := get(t, url+"/more"); return code == 200 })
	if err := os.Remove(filepath.Join(p.dir, "more-1.kdl")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end", func() bool { code, _ := get(t, url+"/more"); return code == 404 })
}

func TestInvalidConfigurationEndsWith3(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bad.kdl")
	os.WriteFile(file, []byte("routes { route }"), 0o644)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RUN_TEST_PROXY="+file)
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("exit code %d (%v), want 3", cmd.ProcessState.ExitCode(), err)
	}
}

// eventually waits for something another process does without telling.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}
