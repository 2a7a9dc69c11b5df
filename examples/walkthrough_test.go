package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
	"github.com/sentinel-stack/sentinel/stack/api"
)

// walkthroughFile is the one file of the walk-through. %[1]d is the proxy's port, %[2]d and %[3]d are those of the backends, %[4]s is a further route.
const walkthroughFile = `listeners {
    listener "http" {
        address "127.0.0.1:%[1]d"
        protocol "http"
    }
}
routes {
    route "upstreams" {
        priority "high"
        matches { path "/_upstreams" }
        builtin-handler "upstreams"
    }
    route "site" {
        matches { path-prefix "/" }
        upstream "web"
        filters "denylist" "echo"
        policies { failure-mode "closed" }
    }
%[4]s
}
upstreams {
    upstream "web" {
        target "127.0.0.1:%[2]d"
        target "127.0.0.1:%[3]d"
        health-check {
            type "http" { path "/health" }
            interval-ms 100
            timeout-secs 1
            healthy-threshold 2
            unhealthy-threshold 2
        }
    }
}
agents {
    agent "denylist" type="denylist" {
        events "request_headers"
        timeout-ms 2000
        config {
            block-paths "/forbidden"
            block-ips "192.0.2.0/24"
            body "No entry.\n"
            content-type "text/plain"
            tags "walkthrough"
        }
    }
    agent "echo" type="echo" {
        events "request_headers"
        timeout-ms 2000
    }
}
stack {
    // Ready once counts as a healthy life, so each kill is followed by a first restart.
    proxy { restart "always" { reset-after-secs 0 } }
    defaults { restart "always" { reset-after-secs 0 } }
}
observability {
    logging {
        level "info"
        access-log { file "access.log" }
        audit-log { file "audit.log" }
    }
}
`

// walk is the state of the walk-through.
type walk struct {
	dir     string
	file    string
	ports   [3]int // proxy, backend a, backend b
	url     string
	backend [2]*program
	stack   *program
	control *api.Client
}

// TestWalkthrough is the main job on real programs: nginx twice behind `sentinel-stack up` with two agents, through blocking, a backend that fails, edits and kills.
func TestWalkthrough(t *testing.T) {
	nginx := findNginx(t)
	need(t, "curl", "curl")
	needPrograms(t)
	w := startWalk(t, nginx)

	t.Run("request", w.request)
	t.Run("blocked and audited", w.blocked)
	t.Run("backend stopped and restored", func(t *testing.T) { w.backendStops(t, nginx) })
	t.Run("edit goes live", w.edit)
	t.Run("broken edit is refused", w.brokenEdit)
	for _, service := range []string{"proxy", "denylist", "echo"} {
		t.Run("kill "+service, func(t *testing.T) { w.kill(t, service) })
	}
	t.Run("hung agent fails closed", w.hang)
	t.Run("down", w.down)
}

// findNginx skips where nginx is not installed, except in CI.
func findNginx(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/nginx"); err == nil { // where Debian has it, which is not on everybody's PATH
		return "/usr/sbin/nginx"
	}
	return need(t, "nginx", "nginx-light")
}

func startWalk(t *testing.T, nginx string) *walk {
	w := &walk{dir: t.TempDir()}
	for i := range w.ports {
		w.ports[i] = proxytest.Port(t)
	}
	w.url = fmt.Sprintf("http://127.0.0.1:%d", w.ports[0])
	w.file = filepath.Join(w.dir, "sentinel.kdl")
	for i := range w.backend {
		w.startBackend(t, nginx, i)
	}
	w.write(t, w.text(""))

	// Sockets have short paths, so the runtime directory is not below the test's.
	runtime, err := os.MkdirTemp("", "walk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runtime) })
	w.control = api.NewClient(filepath.Join(runtime, "control.sock"))
	t.Cleanup(w.control.Close)
	env := append(os.Environ(), "SENTINEL_RUNTIME_DIR="+runtime)
	w.stack, err = startProgram(w.dir, env, filepath.Join(w.dir, "stack.log"), filepath.Join(bin, "sentinel-stack"), "up", "--config", w.file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.stack.end(syscall.SIGTERM)
		if t.Failed() {
			text, _ := os.ReadFile(w.stack.log)
			t.Logf("the stack's last lines:\n%s", lastLines(string(text), 60))
		}
	})
	if err := eventually(func() error { return ask(http.DefaultClient, w.url+"/", 200) }); err != nil {
		t.Fatal(err)
	}
	return w
}

// text is the file with one more route.
func (w *walk) text(route string) string {
	return fmt.Sprintf(walkthroughFile, w.ports[0], w.ports[1], w.ports[2], route)
}

// write replaces the file as an editor does.
func (w *walk) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(w.file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.file+".new", w.file); err != nil {
		t.Fatal(err)
	}
}

const nginxFile = `daemon off;
master_process off;
pid nginx-%[1]s.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path tmp-%[1]s-1; proxy_temp_path tmp-%[1]s-2; fastcgi_temp_path tmp-%[1]s-3; uwsgi_temp_path tmp-%[1]s-4; scgi_temp_path tmp-%[1]s-5;
    default_type text/plain;
    server {
        listen 127.0.0.1:%[2]d;
        location / { return 200 "nginx-%[1]s $uri echo=$http_x_echo_path forwarded=$http_x_forwarded_for\n"; }
        location /health { return 200 "ok\n"; }
    }
}
`

func (w *walk) startBackend(t *testing.T, nginx string, i int) {
	t.Helper()
	name := string(rune('a' + i))
	conf := filepath.Join(w.dir, "nginx-"+name+".conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxFile, name, w.ports[1+i]), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startProgram(w.dir, os.Environ(), filepath.Join(w.dir, "nginx-"+name+".log"), nginx, "-p", w.dir, "-c", conf)
	if err != nil {
		t.Fatal(err)
	}
	w.backend[i] = p
	t.Cleanup(func() {
		if w.backend[i] == p {
			_ = p.end(syscall.SIGTERM)
		}
	})
	if err := reachable(fmt.Sprintf("127.0.0.1:%d", w.ports[1+i])); err != nil {
		text, _ := os.ReadFile(p.log)
		t.Fatalf("%v\n%s", err, text)
	}
}

// curl runs curl and returns the answer with its head.
func (w *walk) curl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("curl", append([]string{"-s", "-S", "-i", "--max-time", "10"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl %q: %v\n%s", args, err, out)
	}
	return strings.ReplaceAll(string(out), "\r", "")
}

func (w *walk) request(t *testing.T) {
	seen := map[string]bool{}
	for range 4 {
		got := w.curl(t, w.url+"/hello")
		for _, part := range []string{"HTTP/1.1 200 OK\n", "X-Echo-Agent: echo\n", "X-Echo-Path: /hello\n", "echo=/hello forwarded=127.0.0.1\n"} {
			if !strings.Contains(strings.ToLower(got), strings.ToLower(part)) {
				t.Fatalf("the answer lacks %q:\n%s", part, got)
			}
		}
		seen[regexp.MustCompile(`nginx-[ab]`).FindString(got)] = true
	}
	if len(seen) != 2 {
		t.Errorf("four requests reached %v, want both backends", seen)
	}
}

func (w *walk) blocked(t *testing.T) {
	got := w.curl(t, "--path-as-is", w.url+"/x/../%66orbidden/door")
	if !strings.HasPrefix(got, "HTTP/1.1 403 ") || !strings.HasSuffix(got, "\n\nNo entry.\n") {
		t.Fatalf("want 403 with the configured body:\n%s", got)
	}
	id := regexp.MustCompile(`(?mi)^x-request-id: (\S+)$`).FindStringSubmatch(got)
	if id == nil {
		t.Fatalf("no request id:\n%s", got)
	}
	audit := filepath.Join(w.dir, "audit.log")
	err := eventually(func() error {
		text, err := os.ReadFile(audit)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, id[1]) {
				continue
			}
			if !json.Valid([]byte(line)) {
				return fmt.Errorf("not JSON: %s", line)
			}
			for _, part := range []string{"block-paths:/forbidden", "DENY_PATH", "walkthrough", "denylist", "403"} {
				if !strings.Contains(line, part) {
					return fmt.Errorf("the record lacks %q: %s", part, line)
				}
			}
			return nil
		}
		return fmt.Errorf("no record of request %s:\n%s", id[1], text)
	})
	if err != nil {
		t.Error(err)
	}
	if got := w.curl(t, w.url+"/forbidden-not"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("the innocent twin:\n%s", got)
	}
}

// healthy waits until the proxy counts so many healthy targets.
func (w *walk) healthy(t *testing.T, n int) time.Duration {
	t.Helper()
	start := time.Now()
	if err := eventually(func() error {
		body, _, err := request([]string{w.url + "/_upstreams"})
		if err == nil && !strings.Contains(body, fmt.Sprintf(`"healthy": %d`, n)) {
			err = fmt.Errorf("not %d healthy:\n%s", n, body)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

func (w *walk) backendStops(t *testing.T, nginx string) {
	w.healthy(t, 2)
	l := startLoad(10*time.Millisecond, map[string]int{w.url + "/": 200})
	stopped := w.backend[1]
	w.backend[1] = nil
	if err := stopped.end(syscall.SIGKILL); err == nil {
		t.Error("nginx survived")
	}
	t.Logf("ejected after %v", w.healthy(t, 1))
	for range 4 {
		if got := w.curl(t, w.url+"/"); !strings.Contains(got, "nginx-a") {
			t.Errorf("an ejected backend answered:\n%s", got)
		}
	}
	w.startBackend(t, nginx, 1)
	t.Logf("restored after %v", w.healthy(t, 2))
	if err := eventually(func() error {
		body, _, err := request([]string{"-has", "nginx-b", w.url + "/"})
		_ = body
		return err
	}); err != nil {
		t.Error(err)
	}
	l.check(t, "a backend dies", nil)
}

// edit adds a route five times under load and measures from the write to the first answer. The median counts: another test may have the machine for a moment.
func (w *walk) edit(t *testing.T) {
	l := startLoad(5*time.Millisecond, map[string]int{w.url + "/": 200, w.url + "/forbidden": 403})
	var live []time.Duration
	for i := range 5 {
		path := fmt.Sprintf("/new-%d", i)
		route := fmt.Sprintf("    route \"new\" {\n        priority \"high\"\n        matches { path %q }\n        builtin-handler \"health\"\n    }", path)
		start := time.Now()
		w.write(t, w.text(route))
		if err := eventually(func() error { _, _, err := request([]string{"-has", "healthy", w.url + path}); return err }); err != nil {
			t.Fatal(err)
		}
		live = append(live, time.Since(start).Round(time.Millisecond))
	}
	slices.Sort(live)
	t.Logf("from the write of the file to the first answer of a new route: %v; the last reload itself took %d ms", live, w.status(t).LastReload.TookMillis)
	if median := live[len(live)/2]; median > 500*time.Millisecond {
		t.Errorf("a new route is live after %v (median of %d), want 500ms", median, len(live))
	}
	l.check(t, "edits", nil)
}

func (w *walk) brokenEdit(t *testing.T) {
	l := startLoad(5*time.Millisecond, map[string]int{w.url + "/": 200, w.url + "/forbidden": 403})
	before := w.status(t).Generation
	good := w.text("")
	broken := strings.Replace(good, `upstream "web"`, `upstreem "web"`, 1)
	line := 1 + strings.Count(good[:strings.Index(good, `upstream "web"`)], "\n")
	w.write(t, broken)
	place := fmt.Sprintf("sentinel.kdl:%d:9", line)
	if err := eventually(func() error {
		last := w.status(t).LastReload
		if last == nil || last.OK || !strings.Contains(last.Error, place) {
			return fmt.Errorf("last reload %+v does not name %s", last, place)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := eventually(func() error {
		text, err := os.ReadFile(w.stack.log)
		if err == nil && !strings.Contains(string(text), place) {
			err = fmt.Errorf("the log does not name %s", place)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if now := w.status(t).Generation; now != before {
		t.Errorf("generation %d, was %d: a broken file was applied", now, before)
	}
	// An agent that refuses its part refuses the whole.
	w.write(t, strings.Replace(good, `"192.0.2.0/24"`, `"192.0.2.0/240"`, 1))
	if err := eventually(func() error {
		last := w.status(t).LastReload
		if last == nil || last.OK || !strings.Contains(last.Error, "block-ips") {
			return fmt.Errorf("last reload %+v does not name block-ips", last)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	w.write(t, good)
	if err := eventually(func() error {
		if last := w.status(t).LastReload; last == nil || !last.OK {
			return fmt.Errorf("the repaired file is not loaded: %+v", last)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	l.check(t, "a broken edit", nil)
}

func (w *walk) status(t *testing.T) *api.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := w.control.Status(ctx)
	if err != nil {
		t.Fatalf("cannot get status: %v", err)
	}
	return s
}

func (w *walk) service(t *testing.T, name string) api.Service {
	t.Helper()
	for _, s := range w.status(t).Services {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no service %s", name)
	return api.Service{}
}

// kill kills one service several times under load.
func (w *walk) kill(t *testing.T, name string) {
	l := startLoad(4*time.Millisecond, map[string]int{w.url + "/": 200, w.url + "/forbidden": 403})
	var excuse []window
	const times = 10
	for range times {
		before := w.ready(t, name, 0)
		from := time.Now()
		if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := gone(before.PID); err != nil {
			t.Fatal(err)
		}
		excuse = append(excuse, window{from, time.Now()})
		after := w.ready(t, name, before.PID)
		if after.Restarts <= before.Restarts {
			t.Errorf("restarts %d, were %d", after.Restarts, before.Restarts)
		}
		if err := l.progress(10); err != nil {
			t.Fatal(err)
		}
	}
	if name != "proxy" {
		excuse = nil // the proxy asks an agent again when it dies over a question
	}
	l.check(t, "kill -9 of "+name, excuse)
	s := w.service(t, name)
	t.Logf("%s: exit to exec p50 %d µs, exec to ready p50 %d µs", name, s.RestartP50Micros, s.ReadyP50Micros)
}

// hang stops the denylist agent without ending it: nothing passes unseen, and all is well when it goes on or is replaced.
func (w *walk) hang(t *testing.T) {
	pid := w.ready(t, "denylist", 0).PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := inState(pid, "T"); err != nil { // a signal to a process of several threads takes a moment
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/forbidden"} {
		res, err := http.Get(w.url + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode < 500 {
			t.Errorf("%s: status %d while the agent cannot be asked", path, res.StatusCode)
		}
	}
	_ = syscall.Kill(pid, syscall.SIGCONT)
	if err := eventually(func() error { return ask(http.DefaultClient, w.url+"/", 200) }); err != nil {
		t.Error(err)
	}
	if err := ask(http.DefaultClient, w.url+"/forbidden", 403); err != nil {
		t.Error(err)
	}
}

// ready waits until the service is ready in a process other than pid.
func (w *walk) ready(t *testing.T, name string, pid int) api.Service {
	t.Helper()
	var s api.Service
	if err := eventually(func() error {
		if s = w.service(t, name); s.State != "ready" || s.PID == pid || s.PID == 0 {
			return fmt.Errorf("%s is %s as process %d (%s)", name, s.State, s.PID, s.Reason)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *walk) down(t *testing.T) {
	pids := []int{}
	for _, s := range w.status(t).Services {
		pids = append(pids, s.PID)
	}
	if err := w.stack.end(syscall.SIGTERM); err != nil {
		t.Errorf("the stack ends with %v", err)
	}
	for _, pid := range pids {
		if err := gone(pid); err != nil {
			t.Error(err)
		}
	}
	if res, err := http.Get(w.url + "/"); err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		t.Error("somebody still answers")
	}
}
