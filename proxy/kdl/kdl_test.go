package kdl

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func mustParse(t *testing.T, text string) *Document {
	t.Helper()
	doc, errs := Parse("test", []byte(text))
	if len(errs) > 0 {
		t.Fatalf("cannot parse: %v", errs)
	}
	return doc
}

// at is the text that a span covers, with its position.
func at(s Span) (text string, line, col int) {
	return string(s.Source.Text[s.Start.Offset:s.End.Offset]), s.Start.Line, s.Start.Col
}

func TestSpans(t *testing.T) {
	t.Parallel()
	doc := mustParse(t, "// é\nfirst \"ä\" key=1 {\r\n\tsecond (u8)2 #\"x\"# {}\r\n}\nlast \"\"\"\n    a\n    \"\"\" z=#true\n")
	first, last := doc.Nodes[0], doc.Nodes[1]
	second := first.Children[0]
	for _, c := range []struct {
		span      Span
		text      string
		line, col int
	}{
		{first.NameSpan, "first", 2, 1}, {first.Args[0].Span, `"ä"`, 2, 7}, {first.Props[0].KeySpan, "key", 2, 11}, {first.Props[0].Value.Span, "1", 2, 15},
		{second.NameSpan, "second", 3, 2}, {second.Args[0].Span, "2", 3, 13}, {second.Args[1].Span, `#"x"#`, 3, 15}, {second.Span, "second (u8)2 #\"x\"# {}", 3, 2},
		{last.Args[0].Span, "\"\"\"\n    a\n    \"\"\"", 5, 6}, {last.Props[0].Value.Span, "#true", 7, 11},
	} {
		text, line, col := at(c.span)
		if text != c.text || line != c.line || col != c.col {
			t.Errorf("got %q at %d:%d, want %q at %d:%d", text, line, col, c.text, c.line, c.col)
		}
	}
	if got := doc.Source.Line(3); got != "\tsecond (u8)2 #\"x\"# {}" {
		t.Errorf("line 3 is %q", got)
	}
}

func TestSpansAfterByteOrderMark(t *testing.T) {
	t.Parallel()
	doc := mustParse(t, "\uFEFFa 1\n b 2")
	if s := doc.Nodes[0].NameSpan.Start; s.Line != 1 || s.Col != 1 {
		t.Errorf("first node at %d:%d", s.Line, s.Col)
	}
	if s := doc.Nodes[1].NameSpan.Start; s.Line != 2 || s.Col != 2 {
		t.Errorf("second node at %d:%d", s.Line, s.Col)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	doc := mustParse(t, `n "a\nb" bare #"raw\n"# 1 -16 1_000 0b11 1.5 0.1 1e3 #true #false #null #inf 99999999999999999999 1e400`)
	want := []Value{
		{Kind: String, Str: "a\nb"}, {Kind: String, Str: "bare"}, {Kind: String, Str: `raw\n`}, {Kind: Int, Int: 1}, {Kind: Int, Int: -16}, {Kind: Int, Int: 1000},
		{Kind: Int, Int: 3}, {Kind: Float, Float: 1.5}, {Kind: Float, Float: 0.1}, {Kind: Float, Float: 1000}, {Kind: Bool, Bool: true}, {Kind: Bool},
		{Kind: Null}, {Kind: Float}, {Kind: Huge}, {Kind: Huge},
	}
	args := doc.Nodes[0].Args
	if len(args) != len(want) {
		t.Fatalf("%d values", len(args))
	}
	for i, w := range want {
		g := args[i]
		if g.Kind != w.Kind || g.Str != w.Str || g.Int != w.Int || g.Bool != w.Bool || w.Float != 0 && g.Float != w.Float {
			t.Errorf("value %d: got %+v, want %+v", i, g, w)
		}
	}
}

func TestVersion1(t *testing.T) {
	t.Parallel()
	doc := mustParse(t, "/- kdl-version 1\nfirst true null r\"a\\b\" {\n  second \"x\" k=false; third 1.5; }\n")
	if doc.Version != 1 {
		t.Fatalf("version %d", doc.Version)
	}
	first := doc.Nodes[0]
	if v := first.Args; !v[0].Bool || v[1].Kind != Null || v[2].Str != `a\b` {
		t.Errorf("values %+v", v)
	}
	third := first.Children[1]
	if text, line, col := at(third.Args[0].Span); text != "1.5" || line != 3 || col != 29 {
		t.Errorf("got %q at %d:%d", text, line, col)
	}
	if _, errs := Parse("test", []byte("first true\n")); len(errs) == 0 || errs[0].Hint != "write #true" {
		t.Errorf("without the marker v1 is not accepted: %v", errs)
	}
}

// TestErrors: what is refused, where, and its twin that is accepted.
func TestErrors(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", MaxBytes)
	for _, c := range []struct {
		name, text, code string
		line, col        int
		twin             string
	}{
		{"too large", "// " + big, "kdl-size", 1, 1, "// " + big[:MaxBytes-3]},
		{"too deep", strings.Repeat("a {", MaxDepth+1) + strings.Repeat("}", MaxDepth+1), "kdl-depth", 1, 3 * (MaxDepth + 1), strings.Repeat("a {", MaxDepth) + strings.Repeat("}", MaxDepth)},
		{"comment too deep", strings.Repeat("/*", MaxDepth+1) + strings.Repeat("*/", MaxDepth+1), "kdl-depth", 1, 2*MaxDepth + 1, strings.Repeat("/*", MaxDepth) + strings.Repeat("*/", MaxDepth)},
		{"braces in strings do not count", "a \"", "kdl-syntax", 1, 3, "a \"" + strings.Repeat("{", 1000) + "\" // " + strings.Repeat("{", 1000)},
		{"invalid UTF-8", "a \"\xff\"", "kdl-encoding", 1, 4, "a \"\u00ff\""},
		{"another encoding", "a \"\xe4\"\nb \"\xf6\xfc\"", "kdl-encoding", 1, 4, "a \"ä\"\nb \"öü\""},
		{"NUL", "a \"\x00\"", "kdl-character", 1, 4, `a "0"`},
		{"escape character", "a \x1b[0m", "kdl-character", 1, 3, "a b"},
		{"direction mark", "a \"é\u202e\"", "kdl-character", 1, 5, `a "é"`},
		{"direction mark, escaped", `a "\u{202e}"`, "kdl-character", 1, 3, `a "\u{e9}"`},
		{"direction mark in a name, escaped", `"\u{202e}" 1`, "kdl-character", 1, 1, `"\u{e9}" 1`},
		{"direction mark in a key, escaped", `a "\u{2066}"=1`, "kdl-character", 1, 3, `a "\u{e9}"=1`},
		{"second byte order mark", "a\n\uFEFFb", "kdl-character", 2, 1, "\uFEFFa\nb"},
		{"long number", "a " + strings.Repeat("1", maxNumber+1), "kdl-number", 1, 3, "a " + strings.Repeat("1", maxNumber)},
		{"property twice", "a x=1 x=2", "kdl-duplicate-property", 1, 7, "a x=1 y=2"},
		{"unknown version", "/- kdl-version 3\na 1", "kdl-version", 1, 1, "/- kdl-version 2\na 1"},
		{"large v1 node", "/- kdl-version 1\na \"" + big[:maxV1Node] + "\"", "kdl-v1-size", 2, 1, "/- kdl-version 1\na \"" + big[:maxV1Node-4] + "\""},
		{"v1 boolean in v2", "a true", "kdl-syntax", 1, 3, "a #true"},
		{"v2 boolean in v1", "/- kdl-version 1\na #true", "kdl-syntax", 2, 3, "/- kdl-version 1\na true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, errs := Parse("test", []byte(c.text))
			if len(errs) != 1 || errs[0].Code != c.code || errs[0].Span.Start.Line != c.line || errs[0].Span.Start.Col != c.col {
				t.Errorf("got %+v, want %s at %d:%d", errs, c.code, c.line, c.col)
			}
			if _, errs := Parse("test", []byte(c.twin)); len(errs) > 0 {
				t.Errorf("the twin is refused: %v", errs)
			}
		})
	}
}

// TestAllErrorsInOneRun: an error on one line does not hide those on others.
func TestAllErrorsInOneRun(t *testing.T) {
	t.Parallel()
	_, errs := Parse("test", []byte("a true\nb 10s\nc 1\nd x=1 x=2\ne \"open\nf {\n"))
	var lines []int
	for _, e := range errs {
		lines = append(lines, e.Span.Start.Line)
	}
	if len(lines) != 4 || lines[0] != 1 || lines[1] != 2 || lines[2] != 4 || lines[3] != 5 {
		t.Errorf("errors on lines %v: %v", lines, errs)
	}
}

// TestHostileInputIsLinear: inputs that make recursive or quadratic readers fall over. CPU time is compared, not the clock, and
// the test does not run in parallel with others, so that a busy machine changes nothing.
func TestHostileInputIsLinear(t *testing.T) {
	const n, times = 3_000, 8
	repeat := func(s string) func(int) string { return func(n int) string { return strings.Repeat(s, n) } }
	for name, text := range map[string]func(int) string{
		"open blocks": repeat("a{"), "open comments": repeat("/*"), "slashdashes": repeat("/-"), "quotes": repeat(`"`), "hashes": repeat("#"), "parens": repeat("("),
		"escapes": func(n int) string { return `a "` + strings.Repeat(`\`, n) }, "closed": repeat("}"), "nodes": repeat("a\n"), "one line": repeat("é 1; "),
		"multi-line": repeat("\"\"\"\n"), "errors": repeat("a true\n"), "comments": repeat("a // x\n/* y */"), "dashed": repeat("/-a 1\n"), "blocks": repeat("a { b }\n"),
	} {
		cost := func(n int) time.Duration {
			input, start := []byte(text(n)), cpuTime(t)
			if doc, errs := Parse("test", input); len(errs) > maxErrors {
				t.Errorf("%s: %d errors", name, len(errs))
			} else if doc != nil {
				Print(doc)
			}
			return cpuTime(t) - start
		}
		small, large := max(cost(n), 10*time.Millisecond), cost(n*times)
		if large > small*times*4 {
			t.Errorf("%s: %v for %d, %v for %d times as much", name, small, n, large, times)
		}
	}
}

// cpuTime is what this process has used so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano())
}

// TestOddNumbers: numbers that overflow or take long to compute.
func TestOddNumbers(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"1e999999999", "1e-999999999", "0x" + strings.Repeat("f", 60), "-9223372036854775808", "9223372036854775808"} {
		if doc := mustParse(t, "a "+text); len(doc.Nodes[0].Args) != 1 {
			t.Errorf("%s: %+v", text, doc.Nodes[0])
		}
	}
}

func TestPrintIsStable(t *testing.T) {
	t.Parallel()
	for _, text := range samples(t) {
		checkPrint(t, text)
	}
}

// checkPrint: what is printed reads the same, and prints the same again.
func checkPrint(t *testing.T, text []byte) {
	t.Helper()
	doc, errs := Parse("test", text)
	if len(errs) > 0 {
		return
	}
	once := Print(doc)
	again, errs := Parse("test", once)
	if len(errs) > 0 {
		t.Fatalf("cannot read own output: %v\n%s", errs, once)
	}
	if a, b := shape(doc.Nodes), shape(again.Nodes); a != b {
		t.Errorf("meaning changed\nfrom %s\nto   %s\nprinted:\n%s", a, b, once)
	}
	if twice := Print(again); !bytes.Equal(once, twice) {
		t.Errorf("not stable\nonce:\n%s\ntwice:\n%s", once, twice)
	}
}

// shape is a tree without positions and spelling.
func shape(nodes []*Node) string {
	var b strings.Builder
	for _, n := range nodes {
		bare := *n
		bare.Args, bare.Props = nil, nil
		for _, v := range n.Args {
			bare.Args = append(bare.Args, plainValue(v))
		}
		for _, p := range n.Props {
			bare.Props = append(bare.Props, Prop{Key: p.Key, Value: plainValue(p.Value)})
		}
		b.WriteString(Head(&bare))
		if n.Block {
			b.WriteString("{" + shape(n.Children) + "}")
		}
		b.WriteString(";")
	}
	return b.String()
}

func plainValue(v Value) Value {
	if v.Kind == Huge || v.Kind == Float {
		return Value{Kind: v.Kind, Float: v.Float, Type: v.Type, Raw: strings.ToLower(strings.ReplaceAll(v.Raw, "_", ""))}
	}
	v.Raw, v.Span = "", Span{}
	return v
}

// samples are the configurations that ship with the configuration package.
func samples(tb testing.TB) [][]byte {
	tb.Helper()
	var out [][]byte
	for _, pattern := range []string{"../config/testdata/*/*.kdl", "../config/*.kdl"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			tb.Fatalf("no sample matches %s", pattern)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				tb.Fatal(err)
			}
			out = append(out, text)
		}
	}
	return out
}

// FuzzParse: no panic, no hang, positions inside the file, printing keeps the meaning.
func FuzzParse(f *testing.F) {
	for _, text := range samples(f) {
		f.Add(text)
	}
	f.Add([]byte("/- kdl-version 1\na true /-b { c null; }\n"))
	f.Add([]byte("a \\ // x\n  b #\"c\"# \"\"\"\n  d\n  \"\"\" /-e f=1 /-{ g } { h }\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, errs := Parse("test", text)
		if (doc == nil) != (len(errs) > 0) {
			t.Fatalf("document %v, errors %v", doc, errs)
		}
		for _, e := range errs {
			checkSpan(t, e.Span, text)
		}
		if doc != nil {
			checkNodes(t, doc.Nodes, text, 0, len(text))
			checkPrint(t, text)
		}
	})
}

func checkSpan(t *testing.T, s Span, text []byte) {
	t.Helper()
	if s.Start.Offset < 0 || s.End.Offset < s.Start.Offset || s.End.Offset > len(text) || s.Start.Line < 1 || s.Start.Col < 1 {
		t.Errorf("span %+v outside of %d bytes", s, len(text))
	}
	if s.Start.Line != bytes.Count(text[:s.Start.Offset], []byte("\n"))+1 {
		t.Errorf("offset %d is not on line %d", s.Start.Offset, s.Start.Line)
	}
}

// checkNodes: spans are ordered and nested.
func checkNodes(t *testing.T, nodes []*Node, text []byte, from, to int) {
	t.Helper()
	for _, n := range nodes {
		checkSpan(t, n.Span, text)
		if n.Span.Start.Offset < from || n.Span.End.Offset > to || n.NameSpan.Start.Offset < n.Span.Start.Offset {
			t.Errorf("%s at %d-%d lies not in %d-%d", n.Name, n.Span.Start.Offset, n.Span.End.Offset, from, to)
		}
		from = n.Span.End.Offset
		for _, v := range n.Args {
			checkSpan(t, v.Span, text)
		}
		for _, p := range n.Props {
			checkSpan(t, p.KeySpan, text)
			checkSpan(t, p.Value.Span, text)
		}
		if len(n.Children) > 0 {
			checkNodes(t, n.Children, text, n.blockStart, n.blockEnd)
		}
	}
}
