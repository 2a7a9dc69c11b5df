package match

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// matcher is what all of them are.
type matcher interface {
	Add(entry []byte) error
	Finish()
	Len() int
}

func fill[M matcher](t testing.TB, m M, entries ...string) M {
	t.Helper()
	for _, e := range entries {
		if err := m.Add([]byte(e)); err != nil {
			t.Fatalf("Add(%q): %v", e, err)
		}
	}
	m.Finish()
	return m
}

// table runs inputs that must match and inputs that must not, each attack beside its innocent twin.
func table(t *testing.T, match func(string) (string, bool), hits, misses []string) {
	t.Helper()
	for _, in := range hits {
		if _, ok := match(in); !ok {
			t.Errorf("%q did not match", in)
		}
	}
	for _, in := range misses {
		if entry, ok := match(in); ok {
			t.Errorf("%q matched %q", in, entry)
		}
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	n := fill(t, &Networks{}, "10.0.0.0/8", "192.0.2.7 ; SBL1", "; only a comment")
	if n.Len() != 2 {
		t.Errorf("Len = %d", n.Len())
	}
	table(t, func(s string) (string, bool) { p, ok := n.Match(netip.MustParseAddr(s)); return p.String(), ok },
		[]string{"10.9.9.9", "192.0.2.7", "::ffff:10.1.1.1"}, []string{"11.0.0.1", "192.0.2.8", "2001:db8::1"})
}

func TestExactBelowPrefix(t *testing.T) {
	t.Parallel()
	table(t, fill(t, &Exact{}, "/a", "/b/").Match, []string{"/a", "/b/"}, []string{"/a/", "/b", "/A", "/", ""})
	table(t, fill(t, &Below{}, "/admin", "/x/y/").Match,
		[]string{"/admin", "/admin/", "/admin/users", "/x/y", "/x/y/z"}, []string{"/administrator", "/x", "/x/yz", "/", "", "*"})
	table(t, fill(t, &Below{}, "/").Match, []string{"/", "/a", "/a/b/c"}, []string{"*", ""})
	p := fill(t, &Prefixes{}, "/wp-", "/wp-admin", "/.git")
	if p.Len() != 2 {
		t.Errorf("Len = %d, want the covered prefix dropped", p.Len())
	}
	table(t, p.Match, []string{"/wp-", "/wp-login.php", "/wp-admin/x", "/.gitignore"}, []string{"/wp", "/", "/x/wp-", "/.gi", "/zzz"})
	table(t, fill(t, &Exact{Fold: true}, "/Admin").Match, []string{"/admin"}, []string{"/Admin"}) // the caller folds
	for _, m := range []matcher{&Exact{}, &Below{}, &Prefixes{}} {
		for _, bad := range []string{"", "admin", "*", "/a?b", "/a#b"} {
			if err := m.Add([]byte(bad)); err == nil {
				t.Errorf("%T accepted %q", m, bad)
			}
		}
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	h := fill(t, &Hosts{}, "Evil.example", "*.bad.example.", "192.0.2.1", "[2001:db8::1]")
	table(t, h.Match,
		[]string{"evil.example", "EVIL.example:8080", "evil.example.", "a.bad.example", "a.b.bad.example:1", "192.0.2.1:80", "[2001:db8::1]:443", "[2001:DB8::1]"},
		[]string{"bad.example", "notbad.example", "xevil.example", "evil.example.org", "", "192.0.2.10", "[2001:db8::2]"})
	for _, bad := range []string{"", "*", "*.", "a.*.b", "host:80", "a b", "http://x", "*.*.x", ".x"} {
		if err := (&Hosts{}).Add([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
	table(t, (&Hosts{}).Match, nil, []string{"a", ""})
}

func TestWords(t *testing.T) {
	t.Parallel()
	w := fill(t, &Words{Check: func(s string) error {
		if s == "" {
			return fmt.Errorf("empty")
		}
		return nil
	}}, "trace", "CN")
	table(t, w.Match, []string{"TRACE", "trace", "CN", "cn"}, []string{"GET", "", "TRACER"})
	if err := w.Add(nil); err == nil {
		t.Error("Check was not asked")
	}
}

func TestRegexes(t *testing.T) {
	t.Parallel()
	r := fill(t, &Regexes{}, `\.php$`, `^$`, `(?i)sqlmap`)
	table(t, r.Match, []string{"/x.php", "", "a SQLMap/1"}, []string{"/x.phps", "x"})
	for _, bad := range []string{"(", "a*", "", "x{2000}"} {
		if err := r.Add([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
	for range maxRegexes - r.Len() {
		if err := r.Add([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Add([]byte("x")); err == nil {
		t.Error("no bound")
	}
}

func TestSubstrings(t *testing.T) {
	t.Parallel()
	s := fill(t, &Substrings{}, "curl", "BadBot", "he", "she", "hers", "sqlmap", "sqlmap")
	if s.Len() != 6 {
		t.Errorf("Len = %d", s.Len())
	}
	table(t, s.Match, []string{"curl/8", "Mozilla badbot/1", "xxBADBOT", "ushers", "sqlsqlmap"}, []string{"", "cur", "Mozilla/5.0 (X11)", "badbo", "sqlma p"})
	if err := s.Add(nil); err == nil {
		t.Error("accepted an empty text")
	}
	table(t, fill(t, &Substrings{}).Match, nil, []string{"", "x"})
}

// FuzzSubstrings compares with strings.Contains.
func FuzzSubstrings(f *testing.F) {
	f.Add("he|she|hers|his", "ushers")
	f.Add("aa|aaa|ab", "aaab")
	f.Add("\xff|\x00a", "b\x00a")
	f.Fuzz(func(t *testing.T, list, text string) {
		s := &Substrings{}
		want := false
		for _, e := range strings.Split(list, "|") {
			if s.Add([]byte(e)) == nil {
				want = want || strings.Contains(lowerASCII(text), lowerASCII(e))
			}
		}
		s.Finish()
		entry, got := s.Match(text)
		if got != want || got && !strings.Contains(lowerASCII(text), entry) {
			t.Fatalf("Match(%q) in %q = %q, %v; want %v", text, list, entry, got, want)
		}
	})
}

func TestHeaderFields(t *testing.T) {
	t.Parallel()
	h := fill(t, &Fields{FoldNames: true}, "X-Scanner", "x-env = test", "X-Tool *= SqlMap", "x-id  ~  ^[0-9]+$", "x-empty =")
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"x-scanner", "", true}, {"x-scanne", "", false},
		{"x-env", "test", true}, {"x-env", "Test", false}, {"x-env", "testing", false},
		{"x-tool", "a SQLMAP b", true}, {"x-tool", "sql map", false},
		{"x-id", "42", true}, {"x-id", "42a", false},
		{"x-empty", "", true}, {"x-empty", "x", false},
	} {
		if entry, ok := h.Match(c.name, c.value); ok != c.want {
			t.Errorf("Match(%s, %q) = %q, %v", c.name, c.value, entry, ok)
		}
	}
	for _, bad := range []string{"x=1", "x: 1", "x == 1", "x *= ", "x ~ (", "x like 1", "", " = x"} {
		if err := (&Fields{}).Add([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestQueryFields(t *testing.T) {
	t.Parallel()
	q := fill(t, &Fields{}, "debug", "cmd *= /etc/passwd", "id ~ (?i)union.*select")
	table(t, q.MatchQuery,
		[]string{
			"debug", "x=1&debug=", "%64ebug=1", "%2564ebug", "x=1;debug=1", "x=1;y;debug", "debug;x=1",
			"cmd=/etc/passwd", "cmd=..%2f..%2Fetc%2fPASSWD", "cmd=%252fetc%252fpasswd",
			"id=1+UNION+ALL+SELECT+2", "id=1%20union%20select",
		},
		[]string{"", "Debug", "xdebug=1", "cmd=etc", "id=union", "d%ebug", "a=b&c=d", "%", "&&==;;"})
}

func FuzzQuery(f *testing.F) {
	q := fill(f, &Fields{}, "debug")
	f.Add("a=b&debug=1")
	f.Add("%64%65bug;x")
	f.Add("%25252564ebug=1&+=%")
	f.Fuzz(func(t *testing.T, query string) {
		before := query
		_, got := q.MatchQuery(query)
		if _, again := q.MatchQuery(query + "&debug"); !again {
			t.Fatalf("%q hides the parameter after it", query)
		}
		if _, shown := q.MatchQuery(strings.ReplaceAll(query, "%", "")); shown && !got && !strings.Contains(query, "%") {
			t.Fatalf("%q: unstable", before)
		}
	})
}
