package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree writes files into a new directory and returns the path of main.kdl.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "main.kdl")
}

const minimal = "listeners { listener \"http\" { address \"127.0.0.1:${PORT}\" } }\nroutes { route \"app\" { builtin-handler \"status\" } }\n"

func codes(err error) []string {
	var found Diagnostics
	errors.As(err, &found)
	var out []string
	for _, d := range found {
		out = append(out, d.Code)
	}
	return out
}

func TestEmbeddedStarter(t *testing.T) {
	t.Parallel()
	l, err := loadTest(EmbeddedStarter)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Warnings) != 0 || len(l.Files) != 0 || len(l.Config.Listeners) != 1 || l.Config.Listeners[0].Address.String() != "127.0.0.1:8080" {
		t.Errorf("%+v", l)
	}
	handlers := map[string]string{}
	for _, r := range l.Config.Routes {
		handlers[r.ID] = r.BuiltinHandler
	}
	if want := map[string]string{"health": "health", "metrics": "metrics", "status": "status"}; !reflect.DeepEqual(handlers, want) {
		t.Errorf("routes %v", handlers)
	}
}

func TestBundle(t *testing.T) {
	t.Parallel()
	main := tree(t, map[string]string{"main.kdl": minimal + "include \"conf.d/*.kdl\"\nsystem { worker-threads \"${THREADS:-2}\" }\nlimits { max-header-count \"${UNSET:-7}\" }\n",
		"conf.d/a.kdl": "upstreams { upstream \"x\" { target \"h:1\" } }\n", "conf.d/b.kdl": "include \"../c.kdl\"\n", "c.kdl": "stack { watch #false }\n"})
	before, err := loadTest(main)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(main), "bundle.json")
	if err := before.WriteBundle(file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// Everything that the bundle replaces goes away.
	for _, path := range before.Files {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	after, err := Load("bundle:"+file, Options{LookupEnv: func(string) (string, bool) { return "other", true }})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before.Config, after.Config) || before.Hash != after.Hash || before.Path != after.Path {
		t.Errorf("the bundle loads to something else: %+v", after)
	}
	if !slices.Equal(before.Files, after.Files) || !slices.Equal(before.Globs, after.Globs) || len(after.Globs) != 1 {
		t.Errorf("files %v %v, globs %v %v", before.Files, after.Files, before.Globs, after.Globs)
	}
	if fmt.Sprint(before.Warnings) != fmt.Sprint(after.Warnings) || len(after.Warnings) != 1 || after.Warnings[0].File != filepath.Join(filepath.Dir(main), "conf.d/a.kdl") {
		t.Errorf("positions: %v", after.Warnings)
	}
	if !slices.Equal(before.Settings(), after.Settings()) {
		t.Error("origins differ")
	}
	// A bundle of a bundle is the same.
	again := filepath.Join(filepath.Dir(main), "again.json")
	if err := after.WriteBundle(again); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(file)
	b, _ := os.ReadFile(again)
	if string(a) != string(b) {
		t.Errorf("bundles differ:\n%s\n%s", a, b)
	}
}

func TestBundleOfStarter(t *testing.T) {
	t.Parallel()
	l, err := loadTest(EmbeddedStarter)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b.json")
	if err := l.WriteBundle(file); err != nil {
		t.Fatal(err)
	}
	after, err := loadTest("bundle:" + file)
	if err != nil || after.Hash != l.Hash || !reflect.DeepEqual(after.Config, l.Config) {
		t.Errorf("%v %+v", err, after)
	}
}

func TestBundleErrors(t *testing.T) {
	t.Parallel()
	main := tree(t, map[string]string{"main.kdl": "", "text": "no JSON", "format": `{"format":99}`, "empty": `{"format":1,"path":"/nowhere.kdl"}`})
	dir := filepath.Dir(main)
	for _, name := range []string{"missing", "text", "format"} {
		if _, err := loadTest("bundle:" + filepath.Join(dir, name)); !slices.Equal(codes(err), []string{"bundle"}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := loadTest("bundle:" + filepath.Join(dir, "empty")); !slices.Equal(codes(err), []string{"file"}) {
		t.Errorf("empty: %v", err)
	}
	l, err := loadTest(EmbeddedStarter)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.WriteBundle(filepath.Join(dir, "none", "b")); err == nil {
		t.Error("written into a directory that does not exist")
	}
}

// TestHash: what counts changes it, what does not count does not.
func TestHash(t *testing.T) {
	t.Parallel()
	main := tree(t, map[string]string{"main.kdl": minimal + "include \"a.kdl\"\n", "a.kdl": "\n"})
	hash := func(port string) string {
		l, err := Load(main, Options{LookupEnv: func(name string) (string, bool) { return map[string]string{"PORT": port, "OTHER": port}[name], true }})
		if err != nil {
			t.Fatal(err)
		}
		return l.Hash
	}
	first := hash("80")
	if hash("80") != first || len(first) != 64 {
		t.Error("not stable")
	}
	if hash("81") == first {
		t.Error("the environment does not count")
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(main), "a.kdl"), []byte("// x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if hash("80") == first {
		t.Error("an included file does not count")
	}
}

// TestIncludes: order is that of the names, positions name the file as the operator would, relative to the main file's name.
func TestIncludes(t *testing.T) {
	t.Parallel()
	l, err := loadTest("testdata/ok/services.kdl")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range l.Config.Routes {
		ids = append(ids, r.ID)
	}
	if !slices.Equal(ids, []string{"users", "orders"}) {
		t.Errorf("routes %v", ids)
	}
	origin := map[string]string{}
	for _, s := range l.Settings() {
		origin[s.Path] = s.Origin
	}
	for path, want := range map[string]string{
		"routes.orders.upstream": "testdata/ok/conf.d/10-orders.kdl:4:18", "upstreams.users-service.health-check.path": "testdata/ok/conf.d/deeper/users.kdl:7:18",
		"upstreams.users-service.health-check.timeout": "default", "listeners.http.address": "testdata/ok/services.kdl:3:31",
	} {
		if origin[path] != want {
			t.Errorf("%s comes from %s, want %s", path, origin[path], want)
		}
	}
	for i, f := range l.Files {
		if !filepath.IsAbs(f) {
			t.Errorf("not absolute: %s", f)
		}
		l.Files[i] = filepath.Base(f)
	}
	if !slices.Equal(l.Files, []string{"services.kdl", "10-orders.kdl", "users.kdl", "20-orders-upstream.kdl"}) {
		t.Errorf("files %v", l.Files)
	}
	if len(l.Globs) != 2 || !strings.HasSuffix(l.Globs[0], "/testdata/ok/conf.d/*.kdl") {
		t.Errorf("globs %v", l.Globs)
	}
}

func TestIncludeLimits(t *testing.T) {
	t.Parallel()
	deep := map[string]string{"main.kdl": minimal + "include \"0.kdl\"\n"}
	for i := range maxIncludeDepth + 1 {
		deep[fmt.Sprintf("%d.kdl", i)] = fmt.Sprintf("include \"%d.kdl\"\n", i+1)
	}
	many := map[string]string{"main.kdl": minimal + "include \"d/*.kdl\"\n"}
	for i := range maxFiles {
		many[fmt.Sprintf("d/%d.kdl", i)] = "\n"
	}
	large := map[string]string{"main.kdl": minimal + "include \"*x.kdl\"\n"}
	for i := range 5 {
		large[fmt.Sprintf("%dx.kdl", i)] = "// " + strings.Repeat("x", 4<<20-10)
	}
	for name, files := range map[string]map[string]string{"deep": deep, "many": many, "large": large} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := loadTest(tree(t, files)); !slices.Contains(codes(err), "include-limit") {
				t.Errorf("%v", codes(err))
			}
		})
	}
}

// TestAllErrorsOfAllFiles: one run reports every file, in the order of reading.
func TestAllErrorsOfAllFiles(t *testing.T) {
	t.Parallel()
	main := tree(t, map[string]string{
		"main.kdl": minimal + "systm { }\ninclude \"b.kdl\" \"a.kdl\"\nlimits { max-header-count 0 }\n",
		"a.kdl":    "upstreams { upstream \"u\" { target \"h\" } }\n", "b.kdl": "a true\n",
	})
	_, err := loadTest(main)
	var found Diagnostics
	if !errors.As(err, &found) {
		t.Fatal(err)
	}
	var got []string
	for _, d := range found {
		got = append(got, fmt.Sprintf("%s:%d:%s", filepath.Base(d.File), d.Line, d.Code))
	}
	if want := []string{"main.kdl:3:unknown-key", "main.kdl:5:invalid-value", "b.kdl:1:kdl-syntax", "a.kdl:1:invalid-value"}; !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestTooManyErrors(t *testing.T) {
	t.Parallel()
	_, err := loadTest(tree(t, map[string]string{"main.kdl": minimal + strings.Repeat("nope\n", 250)}))
	found := codes(err)
	if len(found) != maxDiagnostics+1 || found[maxDiagnostics] != "too-many" {
		t.Errorf("%d errors, the last %v", len(found), found[len(found)-1])
	}
	if !strings.Contains(err.Error(), "150 more errors") {
		t.Error("the rest is not counted")
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	_, err := loadTest(tree(t, map[string]string{"main.kdl": "listeners {\n\tlistener \"é\" { address \"127.0.0.1:80\"; adress 1 }\n}\n" + strings.Split(minimal, "\n")[1] + "\n"}))
	got := err.Error()
	for _, want := range []string{
		"main.kdl:2:11: error: \"é\" cannot be a name", "    2 | \tlistener \"é\" {", "      | \t         ^",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	long := Diagnostic{File: "f", Line: 1, Col: 1001, Severity: "error", Message: "m", Source: strings.Repeat("x", 1000) + "Y" + strings.Repeat("z", 1000)}
	lines := strings.Split(long.Render(), "\n")
	if caret := []rune(lines[2]); len(lines[1]) > 200 || []rune(lines[1])[slices.Index(caret, '^')] != 'Y' {
		t.Errorf("a long line is not cut around the column:\n%s", long.Render())
	}
	// A line with what may not stand in a file does nothing to the terminal it is shown on, and the caret stays where it belongs.
	wild := Diagnostic{File: "f", Line: 1, Col: 8, Severity: "error", Message: "m", Source: "a\t\x1b[2J\x9b\u202eé"}
	if got, want := wild.Render(), "f:1:8: error: m\n    1 | a\t\ufffd[2J\ufffd\ufffdé\n      |  \t     ^"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestLargeAgentConfig: what the protocol does not carry is refused with its place.
func TestLargeAgentConfig(t *testing.T) {
	t.Parallel()
	with := func(n int) string {
		return minimal + "agents { agent \"x\" {\n\tconfig { v \"" + strings.Repeat("a", n) + "\" } } }\n"
	}
	room := MaxAgentConfig - len(`{"v":""}`)
	if _, err := loadTest(tree(t, map[string]string{"main.kdl": with(room)})); err != nil {
		t.Errorf("%.200v", err)
	}
	_, err := loadTest(tree(t, map[string]string{"main.kdl": with(room + 1)}))
	found, _ := err.(Diagnostics)
	if len(found) != 1 || found[0].Code != "config-json" || found[0].Col != 2 {
		t.Errorf("%.200v", err)
	}
}

func TestSuggestions(t *testing.T) {
	t.Parallel()
	valid := []string{"upstream", "upstreams", "filters", "path-prefix"}
	for got, want := range map[string]string{"upstraem": "upstream", "filter": "filters", "path_prefix": "path-prefix", "pathprefix": "path-prefix", "zzzzzzz": "", "FILTERS": "filters"} {
		hint := suggest(got, valid)
		if has := strings.Contains(hint, "did you mean \""+want+"\"?"); want != "" && !has || want == "" && strings.Contains(hint, "did you mean") {
			t.Errorf("%s: %s", got, hint)
		}
	}
}

// TestSecretsAreNotShown: what comes from the environment is shown as it is written.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	l, err := loadTest("testdata/ok/layered.kdl")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(l.Config.Agents[2].ConfigJSON, "s3cret") {
		t.Fatal("the agent does not get its secret")
	}
	if strings.Contains(l.Describe(), "s3cret") {
		t.Error("Describe shows a secret")
	}
	v, err := loadTest("testdata/ok/variables.kdl")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range v.Settings() {
		if s.Path == "routes.app.policies.response-headers.set" && strings.Contains(s.Value, "word") {
			t.Errorf("shown: %s", s.Value)
		}
	}
}

// TestSettingsAreComplete: nothing that is written is missing from what inspect shows.
func TestSettingsAreComplete(t *testing.T) {
	t.Parallel()
	l, err := loadTest(everything)
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for _, s := range l.Settings() {
		if s.Origin != "default" {
			written++
			if s.Value == "" {
				t.Errorf("%s is written at %s and shown as nothing", s.Path, s.Origin)
			}
		}
	}
	if written < 120 {
		t.Errorf("only %d settings", written)
	}
}

func TestInheritance(t *testing.T) {
	t.Parallel()
	l, err := loadTest(tree(t, map[string]string{"main.kdl": minimal + `
agents { agent "a" { restart { max-delay-secs 1 } }; agent "b" { stop { timeout-secs 9 }; limits { pids 0; cpu "30%" } } }
filters { filter "f" type="agent" { agent "a" "b" } }
stack { defaults { restart "never" { quarantine-after 0; max-delay-secs 7 }; limits { memory "64MB"; pids 20; core "1KB" } } }
`}))
	if err != nil {
		t.Fatal(err)
	}
	want := Restart{Policy: "never", BaseDelay: 100 * time.Millisecond, MaxDelay: time.Second, ResetAfter: 30 * time.Second}
	if got := l.Config.Agents[0].Restart; got != want {
		t.Errorf("restart %+v, want %+v", got, want)
	}
	if got := l.Config.Agents[1].Stop; got != (Stop{Signal: "TERM", Timeout: 9 * time.Second}) {
		t.Errorf("stop %+v", got)
	}
	if got := l.Config.Agents[0].Limits; got != (ProcessLimits{Memory: 64 << 20, PIDs: 20, Core: 1024}) {
		t.Errorf("limits %+v", got)
	}
	if got := l.Config.Agents[1].Limits; got != (ProcessLimits{Memory: 64 << 20, CPU: 30, Core: 1024}) { // a limit can be taken back
		t.Errorf("limits %+v", got)
	}
	for _, s := range l.Settings() {
		if s.Path == "agents.b.limits.memory" && (s.Value != `"64MB"` || !strings.Contains(s.Origin, "main.kdl:6:")) {
			t.Errorf("inherited limit %+v", s)
		}
		if s.Path == "agents.b.limits.cpu" && s.Value != `"30%"` {
			t.Errorf("%+v", s)
		}
		if s.Path == "agents.b.restart.policy" && !strings.HasSuffix(s.Origin, "main.kdl:6:28") {
			t.Errorf("inherited value comes from %s", s.Origin)
		}
	}
}

func TestFault(t *testing.T) {
	t.Parallel()
	l, err := loadTest("testdata/ok/quickstart.kdl")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"listeners.http.address": "7:17", "listeners.http.tls.cert": "6:14", "nothing": "testdata/ok/quickstart.kdl: error"} {
		if got := l.Fault(path, "bind", "cannot bind").Error(); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestRuntimePaths(t *testing.T) {
	t.Parallel()
	env := map[string]string{}
	getenv := func(name string) string { return env[name] }
	check := func(c Config, want string) {
		t.Helper()
		if got := RuntimeDir(c, getenv); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check(Config{}, "")
	env["XDG_RUNTIME_DIR"] = "/run/user/0"
	check(Config{}, "/run/user/0/sentinel")
	env["RUNTIME_DIRECTORY"] = "/run/a:/run/b"
	check(Config{}, "/run/a")
	env["SENTINEL_RUNTIME_DIR"] = "/run/s"
	check(Config{}, "/run/s")
	check(Config{Stack: Stack{RuntimeDir: "/run/mine"}}, "/run/mine")
	if got := AgentSockets(Agent{Name: "waf"}, "/run/s"); got[0] != "/run/s/agents/waf.sock" {
		t.Error(got)
	}
	if got := AgentSockets(Agent{Name: "waf", UnixSockets: []string{"/x"}}, "/run/s"); got[0] != "/x" {
		t.Error(got)
	}
}

// TestDocumentedExamples: the configurations of docs/configuration.md load, and its error is the one that is reported.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, part := range strings.Split(string(page), "```kdl\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		if !strings.Contains(text, "listeners") {
			continue
		}
		found++
		files := map[string]string{"main.kdl": text, "site.pem": "-", "site.key": "-", "dns-token": "-", "rsa.pem": "-", "rsa.key": "-"} // the page names them; they are only opened here
		if _, err := loadTest(tree(t, files)); err != nil {
			t.Errorf("%v", err)
		}
		broken := strings.Replace(text, "path-prefix", "path-prefx", 1)
		if _, err := loadTest(tree(t, map[string]string{"main.kdl": broken})); err == nil || !strings.Contains(err.Error(), `error: "path-prefx" is not known in matches`) {
			t.Errorf("%v", err)
		}
	}
	if found == 0 {
		t.Error("no example found")
	}
}

func TestScaling(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sentinel.kdl")
	load := func(written string, scale map[string]Scaling) *Loaded {
		t.Helper()
		text := `listeners { listener "web" { address "127.0.0.1:0" } }
routes { route "a" { matches { path-prefix "/" }; builtin-handler "status"; filters "echo" "named" } }
agents {
    agent "echo" type="echo" { events "request_headers"; ` + written + ` }
    agent "named" type="echo" { events "request_headers"; instances 2; unix-socket "/run/a" "/run/b" }
}
`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Load(file, Options{Scale: scale})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	plain := load("instances 2", nil)
	echo := plain.Config.Agents[0]
	four := plain.WithScaling(echo, 4)
	four["named"], four["gone"] = Scaling{5, 2}, Scaling{5, 1}
	scaled := load("instances 2", four)
	if a := scaled.Config.Agents; a[0].Instances != 4 || a[1].Instances != 2 || len(scaled.Scaled) != 1 || scaled.InstancesWritten(a[0]) != 2 {
		t.Errorf("%+v, in effect %v", a, scaled.Scaled)
	}
	if scaled.Hash == plain.Hash {
		t.Error("the same hash with other instances")
	}
	bundle := filepath.Join(dir, "bundle")
	if err := scaled.WriteBundle(bundle); err != nil {
		t.Fatal(err)
	}
	again, err := Load("bundle:"+bundle, Options{})
	if err != nil || again.Config.Agents[0].Instances != 4 || again.Hash != scaled.Hash {
		t.Errorf("from the bundle: %+v %v", again, err)
	}
	back, err := Load("bundle:"+bundle, Options{Scale: scaled.WithScaling(echo, 2)})
	if err != nil || back.Config.Agents[0].Instances != 2 || back.Hash != plain.Hash || len(back.Scaled) != 0 {
		t.Errorf("back again: %+v %v", back, err)
	}
	if edited := load("instances 3", scaled.Scaled); edited.Config.Agents[0].Instances != 3 || len(edited.Scaled) != 0 {
		t.Errorf("the edit did not win: %+v", edited.Scaled)
	}
}
