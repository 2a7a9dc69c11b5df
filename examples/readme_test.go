package examples

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// step is one command of a page and the output that the page claims.
type step struct {
	line    int
	command string
	output  []string
}

// steps collects the commands ("$ …") in the ```console blocks of a page. A line that ends with a backslash goes on.
func steps(page string) []step {
	var all []step
	inside, open := false, false
	for i, line := range strings.Split(page, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside, open = !inside && line == "```console", false
		case !inside:
		case strings.HasPrefix(line, "$ "):
			all = append(all, step{line: i + 1, command: line[2:]})
			open = strings.HasSuffix(line, "\\")
		case open:
			last := &all[len(all)-1]
			last.command += "\n" + line
			open = strings.HasSuffix(line, "\\")
		case len(all) > 0:
			last := &all[len(all)-1]
			last.output = append(last.output, line)
		}
	}
	return all
}

// cmdReadme runs a page. Commands go through sh, one after the other, in the folder of the example. Where the page says port 8080 the script's port is meant.
// Outputs are compared line by line: "..." stands for any number of lines, and "<…>" inside a line for any text.
func cmdReadme(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: readme FILE")
	}
	page := steps(ts.ReadFile(args[0]))
	if len(page) == 0 {
		ts.Fatalf("%s has no commands", args[0])
	}
	ours := "127.0.0.1:" + ts.Getenv("PORT")
	for _, s := range page {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		cmd := exec.CommandContext(ctx, "sh", "-c", strings.ReplaceAll(s.command, "127.0.0.1:8080", ours))
		cmd.Dir, cmd.Env, cmd.WaitDelay = worldOf(ts).dir, environ(ts), patience
		raw, err := cmd.CombinedOutput()
		cancel()
		got := strings.Split(strings.TrimRight(strings.ReplaceAll(strings.ReplaceAll(string(raw), "\r", ""), ours, "127.0.0.1:8080"), "\n"), "\n")
		if len(raw) == 0 {
			got = nil
		}
		if ok, complaint := sameLines(s.output, got); !ok {
			ts.Fatalf("%s:%d: $ %s (%v)\n%s\noutput:\n%s", args[0], s.line, s.command, err, complaint, strings.Join(got, "\n"))
		}
	}
}

// sameLines compares an output with the page's lines.
func sameLines(want, got []string) (bool, string) {
	if len(want) == 0 {
		if len(got) == 0 {
			return true, ""
		}
		return false, fmt.Sprintf("the page ends before %q", got[0])
	}
	if want[0] == "..." {
		for i := 0; i <= len(got); i++ {
			if ok, _ := sameLines(want[1:], got[i:]); ok {
				return true, ""
			}
		}
		return false, fmt.Sprintf("nothing matches the page after \"...\": %q", want[1:])
	}
	if len(got) == 0 {
		return false, fmt.Sprintf("the output ends before %q", want[0])
	}
	if !sameLine(want[0], got[0]) {
		return false, fmt.Sprintf("the page says %q, the program %q", want[0], got[0])
	}
	return sameLines(want[1:], got[1:])
}

// sameLine compares one line; "<…>" in the page stands for any text.
func sameLine(want, got string) bool {
	for {
		before, rest, found := strings.Cut(want, "<")
		_, after, closed := strings.Cut(rest, ">")
		if !found || !closed {
			return want == got
		}
		if !strings.HasPrefix(got, before) {
			return false
		}
		got, want = got[len(before):], after
		if after == "" {
			return true
		}
		next, _, _ := strings.Cut(after, "<")
		i := strings.Index(got, next)
		if next == "" || i < 0 {
			return false
		}
		if next == after { // the last piece ends the line
			return strings.HasSuffix(got, after)
		}
		got = got[i:]
	}
}

func TestSameLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		same      bool
	}{
		{"a|b", "a|b", true}, {"a|b", "a", false}, {"a", "a|b", false},
		{"...", "", true}, {"...|z", "a|b|z", true}, {"a|...", "a", true}, {"a|...|c", "a|b|b|c", true}, {"a|...|c", "a|b", false},
		{"id: <id>", "id: 42", true}, {"id: <id>", "no", false}, {"a<b", "a<b", true}, {"<n> ms, <m> s", "3 ms, 4 s", true}, {"<n> ms, <m> s", "3 ms, 4 m", false}, {"x<1>y", "xyzy", true},
	} {
		split := func(s string) []string {
			if s == "" {
				return nil
			}
			return strings.Split(s, "|")
		}
		if ok, why := sameLines(split(c.want), split(c.got)); ok != c.same {
			t.Errorf("%q, %q: %v (%s)", c.want, c.got, ok, why)
		}
	}
}

// TestAgentPages checks the configuration examples in the manual pages of the agents with the real programs: each is a configuration's agents block, to which a
// listener and a route are added.
func TestAgentPages(t *testing.T) {
	needPrograms(t)
	pages, err := filepath.Glob("../agents/*/README.md")
	if err != nil || len(pages) < 2 {
		t.Fatalf("pages %q, %v", pages, err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(page))
		blocks := strings.Split(string(text), "```kdl\n")[1:]
		if len(blocks) == 0 {
			t.Errorf("%s has no example", page)
		}
		for i, block := range blocks {
			block, _, _ = strings.Cut(block, "\n```")
			file := filepath.Join(t.TempDir(), "sentinel.kdl")
			whole := fmt.Sprintf("system {\n}\nlisteners {\n    listener \"http\" {\n        address \"127.0.0.1:8080\"\n        protocol \"http\"\n    }\n}\n"+
				"routes {\n    route \"all\" {\n        matches {\n            path-prefix \"/\"\n        }\n        builtin-handler \"status\"\n        filters %q\n    }\n}\n%s\n", name, block)
			if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(filepath.Join(bin, "sentinel"), "validate", "--config", file).CombinedOutput(); err != nil {
				t.Errorf("%s, example %d: %v\n%s", page, i+1, err, out)
			}
		}
	}
}
