package config

import (
	"encoding"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

const everything = "testdata/ok/everything.kdl"

// TestEveryKeyHasAnEffect: everything.kdl writes every key of the schema with a value other than the default, and taking any one
// away changes the Config or makes it invalid. A key that were parsed and dropped would be noticed here.
func TestEveryKeyHasAnEffect(t *testing.T) {
	t.Parallel()
	l, err := loadTest(everything)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(everything)
	if err != nil {
		t.Fatal(err)
	}
	tested := map[*Key]bool{}
	root := Schema()
	forEachLeaf(t, root, text, func(key *Key, without []byte, where string) {
		tested[key] = true
		if key.Name == "schema-version" {
			return // one value exists so far
		}
		r := &report{}
		changed := decodeText(r, without)
		if len(r.errors) == 0 && reflect.DeepEqual(changed, l.Config) {
			t.Errorf("%s has no effect", where)
		}
	})
	var missing func(k *Key, path string)
	missing = func(k *Key, path string) {
		for _, c := range k.Keys {
			switch c.Shape {
			case ShapeBlock, ShapeItems:
				missing(c, join(path, c.Name))
			default:
				if !tested[c] {
					t.Errorf("%s stands not in %s", join(path, c.Name), everything)
				}
			}
		}
	}
	missing(root, "")
}

// decodeText decodes without reading or checking anything else.
func decodeText(r *report, text []byte) Config {
	var l Loaded
	doc, errs := kdl.Parse(everything, text)
	if len(errs) > 0 {
		r.fail(errs[0].Span, errs[0].Code, "", "%s", errs[0].Message)
		return Config{}
	}
	x := newExpander(testEnv, r)
	x.nodes(doc.Nodes, false)
	l.decode(r, x, doc.Nodes, doc.Source, true, nil)
	return l.Config
}

// forEachLeaf calls visit for every node that stands for a leaf key, with the document without that node.
func forEachLeaf(t *testing.T, root *Key, text []byte, visit func(key *Key, without []byte, where string)) {
	doc, errs := kdl.Parse(everything, text)
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	var walk func(k *Key, nodes []*kdl.Node)
	cut := func(at kdl.Span) []byte {
		return slices.Concat(text[:at.Start.Offset], []byte("/-"), text[at.Start.Offset:])
	}
	walk = func(k *Key, nodes []*kdl.Node) {
		for _, n := range nodes {
			key := k.child(n.Name)
			if key == nil {
				t.Fatalf("%s: unknown key %s", n.NameSpan, n.Name)
			}
			for _, p := range n.Props {
				visit(key.child(p.Key), cut(p.KeySpan), p.KeySpan.String()+": "+p.Key)
			}
			switch key.Shape {
			case ShapeItems:
				walk(key, n.Children)
			case ShapeBlock:
				if key.ArgName != "" && len(n.Args) > 0 {
					visit(key.child(key.ArgName), cut(n.Args[0].Span), n.Args[0].Span.String()+": "+key.ArgName)
				}
				walk(key, n.Children)
			default:
				visit(key, cut(n.Span), n.Span.String()+": "+n.Name)
			}
		}
	}
	walk(root, doc.Nodes)
}

// TestFieldsOfSchema: every Go field named by the schema exists, and every field of Config is named by it.
func TestFieldsOfSchema(t *testing.T) {
	t.Parallel()
	named := map[string]bool{}
	var walk func(k *Key, typ reflect.Type)
	walk = func(k *Key, typ reflect.Type) {
		for _, c := range k.Keys {
			at := typ
			if c.Field != "" {
				for name := range strings.SplitSeq(c.Field, ".") {
					if at.Kind() == reflect.Pointer {
						at = at.Elem()
					}
					f, ok := at.FieldByName(name)
					if !ok {
						t.Fatalf("%s: %s has no field %s", c.Name, at, name)
					}
					named[at.Name()+"."+name] = true
					at = f.Type
				}
			}
			for at.Kind() == reflect.Pointer || c.Shape == ShapeItems && at.Kind() == reflect.Slice {
				at = at.Elem()
			}
			if c.IDField != "" {
				named[at.Name()+"."+c.IDField] = true
			}
			walk(c, at)
		}
	}
	walk(Schema(), reflect.TypeFor[Config]())
	var fields func(typ reflect.Type)
	fields = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() != reflect.TypeFor[Config]().PkgPath() || typ.Name() == "NameValue" || typ.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
			return
		}
		for i := range typ.NumField() {
			if f := typ.Field(i); !named[typ.Name()+"."+f.Name] {
				t.Errorf("no key fills %s.%s", typ.Name(), f.Name)
			} else {
				fields(f.Type)
			}
		}
	}
	fields(reflect.TypeFor[Config]())
}

// TestSchemaIsSound: names do not collide, every key is documented, defaults pass their own checks.
func TestSchemaIsSound(t *testing.T) {
	t.Parallel()
	var walk func(k *Key, path string)
	walk = func(k *Key, path string) {
		seen := map[string]bool{}
		for _, c := range k.Keys {
			at := join(path, c.Name)
			names := []string{c.Name}
			if c.Type != nil {
				for _, u := range c.Type.units() {
					names = append(names, c.Name+"-"+u)
				}
			}
			for _, a := range c.Aliases {
				names = append(names, a.Name)
			}
			for _, n := range names {
				if seen[n] {
					t.Errorf("%s: two keys are called %s", path, n)
				}
				seen[n] = true
			}
			if c.Doc == "" || !strings.HasSuffix(strings.TrimRight(c.Doc, ")"), ".") {
				t.Errorf("%s: the description must be sentences: %q", at, c.Doc)
			}
			if c.Since == "" {
				t.Errorf("%s: since is missing", at)
			}
			if s, ok := c.Default.(string); ok && s != "" && c.Type.check(s) != nil {
				t.Errorf("%s: the default %q is refused: %v", at, s, c.Type.check(s))
			}
			walk(c, at)
		}
		for _, l := range k.Later {
			if seen[l.Name] {
				t.Errorf("%s: %s is both a key and not available", path, l.Name)
			}
		}
	}
	walk(Schema(), "")
}

// TestReferencePageIsCurrent: docs/reference/config.md is what the schema says.
func TestReferencePageIsCurrent(t *testing.T) {
	t.Parallel()
	const page = "../../docs/reference/config.md"
	if *update {
		if err := os.WriteFile(page, SchemaMarkdown(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != string(SchemaMarkdown()) {
		t.Errorf("%s is stale: run go test ./proxy/config -run TestReferencePageIsCurrent -update", page)
	}
}

// elsewhere are codes of findings that no single small file can cause, with the test that does.
var elsewhere = map[string]string{
	"bundle": "TestBundleErrors", "kdl-size": "kdl.TestErrors", "kdl-v1-size": "kdl.TestErrors", "kdl-encoding": "kdl.TestErrors",
	"certificate":   "TestFaults in proxy/tlsconf, tls-clients.txtar in proxy/testdata/script",
	"agent-refused": "reload.txtar in proxy/testdata/script", "unusable-service": "TestUnusableServices in stack/plan",
	"too-many": "TestTooManyErrors", "include-limit": "TestIncludeLimits", "config-json": "TestLargeAgentConfig",
}

// TestEveryDiagnosticIsTested: each code that the sources can report occurs in a file of testdata.
func TestEveryDiagnosticIsTested(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, dir := range []string{"testdata/bad", "testdata/ok"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".kdl" || filepath.Dir(path) != dir {
				return err
			}
			l, err := loadTest(path)
			if found, ok := err.(Diagnostics); ok {
				for _, d := range found {
					seen[d.Code] = true
				}
			} else if l != nil {
				for _, d := range l.Warnings {
					seen[d.Code] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	codes := reportedCodes(t, ".", "../kdl", "../build", "../../stack/plan")
	for _, code := range codes {
		if !seen[code] && elsewhere[code] == "" {
			t.Errorf("no file of testdata causes %q", code)
		}
	}
	for _, code := range codes {
		if Codes()[code] == "" {
			t.Errorf("%q is not in Codes", code)
		}
	}
	for code := range Codes() {
		if !slices.Contains(codes, code) && code != "build" && code != "unusable-service" {
			t.Errorf("Codes has %q, which nothing reports", code)
		}
	}
	if len(codes) < 40 {
		t.Errorf("only %d codes found in the sources", len(codes))
	}
}

// reportedCodes finds the diagnostic codes in the sources of packages.
func reportedCodes(t *testing.T, dirs ...string) []string {
	t.Helper()
	var codes []string
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == gotoken.STRING {
			code, _ := strconv.Unquote(lit.Value)
			codes = append(codes, code)
		}
	}
	for _, dir := range dirs {
		for _, file := range glob(t, filepath.Join(dir, "*.go")) {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			tree, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if f, ok := n.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "fail" || f.Sel.Name == "warn" || f.Sel.Name == "Fault") && len(n.Args) > 2 {
						add(n.Args[1])
					}
					if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "refuse" {
						for _, arg := range n.Args {
							if lit, ok := arg.(*ast.BasicLit); ok && strings.HasPrefix(lit.Value, `"kdl-`) {
								add(arg)
							}
						}
					}
				case *ast.AssignStmt:
					for i, to := range n.Lhs {
						if f, ok := to.(*ast.SelectorExpr); ok && f.Sel.Name == "Code" && i < len(n.Rhs) {
							add(n.Rhs[i])
						}
					}
				case *ast.KeyValueExpr:
					if k, ok := n.Key.(*ast.Ident); ok && k.Name == "Code" {
						add(n.Value)
					}
				}
				return true
			})
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}
