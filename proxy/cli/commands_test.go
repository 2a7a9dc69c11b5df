package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

const valid = `listeners { listener "http" { address "127.0.0.1:0" } }
routes { route "app" { builtin-handler "status" } }
`

// outcome is what a command line did.
type outcome struct {
	code           int
	stdout, stderr string
}

// sentinel runs a command line on a configuration; FILE in args is its path.
func sentinel(t *testing.T, text string, args ...string) (outcome, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sentinel.kdl")
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "FILE", file)
	}
	var stdout, stderr bytes.Buffer
	code := Main("test", args, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}, file
}

func TestValidAndInvalid(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"test", "validate"} {
		got, _ := sentinel(t, valid, command, "--config", "FILE")
		if got.code != exitOK || !strings.HasSuffix(got.stdout, "configuration is valid\n") || got.stderr != "" {
			t.Errorf("%s: %+v", command, got)
		}
		got, file := sentinel(t, valid+"limits { max-header-cuont 1 }\n", command, "-c", "FILE")
		if got.code != exitInvalid || got.stdout != "" || !strings.Contains(got.stderr, file+":3:10: error: \"max-header-cuont\"") ||
			!strings.Contains(got.stderr, "did you mean \"max-header-count\"?") || !strings.HasSuffix(got.stderr, "configuration is invalid, 1 error\n") {
			t.Errorf("%s: %+v", command, got)
		}
	}
}

func TestValidJSON(t *testing.T) {
	t.Parallel()
	var v verdict
	got, _ := sentinel(t, valid+"upstreams { upstream \"u\" { target \"h:1\" } }\n", "validate", "-c", "FILE", "--format", "json")
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil {
		t.Fatal(err)
	}
	if got.code != exitOK || !v.OK || v.Hash == "" || len(v.Files) != 1 || len(v.Diagnostics) != 1 || v.Diagnostics[0].Severity != "warning" {
		t.Errorf("%+v", got)
	}
	got, file := sentinel(t, valid+"limits { max-header-count 0 }\nnope\n", "test", "-c", "FILE", "--format", "json")
	v = verdict{}
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil {
		t.Fatal(err)
	}
	if got.code != exitInvalid || v.OK || got.stderr != "" || len(v.Diagnostics) != 2 {
		t.Fatalf("%+v", got)
	}
	if d := v.Diagnostics[0]; d.File != file || d.Line != 3 || d.Col != 27 || d.Code != "invalid-value" || d.Source != "limits { max-header-count 0 }" {
		t.Errorf("%+v", d)
	}
	if v.Diagnostics[1].Hint == "" {
		t.Error("no hint")
	}
}

// TestBuildErrors: test goes on where validate ends, and what building finds is reported alike.
func TestBuildErrors(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*config.Loaded) error{
		"plain":    func(*config.Loaded) error { return errors.New("cannot open file") },
		"position": func(l *config.Loaded) error { return l.Fault("listeners.http.address", "bind", "cannot open file") },
	} {
		file := filepath.Join(t.TempDir(), "sentinel.kdl")
		if err := os.WriteFile(file, []byte(valid), 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		c := testCommand(fault)
		c.SetArgs([]string{"-c", file})
		c.SetOut(&stdout)
		c.SetErr(&stderr)
		c.SilenceErrors, c.SilenceUsage = true, true
		var exit exitError
		if err := c.Execute(); !errors.As(err, &exit) || exit.code != exitInvalid {
			t.Errorf("%s: %v", name, err)
		}
		want := file + ": error: cannot open file"
		if name == "position" {
			want = file + ":1:39: error: cannot open file"
		}
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: %s", name, stderr.String())
		}
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	got, file := sentinel(t, valid, "inspect", "-c", "FILE")
	if got.code != exitOK || !strings.Contains(got.stdout, "address \"127.0.0.1:0\"") || !strings.Contains(got.stdout, "// "+file+":1:39\n") || !strings.Contains(got.stdout, "// default\n") {
		t.Errorf("%+v", got)
	}
	got, file = sentinel(t, valid, "inspect", "-c", "FILE", "--format", "json")
	var i inspection
	if err := json.Unmarshal([]byte(got.stdout), &i); err != nil {
		t.Fatal(err)
	}
	origins := map[string]string{}
	for _, s := range i.Settings {
		origins[s.Path] = s.Value + " " + s.Origin
	}
	if origins["listeners.http.address"] != `"127.0.0.1:0" `+file+":1:39" || origins["limits.max-header-count"] != "100 default" {
		t.Errorf("%v", origins)
	}
	if got, _ := sentinel(t, "nope", "inspect", "-c", "FILE"); got.code != exitInvalid || got.stdout != "" {
		t.Errorf("%+v", got)
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	got, _ := sentinel(t, valid, "schema")
	if got.code != exitOK || got.stdout != string(config.SchemaMarkdown()) {
		t.Errorf("code %d", got.code)
	}
	got, _ = sentinel(t, valid, "schema", "--format", "json")
	var s struct {
		Keys []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(got.stdout), &s); err != nil || len(s.Keys) != 10 {
		t.Errorf("%v, %d blocks", err, len(s.Keys))
	}
	if got, _ := sentinel(t, valid, "schema", "--format", "xml"); got.code != exitUsage {
		t.Errorf("%+v", got)
	}
	// Called like its sisters: the page is the same, and a file that is named must be valid.
	if got, _ := sentinel(t, valid, "schema", "--config", "FILE", "--format", "text"); got.code != exitOK || got.stdout != string(config.SchemaMarkdown()) {
		t.Errorf("code %d", got.code)
	}
	if got, file := sentinel(t, "nope", "schema", "--config", "FILE"); got.code != exitInvalid || got.stdout != "" || !strings.Contains(got.stderr, file+":1:1: error: ") {
		t.Errorf("%+v", got)
	}
}

func TestFmt(t *testing.T) {
	t.Parallel()
	const messy = "server {worker-threads 2 }  // x\n"
	const tidy = "system { worker-threads 2 } // x\n"
	if got, _ := sentinel(t, messy, "fmt", "FILE"); got.code != exitOK || got.stdout != tidy {
		t.Errorf("print: %+v", got)
	}
	got, file := sentinel(t, messy, "fmt", "--check", "-c", "FILE")
	if got.code != exitFailure || got.stdout != file+"\n" {
		t.Errorf("check: %+v", got)
	}
	if text, _ := os.ReadFile(file); string(text) != messy {
		t.Error("check has written the file")
	}
	got, file = sentinel(t, messy, "fmt", "-w", "FILE")
	text, err := os.ReadFile(file)
	info, _ := os.Stat(file)
	if got.code != exitOK || got.stdout != "" || err != nil || string(text) != tidy || info.Mode().Perm() != 0o640 {
		t.Errorf("write: %+v, %q, %v", got, text, info.Mode())
	}
	if got, _ := sentinel(t, tidy, "fmt", "--check", "FILE"); got.code != exitOK || got.stdout != "" {
		t.Errorf("check of a tidy file: %+v", got)
	}
	got, file = sentinel(t, "a {", "fmt", "-w", "FILE")
	if text, _ := os.ReadFile(file); got.code != exitInvalid || string(text) != "a {" || !strings.Contains(got.stderr, ":1:3: error") {
		t.Errorf("invalid: %+v, %q", got, text)
	}
	got, file = sentinel(t, messy, "fmt", "--check", "--format", "json", "FILE")
	var o []fmtOutcome
	if err := json.Unmarshal([]byte(got.stdout), &o); err != nil || got.code != exitFailure || len(o) != 1 || !o[0].Changed || o[0].File != file {
		t.Errorf("json: %+v", got)
	}
	if got, _ := sentinel(t, messy, "fmt", "-w", "--check", "FILE"); got.code != exitUsage {
		t.Errorf("both: %+v", got)
	}
	if got, _ := sentinel(t, messy, "fmt", "FILE.none"); got.code != exitFailure {
		t.Errorf("missing file: %+v", got)
	}
}

// TestFmtKeepsLinks: a file that is a link is written where it is.
func TestFmtKeepsLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real.kdl"), filepath.Join(dir, "link.kdl")
	if err := errors.Join(os.WriteFile(real, []byte("limits {}\n\n\n\nsystem{ }"), 0o600), os.Symlink(real, link)); err != nil {
		t.Fatal(err)
	}
	if code := Main("test", []string{"fmt", "-w", link}, &bytes.Buffer{}, &bytes.Buffer{}); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	info, err := os.Lstat(link)
	text, _ := os.ReadFile(real)
	if err != nil || info.Mode()&os.ModeSymlink == 0 || string(text) != "limits {}\n\nsystem {}\n" {
		t.Errorf("%v %v %q", err, info.Mode(), text)
	}
}

func TestFmtReadsStandardInput(t *testing.T) {
	t.Parallel()
	c := fmtCommand()
	var stdout bytes.Buffer
	c.SetArgs([]string{"-"})
	c.SetIn(strings.NewReader("limits{}"))
	c.SetOut(&stdout)
	if err := c.Execute(); err != nil || stdout.String() != "limits {}\n" {
		t.Errorf("%v %q", err, stdout.String())
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"test", "extra"}, {"validate", "--format", "xml"}, {"inspect", "--nope"}, {"test", "--format", "yaml", "-c", "FILE"}, {"inspect", "--format", "xml", "-c", "FILE"},
	} {
		if got, _ := sentinel(t, valid, args...); got.code != exitUsage || got.stderr == "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// TestConfigCommandsAreDocumented: each has a summary, and those that check say their exit codes.
func TestConfigCommandsAreDocumented(t *testing.T) {
	t.Parallel()
	for _, c := range []*cobra.Command{testCommand(nil), validateCommand(), inspectCommand(), schemaCommand(), fmtCommand()} {
		if c.Short == "" || c.Name() != "schema" && !strings.Contains(c.Long, "Exit codes:") {
			t.Errorf("%s is not documented", c.Name())
		}
	}
}
