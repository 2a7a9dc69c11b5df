package sentinel

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sentinel-stack/sentinel"

// pkg is what `go list` says of one package.
type pkg struct {
	ImportPath   string
	Name         string
	Dir          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	GoFiles      []string
}

// measures tells whether the package is of a program that measures, which is neither released nor linked into anything.
func (p pkg) measures() bool {
	return strings.HasPrefix(p.rel(), "proxy/bench") || strings.HasPrefix(p.rel(), "stack/bench") || p.rel() == "agents/waf/bench"
}

func (p pkg) rel() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Dir,Imports,TestImports,XTestImports,GoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("cannot list packages: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("only %d packages found", len(all))
	}
	return all
}

// rule says what packages whose path matches `of` may import of ours; nil allows nothing.
type rule struct {
	of    string
	allow []string
	why   string
}

// The first matching rule counts. Patterns are anchored regular expressions on paths below the module.
var rules = []rule{
	{`protocol`, nil, "the contract imports nothing of ours"},
	{`(proxy|stack)/api`, nil, "API types and clients import nothing of ours"},
	{`protocol/(wire|client|agent|protocoltest|conformance).*`, []string{`protocol.*`}, "the protocol stands alone"},
	{`agents/[^/]+(/.*)?`, []string{`protocol`, `protocol/agent`, `agents/.*`}, "an agent sees only the protocol, the SDK and its own subtree"},
	{`proxy/kdl`, nil, "kdl is the bottom of the configuration"},
	{`proxy/config`, []string{`proxy/kdl`}, "kdl <- config"},
	{`proxy/http1`, nil, "the codec is pure"},
	{`proxy/http2`, []string{`proxy/http1`}, "the codec is pure"},
	{`proxy/http3`, []string{`proxy/http[12]`}, "frames and listeners know no configuration"},
	{`proxy/proxyproto`, nil, "the codec is pure"},
	{`proxy/websocket`, []string{`proxy/http1`}, "the codec is pure"},
	{`proxy/route`, []string{`proxy/config`, `proxy/http1`}, "the table knows configuration and field views only"},
	{`proxy/observe`, []string{`proxy/api`}, "observability is below everything it observes"},
	{`proxy/upstream/multiplex`, []string{`proxy/(http[12]|websocket)`}, "a connection knows no pools"},
	{`proxy/upstream.*`, []string{`proxy/(config|api|observe|http1|proxyproto|tlsconf|upstream/(balance|multiplex))`}, "upstreams know no routes"},
	{`proxy/filter`, []string{`proxy/(config|http1|observe|websocket)`}, "config <- filter"},
	{`proxy/filters/[^/]+`, []string{`proxy/(config|filter|http1|observe|api|unpack|websocket)`, `protocol.*`}, "filter <- filters/<x>"},
	{`proxy/unpack`, []string{`proxy/http1`}, "decoders know no exchanges"},
	{`proxy/discovery`, []string{`proxy/(config|observe)`}, "discovery finds targets and knows no pools"},
	{`proxy/tlsconf`, []string{`proxy/config`}, "TLS knows no connections of ours"},
	{`proxy/server`, []string{`proxy/(config|filter|http[123]|proxyproto|route|observe|tlsconf|websocket|upstream|upstream/(balance|multiplex)|api)`}, "server knows filter, never filters/*"},
	{`proxy/bench.*`, []string{`proxy/bench/.*`}, "the bench measures from outside"},
	{`proxy(/.*)?`, []string{`proxy/.*`, `protocol.*`}, "the proxy knows nothing of the stack"},
	{`stack/bench.*`, []string{`stack/bench/.*`}, "the bench measures from outside"},
	{`stack/plan`, []string{`proxy/config`, `stack/.*`}, "one file, one grammar"},
	{`tui(/.*)?`, []string{`tui/.*`, `proxy/api`, `stack/api`}, "the dashboard sees only the APIs"},
	{`stack(/.*)?`, []string{`stack/.*`, `proxy/api`, `protocol(/.*)?`, `tui`}, "the stack sees the proxy only through proxy/api"},
	{`examples|packaging.*`, []string{`.*`}, "tests and generators of the whole"},
	{``, []string{`.*`}, "this file"},
}

func matches(pattern, path string) bool {
	return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(path)
}

func TestImportDirection(t *testing.T) {
	used := make([]bool, len(rules))
	for _, p := range packages(t) {
		i := slices.IndexFunc(rules, func(r rule) bool { return matches(r.of, p.rel()) })
		if i < 0 {
			t.Errorf("%s: no import rule covers it", p.rel())
			continue
		}
		used[i] = true
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				continue
			}
			rel := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")
			if rel == p.rel() {
				continue
			}
			if !slices.ContainsFunc(rules[i].allow, func(a string) bool { return matches(a, rel) }) {
				t.Errorf("%s imports %s: %s", p.rel(), rel, rules[i].why)
			}
		}
	}
	for i, r := range rules {
		if !used[i] {
			t.Errorf("import rule for %q matches no package: remove it or mend its path", r.of)
		}
	}
}

// Libraries that several packages use by design, with the reason.
var manyImporters = map[string]string{
	"golang.org/x/sys":     "thin system calls, where they are needed",
	"golang.org/x/net":     "the proxy compresses fields with it, the firewall's fast path decodes entities with it as its engine does",
	"github.com/miekg/dns": "the proxy asks with it, the tests' name server answers with it",
}

// Each third-party library has one importer in production code, so replacing it touches one package.
func TestOneImporterPerLibrary(t *testing.T) {
	by := map[string][]string{}
	for _, p := range packages(t) {
		if p.measures() {
			continue
		}
		seen := map[string]bool{}
		for _, imp := range p.Imports {
			lib := library(imp)
			if lib == "" || seen[lib] {
				continue
			}
			seen[lib] = true
			by[lib] = append(by[lib], p.rel())
		}
	}
	if len(by) < 5 {
		t.Fatalf("only %d libraries seen", len(by))
	}
	for lib, importers := range by {
		if len(importers) > allowedImporters[lib] && len(importers) > 1 && manyImporters[lib] == "" {
			t.Errorf("%s is imported by %v: keep one importer", lib, importers)
		}
	}
}

// allowedImporters: command trees are one per program.
var allowedImporters = map[string]int{"github.com/spf13/cobra": 3}

// library maps an import path to the module it is of; "" for the standard library and ours.
func library(imp string) string {
	first, _, _ := strings.Cut(imp, "/")
	if !strings.Contains(first, ".") || strings.HasPrefix(imp, module) {
		return ""
	}
	parts := strings.Split(imp, "/")
	n := 3
	if first == "charm.land" || first == "go.uber.org" {
		n = 2
	}
	return strings.Join(parts[:min(n, len(parts))], "/")
}

func TestEveryPackageHasOneDoc(t *testing.T) {
	for _, p := range packages(t) {
		docs := 0
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil && len(f.Doc.Text()) > 0 && !strings.HasPrefix(f.Doc.Text(), "Code generated") {
				docs++
			}
		}
		if len(p.GoFiles) > 0 && docs != 1 {
			t.Errorf("%s: %d package comments, want 1", p.rel(), docs)
		}
	}
}

// No package is named after nothing in particular.
func TestPackageNames(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains([]string{"util", "utils", "common", "helpers", "misc", "base", "core", "manager", "shared", "types"}, p.Name) {
			t.Errorf("%s: say what it provides", p.rel())
		}
	}
}

var sections = []string{"Name", "Description", "Syntax", "Failure", "Metrics", "Examples"}

// The README of an agent or filter is its manual page: fixed sections in a fixed order.
func TestAgentAndFilterReadmes(t *testing.T) {
	dirs := append(glob(t, "agents/*/main.go"), glob(t, "proxy/filters/*/*.go")...)
	done := map[string]bool{}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		if done[dir] {
			continue
		}
		done[dir] = true
		raw, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		var got []string
		for _, line := range strings.Split(string(raw), "\n") {
			if name, ok := strings.CutPrefix(line, "## "); ok && slices.Contains(sections, name) {
				got = append(got, name)
			}
		}
		if !slices.Equal(got, sections) {
			t.Errorf("%s/README.md: sections %v, want %v", dir, got, sections)
		}
	}
}

// Everything that is built for release is listed for release.
func TestReleaseListsEveryProgram(t *testing.T) {
	raw, err := os.ReadFile("goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages(t) {
		if p.Name != "main" || p.measures() || strings.HasPrefix(p.rel(), "packaging/") {
			continue
		}
		if !strings.Contains(string(raw), "main: ./"+p.rel()+"\n") {
			t.Errorf("goreleaser.yaml does not build ./%s", p.rel())
		}
	}
}

// Programs do not link the testing package.
func TestProgramsDoNotLinkTesting(t *testing.T) {
	for _, prog := range append([]string{"./proxy", "./stack", "./protocol/conformance/cmd"}, agentDirs(t)...) {
		out, err := exec.Command("go", "list", "-deps", prog).Output()
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(strings.Split(string(out), "\n"), "testing") {
			t.Errorf("%s links the testing package", prog)
		}
	}
}

func agentDirs(t *testing.T) []string {
	var dirs []string
	for _, file := range glob(t, "agents/*/main.go") {
		dirs = append(dirs, "./"+filepath.Dir(file))
	}
	return dirs
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file matches %s (%v)", pattern, err)
	}
	return files
}

// Every example is a folder that a test runs: configuration, README, script.
func TestExamplesAreComplete(t *testing.T) {
	for _, file := range glob(t, "examples/*/sentinel.kdl") {
		for _, name := range []string{"README.md", "script.txtar"} {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), name)); err != nil {
				t.Error(err)
			}
		}
	}
}

// Length limits keep the tail short: the exceptions are named, with a reason, and may only shrink.
var longFiles = map[string]int{}

func TestFileAndFunctionLength(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "_gen.go") {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		limit := 600
		if n := longFiles[path]; n > 0 {
			limit = n
		}
		if n := fset.File(f.Pos()).LineCount(); n > limit {
			t.Errorf("%s has %d lines, limit %d", path, n, limit)
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
				if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line; n > 120 {
					t.Errorf("%s: %s has %d lines, limit 120", path, fn.Name.Name, n)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
