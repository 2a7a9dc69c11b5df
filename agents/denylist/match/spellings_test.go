package match

import (
	"slices"
	"strings"
	"testing"
)

func TestSpellings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target string
		want   []string
	}{
		{"/", []string{"/"}},
		{"/a/b?x=%2e", []string{"/a/b"}},
		{"/a#b", []string{"/a"}},
		{"*", []string{"*"}},
		{"http://h/a", []string{"/a"}},
		{"http://h", []string{"/"}},
		{"/%61dmin", []string{"/%61dmin", "/admin"}},
		{"/x/../admin", []string{"/x/../admin", "/admin"}},
		{"//admin/./x/", []string{"//admin/./x/", "/admin/x/"}},
		{"/../..", []string{"/../..", "/"}},
		{"/a/..", []string{"/a/..", "/"}},
		{"/a%2Fb", []string{"/a%2Fb", "/a/b"}},
		{"/%2561dmin", []string{"/%2561dmin", "/%61dmin", "/admin"}},
		{"/%25252561dmin", []string{"/%25252561dmin", "/%252561dmin", "/admin"}},
		{"/x;v=1/..;/admin", []string{"/x;v=1/..;/admin", "/admin"}},
		{`/x\..\admin`, []string{`/x\..\admin`, "/admin"}},
		{"/admin%3Fx", []string{"/admin%3Fx", "/admin?x", "/admin"}},
		{"/admin%00.jpg", []string{"/admin%00.jpg", "/admin\x00.jpg", "/admin"}},
		{"/100%", []string{"/100%"}},
		{"/%zz%4", []string{"/%zz%4"}},
		{"/.well-known/x", []string{"/.well-known/x"}},
		{"/a/.", []string{"/a/.", "/a/"}},
	} {
		s := NewSpellings(c.target, false)
		if got := s.list[:s.n]; !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.target, got, c.want)
		}
	}
	s := NewSpellings("/ADMIN/%41É", true)
	if want := []string{"/admin/%41É", "/admin/aÉ"}; !slices.Equal(s.list[:s.n], want) {
		t.Errorf("folded: %q, want %q", s.list[:s.n], want)
	}
}

// TestAnyAll: a block needs one reading, an exemption needs all.
func TestAnyAll(t *testing.T) {
	t.Parallel()
	admin := fill(t, &Below{}, "/admin")
	public := fill(t, &Below{}, "/public")
	for _, c := range []struct {
		target          string
		blocked, exempt bool
	}{
		{"/admin/x", true, false},
		{"/public/x", false, true},
		{"/public/../admin", true, false},
		{"/public/%2e%2e/admin", true, false},
		{"/x/../public", false, false}, // its first reading is not below /public
		{"/other", false, false},
	} {
		s := NewSpellings(c.target, false)
		if _, got := s.Any(admin.Match); got != c.blocked {
			t.Errorf("%s: blocked = %v", c.target, got)
		}
		if got := s.All(public.Match); got != c.exempt {
			t.Errorf("%s: exempt = %v", c.target, got)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	admin := fill(t, &Below{}, "/admin")
	match := admin.Match
	agents := fill(t, &Substrings{}, "badbot", "sqlmap")
	hosts := fill(t, &Hosts{}, "evil.example", "*.bad.example")
	query := fill(t, &Fields{}, "debug = 1")
	allocs := testing.AllocsPerRun(100, func() {
		s := NewSpellings("/a/b/c.html?x=1", false)
		s.Any(match)
		agents.Match("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101")
		hosts.Match("www.example.com")
		query.MatchQuery("a=b&c=d")
	})
	if allocs != 0 {
		t.Errorf("%v allocations for an ordinary request", allocs)
	}
}

func FuzzSpellings(f *testing.F) {
	f.Add("/a/../%2e%2e/b;c\\d//e")
	f.Add("http://x/%25%32%65")
	f.Add("/%")
	f.Fuzz(func(t *testing.T, target string) {
		s := NewSpellings(target, false)
		for i, path := range s.list[1:max(s.n, 1)] {
			if !strings.HasPrefix(path, "/") {
				continue
			}
			if strings.Contains(path, "//") || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
				t.Fatalf("spelling %d of %q is not resolved: %q", i+1, target, path)
			}
		}
		if again := NewSpellings(target, false); again != s {
			t.Fatalf("%q is read differently twice", target)
		}
	})
}
