package literal

import (
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func alarmed(text string) bool {
	return slices.ContainsFunc(Alarms, func(a string) bool { return strings.Contains(text, a) })
}

func TestRequire(t *testing.T) {
	for _, c := range []struct{ rx, literals, bytes string }{
		{`(?i)union.*select`, "select", ""},
		{`<script[^>]*>`, "<script", ""},
		{`\$(?:\(|\{)x`, "$(x ${x", ""},
		{`[\n\r]`, "", "\n\r"},
		{`foo|ba[rz]`, "bar baz foo", ""},
		{`^data:.*,`, "data:", ""},
		{`(?i)java\.lang\.(?:runtime|processbuilder)`, "java.lang.ru java.lang.pr", ""},
		{`~[\+\-](?:$|[0-9]+)`, "~+ ~-", ""},
		{`a*`, "", ""},
		{`.`, "", ""},
		{`(?:)`, "", ""},
		{`x?union`, "union", ""},
	} {
		got, err := Require(c.rx)
		if err != nil {
			t.Fatal(err)
		}
		if c.literals+c.bytes == "" {
			if len(got) != 0 {
				t.Errorf("%s: %v, want nothing", c.rx, got)
			}
			continue
		}
		found := false
		for _, clause := range got {
			want := strings.Fields(c.literals)
			have := slices.Clone(clause.Literals)
			slices.Sort(want)
			slices.Sort(have)
			if slices.Equal(slices.Compact(have), want) {
				found = true
				for i := range len(c.bytes) {
					found = found && clause.Bytes.Has(c.bytes[i])
				}
			}
		}
		if !found {
			t.Errorf("%s: %v, want %q and %q among it", c.rx, got, c.literals, c.bytes)
		}
	}
	if _, err := Require(`(`); err == nil {
		t.Error("what is no expression has clauses")
	}
}

// sound holds the clauses of an expression against texts: one in which it matches meets all of them.
func sound(t *testing.T, rx string, texts ...string) {
	t.Helper()
	re, err := regexp.Compile(rx)
	if err != nil {
		return
	}
	clauses, err := Require(rx)
	if err != nil {
		t.Fatalf("%q compiles, and %v", rx, err)
	}
	for _, text := range texts {
		if alarmed(text) || !re.MatchString(text) {
			continue
		}
		for _, c := range clauses {
			if !c.Meets(Fold(text)) {
				t.Fatalf("%q matches in %q, which does not meet %v of %v", rx, text, c, clauses)
			}
		}
	}
}

// Texts are made of the expression itself, so that many match.
func TestClausesAreSound(t *testing.T) {
	for _, rx := range []string{`(?i)un(?:ion|der)\s*sel[ea]ct`, `a+b`, `(?:ab|c)+d`, `[^a]b`, `(?i)[k-s]ip`, `x{2,3}y`, `(?:a|)b`, `(?s).?<!--`, `(?i)straße`, `\bfoo\b|^$`, `(?:a|b+|cde){2}f`, `[\x{80}-\x{ff}]x`, `(?i)ſ|K`, `(a|[^b])c`} {
		r := rand.New(rand.NewPCG(1, 2))
		re, _ := syntax.Parse(rx, syntax.Perl)
		for range 2000 {
			sound(t, rx, sample(r, re, 3)+"z", "Q"+strings.ToUpper(sample(r, re, 3)))
		}
	}
}

// sample returns a text that the expression probably matches.
func sample(r *rand.Rand, re *syntax.Regexp, depth int) string {
	one := func() string { return sample(r, re.Sub[r.IntN(len(re.Sub))], depth-1) }
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 && r.IntN(2) == 0 {
			return strings.ToUpper(string(re.Rune))
		}
		return string(re.Rune)
	case syntax.OpCharClass:
		i := r.IntN(len(re.Rune)/2) * 2
		return string(re.Rune[i] + r.Int32N(min(re.Rune[i+1]-re.Rune[i], 300)+1))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return string([]byte{byte(r.IntN(256))})
	case syntax.OpConcat:
		out := ""
		for _, s := range re.Sub {
			out += sample(r, s, depth)
		}
		return out
	case syntax.OpAlternate, syntax.OpCapture:
		return one()
	case syntax.OpStar, syntax.OpQuest:
		if r.IntN(2) == 0 || depth < 0 {
			return ""
		}
		return one()
	case syntax.OpPlus:
		return one() + one()
	case syntax.OpRepeat:
		return strings.Repeat(one(), max(re.Min, 1))
	}
	return ""
}

func FuzzRequire(f *testing.F) {
	f.Add(`(?i)a(b|c)+[d-f]?g`, "abcg")
	f.Add(`(?:x|yy|)z`, "z")
	f.Add(`[^\x00-\x7f]K`, "éK")
	f.Fuzz(func(t *testing.T, rx, text string) {
		if len(rx) > 200 || !utf8.ValidString(rx) {
			return
		}
		re, err := syntax.Parse(rx, syntax.Perl)
		if err != nil {
			return
		}
		r := rand.New(rand.NewPCG(uint64(len(text)), 3))
		texts := []string{text}
		for range 5 {
			texts = append(texts, text+sample(r, re, 3))
		}
		sound(t, rx, texts...)
	})
}

func TestAutomatonFindsWhatIsThere(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	word := func(n int) string {
		b := make([]byte, 1+r.IntN(n))
		for i := range b {
			b[i] = "abcABé/"[r.IntN(8)%7]
		}
		return string(b)
	}
	for range 300 {
		var literals []string
		for range 1 + r.IntN(12) {
			literals = append(literals, Fold(word(4)))
		}
		a, err := Build(literals)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			text := word(30)
			got := make([]bool, len(literals))
			a.Scan(text, func(ids []int32) bool {
				for _, id := range ids {
					got[id] = true
				}
				return true
			})
			for id, l := range literals {
				if want := strings.Contains(Fold(text), l); got[id] != want {
					t.Fatalf("%q in %q of %q: %v, want %v", l, text, literals, got[id], want)
				}
			}
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, l := range []string{"", "A"} {
		if _, err := Build([]string{"x", l}); err == nil {
			t.Errorf("%q is taken", l)
		}
	}
}
