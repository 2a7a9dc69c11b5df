package lazy

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

var expressions = []string{`a`, `^a$`, `(?sm)^a$`, `(?m)^$`, `$`, `\ba\b`, `\Ba`, `(?i)sk`, `a.b`, `(?s)a.b`, `(a|b)*abb`, `[^a]b+`, `\Aab|ba\z`, `(?sm)(?:^|[;|&])\s*(?:ls|cat)\b`, `x*`, `a{2,4}$`, `(?i)\bun(?:ion|der)\b.*?select`, `^(?:a|ab)(?:c|bcd)$`, `[\n\r]`, `é|a`, `(?:)`}

func check(t *testing.T, r *Regexp, text string) {
	t.Helper()
	if got, want := r.MatchString(text), r.slow.MatchString(text); got != want {
		t.Fatalf("%s in %q: %v, the standard library says %v", r.slow, text, got, want)
	}
}

func TestAnswersAreTheStandardLibrarys(t *testing.T) {
	for _, e := range expressions {
		re, err := Compile(e)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(3, 4))
		for range 3000 {
			b := make([]byte, r.IntN(9))
			for i := range b {
				b[i] = "aabbcdSKsk \n;|lstA_\xc3\xa9"[r.IntN(21)]
			}
			check(t, re, string(b))
		}
	}
}

func TestMoreStatesThanAllowed(t *testing.T) {
	re, err := Compile(`a[ab]{12}c`) // as many states as there are beginnings of thirteen letters
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		b := make([]byte, 60)
		for i := range b {
			b[i] = "aaabbbc"[r.IntN(7)]
		}
		check(t, re, string(b))
	}
	if !re.full.Load() || len(re.states) > maxStates {
		t.Errorf("%d states, and no end of them noted", len(re.states))
	}
}

func TestManyAtOnce(t *testing.T) {
	re, err := Compile(`(?i)(?:foo|bar)+\s?[0-9]x`)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 500 {
				text := fmt.Sprintf("fooBAR%d %dx foo%dx", g, i, i%10)
				if got, want := re.MatchString(text), re.slow.MatchString(text); got != want {
					t.Errorf("%q: %v, want %v", text, got, want)
				}
			}
		})
	}
	all.Wait()
}

func FuzzMatch(f *testing.F) {
	for _, e := range expressions {
		f.Add(e, "ab\nunion select")
	}
	f.Fuzz(func(t *testing.T, expression, text string) {
		if len(expression) > 100 || len(text) > 1000 {
			return
		}
		if re, err := Compile(expression); err == nil {
			check(t, re, text)
			check(t, re, text+text)
		}
	})
}
