package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/watch"
)

// TestReplacementsUnderLoad: a restart that is asked for costs no request at all, not even one in flight.
func TestReplacementsUnderLoad(t *testing.T) {
	s := newStack(t, guarded)
	s.up()
	l := s.load(300)
	replace := func(name string) {
		before := s.service(name).PID
		s.must(0, "restart", name)
		if v := s.service(name); v.PID == before || v.State != "ready" {
			t.Errorf("%s: %+v", name, v)
		}
	}
	for range 3 {
		replace("denylist")
		replace("echo")
	}
	proxies := 20
	if testing.Short() {
		proxies = 3
	}
	for range proxies {
		replace("proxy")
	}
	l.stop(nil)
}

// TestReplacementThatFailsKeepsTheOld: the program is broken under the running stack.
func TestReplacementThatFailsKeepsTheOld(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	program := filepath.Join(s.dir, "agent")
	real, err := os.ReadFile(filepath.Join(bin, "sentinel-echo"))
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(program, real, 0o755)
	s.write(plain + `agents { agent "x" type="custom" { command "DIR/agent"; ready { timeout-secs 20 } } }`)
	s.up()
	before := s.service("x").PID
	os.Remove(program)
	os.WriteFile(program, []byte("#!/bin/sh\nexit 9\n"), 0o755)
	if out := s.must(6, "restart", "x"); !strings.Contains(out, "exit 9") {
		t.Errorf("restart says %q", out)
	}
	if v := s.service("x"); v.PID != before || v.State != "ready" {
		t.Errorf("%+v", v)
	}
}

// TestHungAgentIsRestarted: a stopped process answers nothing; the watchdog notices.
func TestHungAgentIsRestarted(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a real watchdog")
	}
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	before := s.service("echo").PID
	unix.Kill(before, unix.SIGSTOP)
	end := time.Now().Add(40 * time.Second)
	for s.service("echo").PID == before || s.service("echo").State != "ready" {
		if time.Now().After(end) {
			t.Fatalf("still hung: %+v", s.service("echo"))
		}
		time.Sleep(50 * time.Millisecond)
	}
	if out := s.must(0, "events"); !strings.Contains(out, "no sign of life") {
		t.Errorf("events: %s", out)
	}
}

// TestReloadsUnderLoad: a hundred reloads that are asked for and change something cost no request and no process.
func TestReloadsUnderLoad(t *testing.T) {
	s := newStack(t, plain)
	s.up()
	pid, began := s.service("proxy").PID, s.status().Generation
	l := s.load(300)
	const reloads = 100
	for i := range reloads {
		text := plain
		if i%2 == 0 {
			text = withRoute(plain)
		}
		s.write(text)
		s.must(0, "reload")
	}
	l.stop(nil)
	if v := s.service("proxy"); v.PID != pid || v.State != "ready" {
		t.Errorf("%+v", v)
	}
	if n := s.status().Generation - began; n < reloads {
		t.Errorf("%d generations for %d reloads", n, reloads)
	}
}

// TestReloadStorm: edits in all the ways in which people and programs write files, half of them broken or half written, end in few reloads and in the last state. STORM says how many there are; with that the last one has to
// be live within half a second.
func TestReloadStorm(t *testing.T) {
	edits, err := strconv.Atoi(os.Getenv("STORM"))
	strict := err == nil
	if !strict {
		t.Parallel()
		edits = 150
	}
	s := newStack(t, guarded)
	s.up()
	pids := s.pids("proxy", "echo", "denylist")
	l := s.load(100)
	began := time.Now()
	for i := range edits {
		s.writeBy(i%5, []string{withRoute(guarded), guarded[:len(guarded)/2], guarded + fmt.Sprintf("// %d\n", i), strings.Replace(guarded, "127.0.0.1", "127.0.0.300", 1)}[i%4])
		time.Sleep(10 * time.Millisecond)
	}
	s.write(strings.Replace(withRoute(guarded), `path "/live"`, `path "/live" "/last"`, 1))
	took := eventually(t, "the last one is applied", func() bool { _, body, err := s.get("/last"); return err == nil && strings.Contains(body, "healthy") })
	generation, most := s.status().Generation, uint64(time.Since(began)/watch.Debounce)+2
	t.Logf("%d edits, %d generations, at most %d are possible; the last one was live after %v", edits, generation, most, took)
	if c := s.changed(pids); len(c) != 0 {
		t.Errorf("restarted: %v", c)
	}
	l.stop(nil) // no broken one was applied
	if generation > most || strict && took > 500*time.Millisecond {
		t.Error("that is too many generations, or too late")
	}
}

// writeBy writes the configuration in one of the ways in which files are written.
func (s *stack) writeBy(way int, config string) {
	s.t.Helper()
	text := []byte(strings.NewReplacer("PORT", fmt.Sprint(s.port), "DIR", s.dir).Replace(config))
	var err error
	switch way {
	case 0: // replaced in one step
		s.write(config)
	case 1: // emptied and written in two parts
		var f *os.File
		if f, err = os.OpenFile(s.file, os.O_TRUNC|os.O_WRONLY, 0); err == nil {
			_, err = f.Write(text[:len(text)/3])
			_, err2 := f.Write(text[len(text)/3:])
			err = errors.Join(err, err2, f.Close())
		}
	case 2: // as vim does: the old one is kept beside, a new one made
		if err = os.Rename(s.file, s.file+"~"); err == nil {
			err = os.WriteFile(s.file, text, 0o644)
		}
	case 3: // a link is switched to another file, as orchestrators do
		target := fmt.Sprintf("%s.%d", s.file, time.Now().UnixNano())
		err = errors.Join(os.WriteFile(target, text, 0o644), os.Symlink(target, s.file+".link"), os.Rename(s.file+".link", s.file))
	case 4: // gone for a moment
		err = errors.Join(os.Remove(s.file), os.WriteFile(s.file, text, 0o644))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestControlSocketIsNotStalledByAbusers(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain)
	s.up()
	path := filepath.Join(s.runtime(), "control.sock")
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range 100 { // below the bound on clients; those above it wait in the backlog by design
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		switch i % 3 {
		case 0:
			c.Write([]byte("GET /v1/sta"))
		case 1:
			c.Write([]byte("\x00\xff garbage\r\n\r\n"))
		default:
			c.Write([]byte("GET /v1/logs?follow=1&n=-1 HTTP/1.1\r\nHost: x\r\n\r\n")) // and never reads
		}
	}
	began := time.Now()
	s.must(0, "status")
	t.Logf("status took %v", time.Since(began))
	for range 300 {
		s.get("/")
	}
	if v := s.service("proxy"); v.State != "ready" {
		t.Errorf("%+v", v)
	}
}

func TestOneRequestAcrossProcessesAndMetrics(t *testing.T) {
	t.Parallel()
	s := newStack(t, guarded)
	s.up()
	req, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/secret", s.port), nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	id := resp.Header.Get("X-Request-Id")
	if id == "" {
		var out string
		eventually(t, "the decision is logged", func() bool { out = s.must(0, "logs", "--json", "--grep", `"status":403`, "proxy"); return out != "" })
		line := decode[api.LogLine](t, strings.SplitN(out, "\n", 2)[0])
		id = decode[struct {
			ID string `json:"request_id"`
		}](t, line.Text).ID
	}
	eventually(t, "the request is found by its id", func() bool { return strings.Count(s.must(0, "logs", "--request", id), id) >= 2 })
	if out := s.must(0, "logs", "--request", id[:len(id)-1]); strings.Contains(out, id) {
		t.Errorf("part of an id selects lines:\n%s", out)
	}
	c := api.NewClient(filepath.Join(s.runtime(), "control.sock"))
	defer c.Close()
	var b strings.Builder
	if err := c.Metrics(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`sentinel_stack_service_state{service="denylist",state="ready"} 1`, `sentinel_stack_scrape_up{service="proxy"} 1`,
		`sentinel_stack_generation 1`, `sentinel_requests_total{service="proxy"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
}

// TestUnderAServiceManager: sockets come from above and states are reported upwards, as systemd does it.
func TestUnderAServiceManager(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain)
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		t.Fatal(err)
	}
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(s.dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	var mu sync.Mutex
	var heard strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := notify.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			heard.Write(append(buf[:n:n], '\n'))
			mu.Unlock()
		}
	}()
	hears := func(what string) {
		t.Helper()
		eventually(t, "it reports "+what, func() bool { mu.Lock(); defer mu.Unlock(); return strings.Contains(heard.String(), what) })
	}
	up := s.command("up", "-q")
	script := exec.Command("/bin/sh", append([]string{"-c", `export LISTEN_PID=$$; exec "$@"`, "sh"}, up.Args...)...)
	script.Env = append(up.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=web", "NOTIFY_SOCKET="+filepath.Join(s.dir, "notify"), "WATCHDOG_USEC=400000")
	script.Dir, script.ExtraFiles = up.Dir, []*os.File{f}
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	f.Close()
	hears("READY=1")
	hears("WATCHDOG=1")
	if code, _, err := s.get("/"); code != 200 {
		t.Errorf("%d %v", code, err)
	}
	env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.service("proxy").PID))
	if strings.Contains(string(env), s.dir+"/notify\x00") {
		t.Error("the proxy sees the service manager's socket")
	}
	s.must(0, "reload")
	hears("RELOADING=1\nMONOTONIC_USEC=")
	script.Process.Signal(unix.SIGTERM)
	if err := script.Wait(); err != nil {
		t.Error(err)
	}
	hears("STOPPING=1")
	notify.Close()
	<-done
}

// TestLeftoversOfADeadSupervisorAreCleared: its services die with it, what they had spawned dies by the next start.
func TestLeftoversOfADeadSupervisorAreCleared(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain+`
stack { service "spawner" { command "/bin/sh" "-c" "setsid sleep 1000 & sleep 1000 & exec sleep 1000" } }`)
	s.up()
	eventually(t, "the grandchildren run", func() bool { return len(s.descendants()) >= 5 })
	before := s.descendants()
	kill(s.status().PID)
	eventually(t, "the services are gone", func() bool { return len(s.descendants()) <= 2 })
	s.up()
	for _, pid := range before {
		for _, left := range s.descendants() {
			if left == pid {
				t.Errorf("%s lives on", pid)
			}
		}
	}
}

// TestGrandchildrenOfAnAgentDoNotSurvive, not even one with a session of its own and an empty environment.
func TestGrandchildrenOfAnAgentDoNotSurvive(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain+`
stack { service "spawner" { command "/bin/sh" "-c" "setsid sh -c 'exec -a MARK-DIR sleep 1000' & env -i setsid bash -c 'exec -a MARK-DIR sleep 1000' & exec sleep 1000" } }`)
	s.up()
	count := func() int {
		n := 0
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			if b, _ := os.ReadFile(f); strings.HasPrefix(string(b), "MARK-"+s.dir+"\x00") {
				n++
			}
		}
		return n
	}
	eventually(t, "the grandchildren run", func() bool { return count() >= 1 })
	s.must(0, "stop", "spawner")
	if n := count(); n > 0 {
		t.Errorf("%d survive", n)
	}
}

// TestSecondSignalEndsThePatience: nothing is waited for any more, and nothing survives either.
func TestSecondSignalEndsThePatience(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain+`
stack {
    shutdown-timeout-secs 3600
    service "stubborn" {
        command "/bin/sh" "-c" "trap 'touch DIR/asked' TERM; setsid sleep 1000 & while :; do sleep 0.05; done"
        stop { timeout-secs 3600 }
    }
}`)
	up := s.command("up")
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- up.Wait() }()
	eventually(t, "all is ready", func() bool {
		code, out := s.run("status")
		return code == 0 && strings.Count(out, " ready ") == 2
	})
	up.Process.Signal(unix.SIGTERM)
	eventually(t, "the service was asked to stop", func() bool { _, err := os.Stat(filepath.Join(s.dir, "asked")); return err == nil })
	select {
	case err := <-ended:
		t.Fatalf("the first signal ended it: %v", err)
	default:
	}
	up.Process.Signal(unix.SIGTERM)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left := s.descendants(); len(left) > 0 {
		t.Errorf("processes survive: %v", left)
	}
}

// TestTheReaderOfTheOutputMayDie: `sentinel-stack up | head` must not take the site down, nor an agent's log reader the agent.
func TestTheReaderOfTheOutputMayDie(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain+`
stack { service "noisy" { command "/bin/sh" "-c" "while :; do echo noise; sleep 0.01; done" } }`)
	agent := s.command()
	agent.Path, agent.Args = filepath.Join(bin, "sentinel-echo"), []string{"sentinel-echo", "--socket", filepath.Join(s.dir, "echo.sock")}
	for _, cmd := range []*exec.Cmd{s.command("up"), agent} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = w, w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if n, err := r.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatal("it says nothing", err)
		}
		r.Close()
		t.Cleanup(func() { cmd.Process.Signal(unix.SIGTERM); cmd.Wait() })
	}
	eventually(t, "all is ready", func() bool {
		code, out := s.run("status")
		return code == 0 && strings.Count(out, " ready ") == 2
	})
	before := s.service("noisy").PID
	eventually(t, "more was printed", func() bool {
		_, out := s.run("logs", "noisy", "-n", "-1")
		return strings.Count(out, "noise\n") > 50
	})
	if v := s.service("noisy"); v.PID != before {
		t.Error("the stack was started anew")
	}
	for range 3 { // each connection is worth a line in the agent's log, because it is closed before the handshake
		c, err := net.Dial("unix", filepath.Join(s.dir, "echo.sock"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Error("the agent answers HTTP")
		}
		c.Close()
	}
	agent.Process.Signal(unix.SIGTERM)
	if err := agent.Wait(); err != nil {
		t.Error("the agent ended otherwise than asked:", err)
	}
}

func TestLogFilesAndMetricsEndpoint(t *testing.T) {
	t.Parallel()
	s := newStack(t, plain)
	port := proxytest.Port(t)
	dir := filepath.Join(s.dir, "logs")
	s.must(0, "up", "-d", "--log-dir", dir, "--metrics", fmt.Sprintf("127.0.0.1:%d", port))
	s.get("/")
	file := filepath.Join(dir, "proxy.jsonl")
	read := func() string { b, _ := os.ReadFile(file); return string(b) }
	eventually(t, "the access line is in the file", func() bool { return strings.Contains(read(), `\"status\":200`) })
	for line := range strings.Lines(read()) {
		if l := decode[api.LogLine](t, line); l.Service != "proxy" || l.Time.IsZero() {
			t.Errorf("line %s", line)
		}
	}
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	unix.Kill(s.status().PID, unix.SIGUSR1)
	eventually(t, "the file is opened again", func() bool { s.get("/"); return read() != "" })
	if s.service("proxy").Restarts != 0 {
		t.Error("the signal ended the proxy")
	}
	was := s.port
	s.port = port
	if code, body, err := s.get("/metrics"); code != 200 || !strings.Contains(body, "sentinel_stack_generation 1") {
		t.Errorf("%d %v %.200s", code, err, body)
	}
	if code, _, _ := s.get("/v1/status"); code != 404 {
		t.Errorf("the control API answers on the metrics address: %d", code)
	}
	s.port = was
}
