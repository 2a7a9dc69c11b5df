package transform

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"
)

// engine returns what the engine makes of a text with one function after the other, by a rule that always matches and tells what it saw.
var engine = func() func(string) map[string]string {
	start := sync.OnceValue(func() coraza.WAF {
		var rules strings.Builder
		rules.WriteString("SecRuleEngine On\n")
		for i, f := range functions {
			fmt.Fprintf(&rules, "SecRule REQUEST_HEADERS:x \"@unconditionalMatch\" \"id:%d,phase:1,pass,log,t:%s\"\n", i+1, f.Name)
		}
		w, err := coraza.NewWAF(coraza.NewWAFConfig().WithDirectives(rules.String()))
		if err != nil {
			panic(err)
		}
		return w
	})
	return func(text string) map[string]string {
		tx := start().NewTransaction()
		defer tx.Close()
		tx.ProcessURI("/", "GET", "HTTP/1.1")
		tx.AddRequestHeader("x", text)
		tx.ProcessRequestHeaders()
		out := map[string]string{}
		for _, m := range tx.MatchedRules() {
			out[functions[m.Rule().ID()-1].Name] = value(m)
		}
		return out
	}
}()

func value(m types.MatchedRule) string { return m.MatchedDatas()[0].Value() }

func foldASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// check holds each function against the engine's, and what it says of itself against what it does.
func check(t *testing.T, text string) {
	t.Helper()
	want := engine(text)
	traits := Look(text)
	for i := range functions {
		f := &functions[i]
		got := f.Apply(text)
		if got != want[f.Name] {
			t.Fatalf("%s of %q: %q, the engine has %q", f.Name, text, got, want[f.Name])
		}
		if !f.Changes(&traits, false) && got != text {
			t.Fatalf("%s says it does not change %q, and makes it %q", f.Name, text, got)
		}
		if !f.Changes(&traits, true) && foldASCII(got) != foldASCII(text) {
			t.Fatalf("%s says it does not change %q but for case, and makes it %q", f.Name, text, got)
		}
		if low := f.Apply(foldASCII(text)); f.Blind && foldASCII(low) != foldASCII(got) {
			t.Fatalf("%s says it is blind to case, and makes %q of %q and %q of it in lower case", f.Name, got, text, low)
		}
	}
}

var seeds = []string{"", "a", "/", "//", "/a/", "/a/./b", "../x", "a/..", ".", "..", "a.", "a ", "/a./b", "/a /b", "c:/x:y", "c:", `c:\x\y.txt::$DATA`, "a:b/", "x/:", "%", "%4", "%41", "%4x%u0041%uff21%U00e9%uzzzz%u004", "a+b",
	"é", "日本", "\xff\xfe", "K", "ſ", "\xa0", "\u00a0 \u0085", "a  b", "a /b", "a (b", "a,b;c", `a"b'c^d\e`, "A B", "a\tb\nc", "\x00", "a\x00b", "&lt;script&gt;", "&#60;&#x3c&LT;&amp", "&", `\u0041\x41\101\400\777\n\q\`, `\u{ff21}\u{41}\u{`, `\uff21\uFF5f\u00`,
	`\41 b\000041x\0\g` + "\\\n", "/* a */b/*", "/*/", "a*/b--c-->d<!--e#f", "aGVsbG8=", "aGVsbG8", "aGV sbG8", "a-_b", "d2hpbGUoMSk", " a ", "\v\f", "GET / HTTP/1.1", `\8\9\08`, `\xZZ\X41`, "a%2", "%%41", "+%2b+", "/ /", "/.../", ". .", "a/ ./b", " ", "a//:b/"}

func TestFunctionsAreTheEngines(t *testing.T) {
	for _, s := range seeds {
		check(t, s)
		for _, o := range seeds {
			check(t, s+o)
		}
	}
}

func FuzzFunctions(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) { check(t, text) })
}

func TestLookup(t *testing.T) {
	if f := Lookup("NormalisePath"); f == nil || f.Name != "normalizePath" {
		t.Error("the other spelling is not known")
	}
	if Lookup("rot13") != nil {
		t.Error("an unknown function is known")
	}
}
