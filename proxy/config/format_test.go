package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// decodeQuiet decodes a text; ok is false when it is invalid.
func decodeQuiet(text []byte) (Config, bool) {
	r := &report{}
	c := decodeText(r, text)
	return c, len(r.errors) == 0
}

// words are the comments of a text, in any order: what fmt must not lose.
func words(text []byte) []string {
	found := regexp.MustCompile(`//[^\n]*|/\*`).FindAllString(string(text), -1)
	slices.Sort(found)
	return found
}

// checkFormat: formatting keeps the meaning, and a second time changes nothing.
func checkFormat(t *testing.T, text []byte) {
	t.Helper()
	once, err := Format("test", text)
	if err != nil {
		var found Diagnostics
		if !errors.As(err, &found) {
			t.Fatalf("not diagnostics: %v", err)
		}
		return
	}
	twice, err := Format("test", once)
	if err != nil {
		t.Fatalf("cannot read own output: %v\n%s", err, once)
	}
	if !bytes.Equal(once, twice) {
		t.Errorf("not idempotent\nonce:\n%s\ntwice:\n%s", once, twice)
	}
	before, ok := decodeQuiet(text)
	after, still := decodeQuiet(once)
	if ok != still {
		t.Fatalf("valid before: %v, after: %v\nbefore:\n%s\nafter:\n%s", ok, still, text, once)
	}
	if ok && !reflect.DeepEqual(before, after) {
		t.Errorf("the meaning changed\nbefore:\n%s\nafter:\n%s", text, once)
	}
}

func TestFormatKeepsMeaning(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"testdata/ok/*.kdl", "testdata/bad/*.kdl", "testdata/ok/conf.d/*.kdl"} {
		for _, file := range glob(t, pattern) {
			t.Run(filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				checkFormat(t, text)
			})
		}
	}
}

// TestFormatIsQuiet: what fmt writes has no deprecated spelling left.
func TestFormatIsQuiet(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/ok/spellings.kdl")
	if err != nil {
		t.Fatal(err)
	}
	out, err := Format("test", text)
	if err != nil {
		t.Fatal(err)
	}
	r := &report{}
	decodeText(r, out)
	for _, w := range r.warnings {
		t.Errorf("left: %s", w)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for _, file := range glob(t, "testdata/fmt/*.in.kdl") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Format(file, in)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.TrimSuffix(file, ".in.kdl") + ".out.kdl"
			if *update {
				if err := os.WriteFile(want, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(expected, got) {
				t.Errorf("got:\n%s\nwant:\n%s", got, expected)
			}
			checkFormat(t, in)
			if a, b := words(in), words(got); !strings.Contains(file, "dashed") && !slices.Equal(a, b) {
				t.Errorf("comments before: %q\nafter: %q", a, b)
			}
		})
	}
}

func seeds(f *testing.F) {
	n := 0
	for _, pattern := range []string{"testdata/ok/*.kdl", "testdata/bad/*.kdl", "testdata/fmt/*.kdl", "testdata/ok/conf.d/*.kdl"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
			n++
		}
	}
	if n == 0 {
		f.Fatal("no seeds")
	}
}

// FuzzFormat: for any text, formatting keeps the meaning and is idempotent.
func FuzzFormat(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		checkFormat(t, text)
	})
}

// FuzzLoad: no text makes the loader panic, and every finding lies inside the text.
func FuzzLoad(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		files := &bundle{Format: bundleFormat, Path: "/main.kdl", Files: map[string]string{"/main.kdl": string(text)}}
		l, err := load(files.Path, files, testEnv, nil)
		var found Diagnostics
		if err != nil && !errors.As(err, &found) {
			t.Fatalf("not diagnostics: %v", err)
		}
		if l != nil {
			found = l.Warnings
			l.Describe()
		} else if len(found) == 0 || len(found) > maxDiagnostics+1 {
			t.Fatalf("%d findings", len(found))
		}
		lines := strings.Split(string(text), "\n")
		for _, d := range found {
			if d.Line == 0 && d.Code == "too-many" {
				continue
			}
			if d.Line < 1 || d.Line > len(lines) || d.Col < 1 || d.Col > len([]rune(lines[d.Line-1]))+1 {
				t.Errorf("outside of the file: %s", d)
			}
			if d.Message == "" || d.Code == "" {
				t.Errorf("incomplete: %+v", d)
			}
		}
	})
}

// TestCommentsStay: a comment at any place of a file is still there after formatting.
func TestCommentsStay(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/ok/spellings.kdl")
	if err != nil {
		t.Fatal(err)
	}
	places := 0
	for i := range text {
		if text[i] != ' ' && text[i] != '\n' {
			continue
		}
		marked := slices.Concat(text[:i], []byte(" /*MARK*/ "), text[i:])
		if _, errs := kdl.Parse("test", marked); len(errs) > 0 || inString(text, i) {
			continue // inside a string
		}
		places++
		out, err := Format("test", marked)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(out, []byte("MARK")); n != 1 {
			t.Fatalf("comment at byte %d stands %d times in\n%s", i, n, out)
		}
	}
	if places < 300 {
		t.Errorf("only %d places tried", places)
	}
}

// inString reports whether a byte lies in a quoted string or comment of a line, roughly.
func inString(text []byte, i int) bool {
	line := text[bytes.LastIndexByte(text[:i], '\n')+1 : i]
	return bytes.Count(line, []byte{'"'})%2 == 1 || bytes.Contains(line, []byte("//"))
}
