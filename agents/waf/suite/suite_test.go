// Package suite runs the regression tests of the OWASP Core Rule Set against the proxy and the agent as programs, over HTTP.
package suite

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corazawaf/coraza-coreruleset/v4/tests"
	schema "github.com/coreruleset/ftw-tests-schema/v2/types"
	"github.com/coreruleset/go-ftw/config"
	"github.com/coreruleset/go-ftw/ftwhttp"
	"github.com/coreruleset/go-ftw/output"
	"github.com/coreruleset/go-ftw/runner"
	ftw "github.com/coreruleset/go-ftw/test"
	"github.com/coreruleset/go-ftw/waflog"
	"github.com/rs/zerolog"
)

var update = flag.Bool("update", false, "write the list of results anew")

const (
	list     = "testdata/results.txt"
	patience = 60 * time.Second
)

// setup is what the suite expects to be set beside the defaults, and the marker it finds its place in the log with. The marker's text is not in the message: it is to be the last
// thing on its line. The runner may read a line of which the kernel shows only the first page yet, takes it for whole once it sees that text, and never finds that half line again.
const setup = `SecRule REQUEST_HEADERS:X-CRS-Test "@rx ^.*$" "id:999999,pass,phase:1,log,msg:'X-CRS-Test',ctl:ruleRemoveById=1-999998"
SecAction "id:999998,phase:1,pass,nolog,setvar:tx.crs_validate_utf8_encoding=1,setvar:tx.arg_name_length=100,setvar:tx.arg_length=400,setvar:tx.total_arg_length=64000,setvar:tx.max_num_args=255,setvar:tx.max_file_size=64100,setvar:tx.combined_file_sizes=65535"
`

// TestCoreRuleSet fails when a test that is listed as passed does not pass, or the list is not complete.
func TestCoreRuleSet(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while: not under the race detector")
	}
	zerolog.SetGlobalLevel(zerolog.Disabled) // the runner tells every byte it sends otherwise
	s := start(t)
	expected := read(t)
	results := map[string]string{}
	for _, file := range files(t) {
		for _, one := range file.Tests {
			id := fmt.Sprintf("%d-%d", file.RuleId, one.TestId)
			results[id] = s.run(file, one)
		}
	}
	if *update {
		write(t, results)
		return
	}
	passed := 0
	for id, reason := range results {
		want, listed := expected[id]
		switch {
		case !listed:
			t.Errorf("%s is not in %s", id, list)
		case want == "" && reason != "":
			t.Errorf("%s passed once and does not now: %s", id, reason)
		}
		if reason == "" {
			passed++
		}
	}
	t.Logf("%d of %d tests pass", passed, len(results))
	if len(results) < 2000 {
		t.Errorf("only %d tests found", len(results))
	}
}

func files(t *testing.T) []*ftw.FTWTest {
	t.Helper()
	var out []*ftw.FTWTest
	err := fs.WalkDir(tests.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yaml") {
			return err
		}
		text, err := fs.ReadFile(tests.FS, path)
		if err != nil {
			return err
		}
		file, err := ftw.GetTestFromYaml(text, path)
		out = append(out, file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// site is the proxy with the agent behind it, and the runner.
type site struct {
	port   int
	runner *runner.TestRunContext
}

func start(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	for name, pkg := range map[string]string{"sentinel": "proxy", "sentinel-waf": "agents/waf"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), "../../../"+pkg).CombinedOutput(); err != nil {
			t.Fatalf("cannot build %s: %v\n%s", name, err, out)
		}
	}
	app := httptest.NewServer(http.HandlerFunc(reflect))
	t.Cleanup(app.Close)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	must(os.Mkdir(in("rules"), 0o700))
	must(os.WriteFile(in("rules/setup.conf"), []byte(setup), 0o600))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	port := ln.Addr().(*net.TCPAddr).Port
	must(ln.Close())
	must(os.WriteFile(in("sentinel.kdl"), fmt.Appendf(nil, kdl, port, strings.TrimPrefix(app.URL, "http://"), in("waf.sock"), in("waf.log"), in("rules")), 0o600))
	program(t, dir, "sentinel-waf", "--socket", in("waf.sock"))
	eventually(t, func() bool { _, err := os.Stat(in("waf.sock")); return err == nil })
	program(t, dir, "sentinel", "--config", in("sentinel.kdl"))
	eventually(t, func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/status/200", port))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	cfg := config.NewDefaultConfig()
	cfg.LogFile = in("waf.log")
	cfg.MaxMarkerRetries, cfg.MaxMarkerLogLines = 200, 500
	host, p := "127.0.0.1", port
	cfg.TestOverride.Overrides.DestAddr, cfg.TestOverride.Overrides.Port = &host, &p
	lines, err := waflog.NewFTWLogLines(cfg)
	must(err)
	conf := ftwhttp.NewClientConfig()
	conf.ConnectTimeout, conf.ReadTimeout = 10*time.Second, 10*time.Second
	client, err := ftwhttp.NewClient(conf)
	must(err)
	return &site{port: port, runner: &runner.TestRunContext{Config: cfg, RunnerConfig: &runner.RunnerConfig{Output: output.Quiet}, Output: output.NewOutput("quiet", io.Discard), ShowOnlyFailed: true,
		Stats: runner.NewRunStats(), Client: client, LogLines: lines}}
}

// run runs one test and returns why it failed, "" when it passed. What fails is run once more, for the same reason for which setup is as it is: a rule that finds wrongly does so twice.
func (s *site) run(file *ftw.FTWTest, one schema.Test) string {
	if s.once(file, one) == "" {
		return ""
	}
	return s.once(file, one)
}

func (s *site) once(file *ftw.FTWTest, one schema.Test) string {
	single := *file
	single.Tests = []schema.Test{one}
	s.runner.Result = runner.Failed
	err := runner.RunTest(s.runner, &single)
	if err == nil && s.runner.Result == runner.Success {
		return ""
	}
	if why := s.refused(one); why != "" {
		return why
	}
	if why := reasons[fmt.Sprintf("%d-%d", file.RuleId, one.TestId)]; why != "" {
		return why
	}
	if why := reasons[fmt.Sprint(file.RuleId)]; why != "" {
		return why
	}
	if err != nil {
		text, _, _ := strings.Cut(err.Error(), "{")
		return "no answer: " + strings.TrimSpace(text)
	}
	var want []string
	for _, st := range one.Stages {
		if l := st.Output.Log; len(l.ExpectIds)+len(l.NoExpectIds) > 0 {
			want = append(want, fmt.Sprintf("wants %v and not %v", l.ExpectIds, l.NoExpectIds))
		}
	}
	return "the engine finds otherwise: " + strings.Join(want, "; ")
}

// reasons are why tests do not pass that the proxy passes on: by rule, or by rule and test.
var reasons = map[string]string{
	"920171":   "the proxy frames requests itself and shows agents no Transfer-Encoding; what it refuses there is in its own attack suite",
	"920210":   "Connection belongs to the connection with the proxy, which acts on it and does not show it to agents",
	"920290-4": "a request of HTTP/1.1 with an empty Host is answered 400 by the proxy",
	"920620-1": "the test is for Apache httpd, which joins two Content-Type fields; here both are seen, and the rule finds them",
	"922130":   "the engine refuses the multipart body as malformed, with other words than the test looks for in ModSecurity's log",
	"932207-7": "the rule finds it in \"referer\": names of fields are in lower case here, and the test looks for another spelling",
	"980170":   "a report that the rules make once all is over, when the record of the exchange is written",
}

// refused sends the request again and tells whether the proxy answers it itself: what breaks HTTP never comes to the agent.
func (s *site) refused(one schema.Test) string {
	for _, st := range one.Stages {
		in := ftw.Input(st.Input)
		ftw.ApplyInputOverrides(s.runner.Config, &in)
		if in.EncodedRequest != "" {
			continue
		}
		if err := s.runner.Client.NewConnection(ftwhttp.Destination{DestAddr: "127.0.0.1", Port: s.port, Protocol: "http"}); err != nil {
			continue
		}
		auto := in.AutocompleteHeaders != nil && *in.AutocompleteHeaders
		req := ftwhttp.NewRequest(&ftwhttp.RequestLine{Method: in.GetMethod(), URI: in.GetURI(), Version: in.GetVersion()}, in.Headers, in.GetData(), auto)
		resp, err := s.runner.Client.Do(*req)
		if err != nil {
			return "the proxy closes the connection: the request is not HTTP"
		}
		if resp.Parsed.Header.Get("X-App") == "" {
			return fmt.Sprintf("the proxy answers %d itself: the request breaks HTTP", resp.Parsed.StatusCode)
		}
	}
	return ""
}

func program(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	log := new(bytes.Buffer)
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			text := log.String()
			t.Logf("%s:\n%s", name, text[max(0, len(text)-2000):])
		}
	})
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("does not come up")
		}
	}
}

// read reads the list: a test and, when it does not pass, the reason.
func read(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(list)
	if err != nil && !*update {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		id, reason, _ := strings.Cut(rest, " ")
		if word == "pass" || word == "fail" {
			out[id] = reason
		}
	}
	return out
}

func write(t *testing.T, results map[string]string) {
	t.Helper()
	var lines []string
	passed := 0
	for id, reason := range results {
		if reason == "" {
			passed++
			lines = append(lines, "pass "+id)
		} else {
			lines = append(lines, "fail "+id+" "+reason)
		}
	}
	slices.Sort(lines)
	text := fmt.Sprintf("# Core Rule Set 4.25.0, its own regression tests at paranoia level 4 through proxy and agent: %d of %d pass.\n%s\n", passed, len(results), strings.Join(lines, "\n"))
	if err := os.WriteFile(list, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
