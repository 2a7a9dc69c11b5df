package plan

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/limits"
)

// world is a directory with a configuration and programs.
type world struct {
	t    *testing.T
	dir  string
	host Host
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	for _, p := range []string{"sentinel", "sentinel-echo", "sentinel-denylist", "tool"} {
		if err := os.WriteFile(filepath.Join(dir, p), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &world{t, dir, Host{
		Getenv: func(string) string { return "" }, Environ: []string{"PATH=" + os.Getenv("PATH"), "NOTIFY_SOCKET=/up", "LISTEN_FDS=3", "HOME=/h", "A=outer"},
		ProgramDir: dir, RuntimeDir: "/run/x",
	}}
}

func (w *world) load(config string) *Plan {
	w.t.Helper()
	p, err := w.try(config)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) try(config string) (*Plan, error) {
	w.t.Helper()
	file := filepath.Join(w.dir, "sentinel.kdl")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return Load(file, w.host)
}

func (p *Plan) names() string {
	var names []string
	for _, s := range p.Services {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

func (p *Plan) service(name string) Service {
	return p.Services[slices.IndexFunc(p.Services, func(s Service) bool { return s.Name == name })]
}

const base = `
listeners { listener "web" { address "127.0.0.1:8081" } }
routes {
    route "one" { matches { path "/one" }; builtin-handler "status"; filters "both" }
    route "two" { matches { path "/two" }; builtin-handler "status"; filters "plain" }
}
filters { filter "both" { type "agent"; agent "second" } }
agents {
    agent "idle" type="echo"
    agent "second" type="echo"
    agent "plain" type="denylist" { env { A "inner"; B "b" } }
    agent "elsewhere" type="echo" { external #true; unix-socket "/run/y.sock" }
}
stack { service "tool" { command "tool" "x" } }
`

func TestOrderComesFromTheRoutes(t *testing.T) {
	t.Parallel()
	p := newWorld(t).load(base)
	if got := p.names(); got != "tool second plain proxy idle" {
		t.Errorf("order %s", got)
	}
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.load(base)
	proxy := p.service(ProxyName)
	if proxy.Path != filepath.Join(w.dir, "sentinel") || fmt.Sprint(proxy.Sockets) != "[{web tcp 127.0.0.1:8081 proxy} {sentinel-admin unix /run/x/proxy.sock admin}]" {
		t.Errorf("%+v", proxy)
	}
	plain := p.service("plain")
	want := []string{"PATH=" + os.Getenv("PATH"), "HOME=/h", "SENTINEL_RUNTIME_DIR=/run/x", "SENTINEL_SOCKET=/run/x/agents/plain.sock", "SENTINEL_AGENT=plain", "A=inner", "B=b"}
	if !slices.Equal(plain.Env, want) {
		t.Errorf("environment %q\nwant %q", plain.Env, want)
	}
	if plain.Path != filepath.Join(w.dir, "sentinel-denylist") || plain.Problem != "" || plain.Ready.Handshake != "" {
		t.Errorf("%+v", plain)
	}
	if proxy.StopTimeout <= p.config.System.GracefulShutdownTimeout {
		t.Errorf("the proxy is killed while it drains: %v", proxy.StopTimeout)
	}
}

func TestForeignCommandAndEnvFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(w.dir, "a.env")
	os.WriteFile(file, []byte("# comment\n\nexport KEY=\"va\\tlue\"\nOTHER='as is'\nA=from file\n"), 0o600)
	config := strings.Replace(base, `agent "second" type="echo"`,
		fmt.Sprintf(`agent "second" type="custom" { command "tool" "--socket" "${SENTINEL_SOCKET}" "$HOME"; env-file %q; env { OTHER "wins" } }`, file), 1)
	p := w.load(config)
	s := p.service("second")
	if !slices.Equal(s.Args, []string{"tool", "--socket", "/run/x/agents/second.sock", "${HOME}"}) && !slices.Equal(s.Args, []string{"tool", "--socket", "/run/x/agents/second.sock", "$HOME"}) {
		t.Errorf("arguments %q", s.Args)
	}
	for _, kv := range []string{"KEY=va\tlue", "OTHER=wins", "A=from file"} {
		if !slices.Contains(s.Env, kv) {
			t.Errorf("no %q in %q", kv, s.Env)
		}
	}
	if s.OurProgram || s.Ready.Handshake != "/run/x/agents/second.sock" || !slices.Contains(p.Watched, file) {
		t.Errorf("%+v, watched %v", s, p.Watched)
	}
	for text, want := range map[string]string{"nonsense\n": ":1:1:", "A=1\n=x\n": ":2:1:", "A=\"open\n": ":1:3:"} {
		os.WriteFile(file, []byte(text), 0o600)
		if _, err := w.try(config); err == nil || !strings.Contains(err.Error(), file+want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestMissingProgramIsTheProblemOfItsService(t *testing.T) {
	t.Parallel()
	p := newWorld(t).load(strings.Replace(base, `type="denylist"`, `type="absent"`, 1))
	if s := p.service("plain"); !strings.Contains(s.Problem, "sentinel-absent") {
		t.Errorf("%+v", s)
	}
	if s := p.service("second"); s.Problem != "" {
		t.Errorf("%+v", s)
	}
	if d := p.problems(); len(d) != 1 || d[0].Severity != config.SeverityError || d[0].Line != 11 || d[0].Col != 11 || d[0].Code != "unusable-service" {
		t.Errorf("%+v", d)
	}
	// Nobody misses an agent that no route uses.
	p = newWorld(t).load(strings.Replace(base, `agent "idle" type="echo"`, `agent "idle" type="absent"`, 1))
	if d := p.problems(); len(d) != 1 || d[0].Severity != config.SeverityWarning || d[0].Line != 9 {
		t.Errorf("%+v", d)
	}
	// A service of the stack block, and the proxy.
	p = newWorld(t).load(strings.Replace(base, `service "tool" { command "tool" "x" }`, `service "tool" { command "absent" }; proxy { command "also-absent" }`, 1))
	if d := p.problems(); len(d) != 2 || d[0].Line != 14 || d[0].Col != 17 || d[1].Line != 14 || d[1].Col < 40 {
		t.Errorf("%+v", d)
	}
	if d := newWorld(t).load(base).problems(); d != nil {
		t.Errorf("%+v", d)
	}
}

func TestMissingEnvFileNamesThePlace(t *testing.T) {
	t.Parallel()
	for old, place := range map[string]string{`agent "idle" type="echo"`: "sentinel.kdl:9:", `service "tool" { command "tool" "x"`: "sentinel.kdl:14:"} {
		with := old + "; env-file \"/nonexistent/x.env\""
		if strings.HasPrefix(old, "agent") {
			with = old + " { env-file \"/nonexistent/x.env\" }"
		}
		_, err := newWorld(t).try(strings.Replace(base, old, with, 1))
		if err == nil || !IsInvalid(err) || !strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), "/nonexistent/x.env") {
			t.Errorf("%v", err)
		}
	}
}

func TestInvalidConfigurationNamesThePlace(t *testing.T) {
	t.Parallel()
	_, err := newWorld(t).try("listeners { listener \"web\" { adress \"127.0.0.1:1\" } }\n")
	if err == nil || !IsInvalid(err) || !strings.Contains(err.Error(), "sentinel.kdl:1:") {
		t.Errorf("%v", err)
	}
}

func TestUnusableServices(t *testing.T) {
	t.Parallel()
	tests := []struct{ old, new, want string }{
		{`agent "idle"`, `agent "proxy"`, "the proxy"},
		{`agent "idle"`, `agent "stack"`, "logs under this name"},
		{`agent "idle"`, `agent "tool"`, "already taken"},
		{`service "tool"`, `service "../tool"`, "cannot be a name"},
		{`agent "idle" type="echo"`, `agent "idle" type="echo" { unix-socket "/run/x/agents/plain.sock" }`, "share the socket"},
		{`agent "idle" type="echo"`, `agent "idle" type="echo" { unix-socket "/` + strings.Repeat("x", 120) + `" }`, "bytes"},
	}
	for _, tt := range tests {
		config := strings.Replace(base, tt.old, tt.new, 1)
		if _, err := newWorld(t).try(config); err == nil || !IsInvalid(err) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "sentinel.kdl:") {
			t.Errorf("%s: %v", tt.new, err)
		}
	}
}

// TestLimitFaultNamesThePlace: where the limit is written, be it in the defaults.
func TestLimitFaultNamesThePlace(t *testing.T) {
	t.Parallel()
	config := strings.Replace(base, `stack {`, "stack { strict-limits #true\ndefaults { limits { nofile 99 } }\n", 1)
	config = strings.Replace(config, `{ env {`, `{ limits { pids 50 }; env {`, 1)
	p := newWorld(t).load(config)
	if !p.StrictLimits || p.service("plain").Limits != (limits.Set{NoFile: 99, PIDs: 50}) || p.service("second").Limits != (limits.Set{NoFile: 99}) || p.Proxy().Limits != (limits.Set{}) {
		t.Errorf("%+v", p.Services)
	}
	for name, place := range map[string]string{limits.PIDs: "sentinel.kdl:11:51", limits.NoFile: "sentinel.kdl:15:28"} {
		err := p.LimitFault(p.service("plain"), limits.Limit{Name: name, Text: "5", Layer: limits.None, Why: "of the weather"})
		if !IsInvalid(err) || !strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), "agent plain: limit "+name+" 5 is not enforced: of the weather") {
			t.Errorf("%v", err)
		}
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	swap := func(old, new string) string {
		if !strings.Contains(base, old) {
			t.Fatalf("no %q in the base", old)
		}
		return strings.Replace(base, old, new, 1)
	}
	tests := []struct {
		name   string
		config string
		want   []string // "op kind name action"
		steps  map[string]Step
		reload bool
	}{
		{"nothing", base, nil, nil, false},
		{"a comment", base + "// nothing\n", nil, nil, true},
		{"a new route", swap(`route "one"`, `route "new" { matches { path "/n" }; builtin-handler "status" }
    route "one"`), []string{"+ route new reload"}, nil, true},
		{"a changed route", swap(`path "/one"`, `path "/uno"`), []string{"~ route one reload"}, nil, true},
		{"a listener more", swap(`listeners {`, `listeners { listener "b" { address "127.0.0.1:8082" }
`), []string{"~ proxy proxy replace", "+ listener b replace"}, map[string]Step{"proxy": StepReplace}, false},
		{"an agent's process", swap(`B "b"`, `B "c"`), []string{"~ agent plain replace"}, map[string]Step{"plain": StepReplace}, true},
		{"an agent's configuration", swap(`{ env {`, `{ config { x 1 }; env {`), []string{"~ agent plain configure"}, nil, true},
		{"only how it is watched", swap(`agent "second" type="echo"`, `agent "second" type="echo" { ready { timeout-secs 33 } }`),
			[]string{"~ agent second update"}, map[string]Step{"second": StepUpdate}, true},
		{"an agent's limit", swap(`{ env {`, `{ limits { pids 50 }; env {`), []string{"~ agent plain replace"}, map[string]Step{"plain": StepReplace}, true},
		{"the proxy's limit", swap(`stack {`, `stack { proxy { limits { cpu "50%" } };`), []string{"~ proxy proxy replace"}, map[string]Step{"proxy": StepReplace}, false},
		{"a service's limit", swap(`"tool" "x"`, `"tool" "x"; limits { core 1 }`), []string{"~ service tool replace"}, map[string]Step{"tool": StepReplace}, true},
		{"a limit of an external agent's neighbours", swap(`stack {`, `stack { defaults { limits { nofile 99 } };`),
			[]string{"~ agent second replace", "~ agent plain replace", "~ agent idle replace"}, map[string]Step{"second": StepReplace, "plain": StepReplace, "idle": StepReplace}, true},
		{"an agent less", swap(`    agent "idle" type="echo"
`, ""), []string{"- agent idle stop"}, map[string]Step{"idle": StepStop}, true},
		{"an agent more", swap(`agent "idle"`, `agent "more" type="echo"
    agent "idle"`), []string{"+ agent more start"}, map[string]Step{"more": StepStart}, true},
		{"the error log's level", base + `observability { logging { level "debug" } }`, []string{"~ observability observability reload"}, nil, true},
		{"the error log's file", base + `observability { logging { file "/tmp/x.log" } }`, []string{"~ proxy proxy replace", "~ observability observability replace"}, map[string]Step{"proxy": StepReplace}, false},
		{"the path of metrics", base + `observability { metrics { enabled #false; path "/m" } }`, []string{"~ proxy proxy replace", "~ observability observability replace"}, map[string]Step{"proxy": StepReplace}, false},
		{"a service's command", swap(`"tool" "x"`, `"tool" "y"`), []string{"~ service tool replace"}, map[string]Step{"tool": StepReplace}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := Compare(w.load(base), w.load(tt.config))
			var got []string
			for _, c := range d.Changes {
				got = append(got, fmt.Sprintf("%s %s %s %s", c.Op, c.Kind, c.Name, c.Action))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("changes %q, want %q", got, tt.want)
			}
			if fmt.Sprint(d.Steps) != fmt.Sprint(tt.steps) && len(d.Steps)+len(tt.steps) > 0 {
				t.Errorf("steps %v, want %v", d.Steps, tt.steps)
			}
			if d.ReloadProxy != tt.reload {
				t.Errorf("reload of the proxy: %v", d.ReloadProxy)
			}
		})
	}
}

func TestDetailNamesTheKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := Compare(w.load(base), w.load(strings.Replace(base, `path "/one"`, `path "/uno"`, 1)))
	if len(d.Changes) != 1 || d.Changes[0] != (api.Change{Op: "~", Kind: "route", Name: "one", Action: "reload", Detail: "match changed"}) {
		t.Errorf("%+v", d.Changes)
	}
}

func FuzzParseEnv(f *testing.F) {
	f.Add("A=1\nexport B=\"x\"\n#c\nC='y'")
	f.Add("=\n")
	f.Add("A=\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		vars, err := parseEnv("f", text)
		for _, v := range vars {
			if err == nil && (v.Name == "" || strings.ContainsAny(v.Name, "=\x00\n") || strings.Contains(v.Value, "\x00")) {
				t.Errorf("%+v", v)
			}
		}
	})
}

// A listener on a Unix socket is held as one.
// TestInstances: each is a service with a socket of its own, which the proxy derives likewise, and a changed number starts and stops but replaces nothing.
func TestInstances(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const site = `
listeners { listener "web" { address "127.0.0.1:8080" } }
routes { route "all" { matches { path-prefix "/" }; builtin-handler "status"; filters "echo" } }
agents { agent "echo" { INSTANCES }; OTHER }
`
	with := func(instances, other string) string {
		return strings.NewReplacer("INSTANCES", instances, "OTHER", other).Replace(site)
	}
	p := w.load(with("instances 3", ""))
	if got := p.names(); got != "echo/1 echo/2 echo/3 proxy" {
		t.Fatal(got)
	}
	for i, s := range p.Services[:3] {
		want := fmt.Sprintf("/run/x/agents/echo.%d.sock", i+1)
		if s.Agent != "echo" || len(s.Sockets) != 1 || s.Sockets[0].Address != want || !slices.Contains(s.Env, "SENTINEL_SOCKET="+want) || !slices.Contains(s.Env, "SENTINEL_AGENT=echo") {
			t.Errorf("%+v", s)
		}
	}
	if got := AgentOf(p.Services[1].Name); got != "echo" || AgentOf("proxy") != "proxy" {
		t.Error(got)
	}
	fewer := Compare(p, w.load(with("instances 2", "")))
	if len(fewer.Steps) != 1 || fewer.Steps["echo/3"] != StepStop || !fewer.ReloadProxy {
		t.Errorf("%+v", fewer)
	}
	more := Compare(p, w.load(with("instances 4", "")))
	if len(more.Steps) != 1 || more.Steps["echo/4"] != StepStart || !more.ReloadProxy {
		t.Errorf("%+v", more)
	}
	for text, want := range map[string]string{
		with("instances 2", `agent "echo_1" type="echo"`):                                      "the same files",
		with("instances 2", `agent "echo.1" type="echo"`):                                      "share the socket",
		with(`instances 2; unix-socket "/run/one.sock"`, ""):                                   "1 sockets for 2",
		with(`instances 2; unix-socket "/run/one.sock" "/run/two.sock" "/run/three.sock"`, ""): "3 sockets for 2",
	} {
		if _, err := w.try(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if h := (Hook{On: []string{"crashed"}, Services: []string{"echo"}}); !h.Wants([]string{"crashed"}, "echo/2") || h.Wants([]string{"crashed"}, "echoes/2") {
		t.Error("a hook on an agent is not one on its instances")
	}
}

func TestListenerOnAUnixSocketIsHeld(t *testing.T) {
	w := newWorld(t)
	p := w.load(`listeners { listener "web" { address "unix:/run/x/web.sock" }; listener "http" { address "127.0.0.1:0" } }
routes { route "a" { builtin-handler "status" } }`)
	want := []Socket{{"web", "unix", "/run/x/web.sock", KindProxy}, {"http", "tcp", "127.0.0.1:0", KindProxy}}
	if got := p.Proxy().Sockets; len(got) < 2 || !slices.Equal(got[:2], want) {
		t.Errorf("sockets %v, want first %v", got, want)
	}
}
