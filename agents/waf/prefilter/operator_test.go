package prefilter

import (
	"math/rand/v2"
	"testing"

	"github.com/corazawaf/libinjection-go"

	"github.com/sentinel-stack/sentinel/agents/waf/prefilter/transform"
)

// words that mean something to the detector are among those that are tried.
var keywords = []string{"union", "select", "sp_password", "or", "and", "x", "n", "q", "u", "e", "b", "0x1f", "1e5", "not", "null", "int", "having", "sleep", "_utf8", "cast", "then", "1", "007", "1union", "e1", "nq"}

func checkDetectors(t *testing.T, text string) {
	t.Helper()
	if isWord(text) && isSQL(text) {
		t.Fatalf("%q is taken for a word that is no injection, and is one", text)
	}
	if traits := transform.Look(text); libinjection.IsXSS(text) && !traits.Bytes.Meets(&markup.Bytes) {
		t.Fatalf("%q holds no markup, and the detector finds some", text)
	}
}

func TestWhatDetectorsNeed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200_000 {
		text := ""
		for range 1 + r.IntN(3) {
			text += keywords[r.IntN(len(keywords))]
		}
		if r.IntN(4) == 0 {
			text += string("'\"`> /\x00-!#;"[r.IntN(11)]) + keywords[r.IntN(len(keywords))]
		}
		checkDetectors(t, text)
	}
	for text, want := range map[string]bool{"": true, "select": true, "12": true, "a1": true, "1a": false, "12a": false, "a b": false, "a-b": false, "'": false} {
		if isWord(text) != want {
			t.Errorf("%q: a word is %v", text, !want)
		}
	}
}

func FuzzWhatDetectorsNeed(f *testing.F) {
	for _, k := range keywords {
		f.Add(k)
	}
	f.Add("x onerror alert > \" 'style javascript:")
	f.Fuzz(func(t *testing.T, text string) { checkDetectors(t, text) })
}
