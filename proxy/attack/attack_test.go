package attack_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/attack"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	const text = "# a comment\n\ncase one\nattack\n    a\\r\\n\n    {xy*3}\\x00\\\\{z}\nthen close\nexpect 400 closed\ntwin\n    b\nexpect 200 201 open\n" +
		"method HEAD\nsees GET / \"x\"\nhas A: b\nlacks C\nbody \"d\\n\"\n"
	cases, err := attack.Load(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) != 1 || cases[0].Name != "one" || len(cases[0].Turns) != 2 {
		t.Fatalf("%+v", cases)
	}
	a, b := cases[0].Turns[0], cases[0].Turns[1]
	if a.Twin || a.Raw != "a\r\nxyxyxy\x00\\{z}" || !a.Close || len(a.Status) != 1 || a.Status[0] != 400 || a.State != "closed" || a.Line != "case.txt:4" {
		t.Errorf("attack %+v", a)
	}
	if !b.Twin || b.Raw != "b" || b.Close || len(b.Status) != 2 || b.State != "open" || b.Method != "HEAD" || b.Sees[0] != `GET / "x"` || b.Has[0] != "A: b" || b.Lacks[0] != "C" || *b.Body != "d\n" {
		t.Errorf("twin %+v", b)
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	const twin = "twin\n    b\nexpect 200 open\n"
	for name, text := range map[string]string{
		"outside a case":  "attack\n",
		"outside a turn":  "case a\nexpect 200 open\n",
		"unknown word":    "case a\nattack\nwants 400\n" + twin,
		"unknown escape":  "case a\nattack\n    \\q\n" + twin,
		"bad byte":        "case a\nattack\n    \\xzz\n" + twin,
		"bad count":       "case a\nattack\n    {a*b}\n" + twin,
		"bad status":      "case a\nattack\n    a\nexpect x closed\n" + twin,
		"bad body":        "case a\nattack\n    a\nbody x\n" + twin,
		"expects nothing": "case a\nattack\n    a\n" + twin,
		"no twin":         "case a\nattack\n    a\nexpect 400 closed\n",
		"no attack":       "case a\n" + twin,
	} {
		if _, err := attack.Load(write(t, text)); err == nil || !strings.Contains(err.Error(), "case.txt") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := attack.Load(filepath.Join(t.TempDir(), "*.txt")); err == nil {
		t.Error("a pattern without files was accepted")
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "case.txt")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
