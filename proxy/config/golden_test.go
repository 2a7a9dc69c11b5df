package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// testEnv is the environment of every test.
func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"PORT": "9000", "THREADS": "3", "EMPTY": "", "WORD": "word", "YES": "true", "BIDI": "a\u202eb", "JWT_SECRET": "s3cret", "DIR": "conf.d",
	}[name]
	return v, ok
}

func loadTest(path string) (*Loaded, error) { return Load(path, Options{LookupEnv: testEnv}) }

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file matches %s: %v", pattern, err)
	}
	return files
}

// TestMain makes the private keys of testdata private: a checkout does not keep their mode.
func TestMain(m *testing.M) {
	flag.Parse()
	keys, _ := filepath.Glob("testdata/*/tls/a.key")
	for _, key := range keys {
		_ = os.Chmod(key, 0o600)
	}
	if len(keys) == 0 || os.Chmod("testdata/ok/tls/open.key", 0o644) != nil {
		fmt.Fprintln(os.Stderr, "no keys in testdata")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// golden is what a valid file must load to.
type golden struct {
	Config   Config
	Warnings []string
}

func TestValidFiles(t *testing.T) {
	t.Parallel()
	for _, file := range glob(t, "testdata/ok/*.kdl") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			l, err := loadTest(file)
			if err != nil {
				t.Fatalf("cannot load:\n%v", err)
			}
			g := golden{Config: l.Config}
			for _, w := range l.Warnings {
				g.Warnings = append(g.Warnings, w.String())
			}
			got, err := json.MarshalIndent(g, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			want := strings.TrimSuffix(file, ".kdl") + ".json"
			if *update {
				if err := os.WriteFile(want, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if string(expected) != string(got) {
				t.Errorf("%s differs from what the file loads to; run with -update and read the diff\ngot:\n%s", want, got)
			}
		})
	}
}

// TestInvalidFiles: each file has one mistake, and its "// want" line tells exactly what must be said about it.
func TestInvalidFiles(t *testing.T) {
	t.Parallel()
	for _, file := range glob(t, "testdata/bad/*.kdl") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			_, err := loadTest(file)
			var found Diagnostics
			if !errors.As(err, &found) {
				t.Fatalf("loaded, or failed without diagnostics: %v", err)
			}
			if len(found) != 1 {
				t.Fatalf("%d errors instead of one:\n%v", len(found), found)
			}
			d := found[0]
			got := fmt.Sprintf("// want %d:%d %s: %s", d.Line, d.Col, d.Code, d.Message)
			if base := filepath.Base(file); filepath.Base(d.File) != base {
				got = fmt.Sprintf("// want %s:%d:%d %s: %s", filepath.Base(d.File), d.Line, d.Col, d.Code, d.Message)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(text), "\n")
			for i, line := range lines {
				if !strings.HasPrefix(line, "// want") {
					continue
				}
				if *update {
					lines[i] = got
					if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
						t.Fatal(err)
					}
				} else if line != got {
					t.Errorf("\ngot  %s\nwant %s\n%s", got, line, d.Render())
				}
				checkDiagnostic(t, d)
				return
			}
			t.Fatal("the file has no // want line")
		})
	}
}

func checkDiagnostic(t *testing.T, d Diagnostic) {
	t.Helper()
	if d.Severity != SeverityError || d.Line < 1 || d.Col < 1 {
		t.Errorf("incomplete diagnostic: %+v", d)
	}
	if len([]rune(d.Source))+1 < d.Col {
		t.Errorf("column %d is outside of the line %q", d.Col, d.Source)
	}
	if strings.HasSuffix(d.Message, ".") || strings.Contains(d.Message, "<") || strings.ContainsRune(d.Message, '\n') {
		t.Errorf("message not in house style: %q", d.Message)
	}
}
