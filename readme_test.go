package sentinel

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/proxy/proxytest"
)

// The README's tour is executed: every command of its console blocks runs in one shell session, in order, and must print what the README shows.
// A line "..." stands for any lines, "…" inside a line for any text. The tour's ports 8080 and 8081 are replaced by free ones.
func TestReadmeTour(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real programs; once, without the race detector")
	}
	steps := consoleSteps(t, "README.md")
	if len(steps) < 8 {
		t.Fatalf("only %d commands found in README.md", len(steps))
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	for name, pkg := range map[string]string{"sentinel": "./proxy", "sentinel-stack": "./stack", "sentinel-denylist": "./agents/denylist", "sentinel-echo": "./agents/echo"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, name), pkg).CombinedOutput(); err != nil {
			t.Fatalf("cannot build %s: %v\n%s", name, err, out)
		}
	}
	ports := strings.NewReplacer("8080", fmt.Sprint(proxytest.Port(t)), "8081", fmt.Sprint(proxytest.Port(t)))
	env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_RUNTIME_DIR="+filepath.Join(dir, "run"), "NO_COLOR=1", "TERM=dumb")
	sh := newShell(t, dir, env)
	t.Cleanup(func() { sh.run("sentinel-stack down >/dev/null 2>&1") })
	for _, s := range steps {
		got, code := sh.run(ports.Replace(s.command))
		// A command that only looks may have looked too early on a busy machine; on a quiet one the pauses that the README shows are enough.
		for end := time.Now().Add(20 * time.Second); !matchOutput(s.output, got) && looks.MatchString(s.command) && time.Now().Before(end); {
			got, code = sh.run(ports.Replace(s.command))
		}
		if !matchOutput(s.output, got) {
			t.Fatalf("README.md:%d: $ %s\n--- the README shows\n%s\n--- it printed (exit %d)\n%s", s.line, s.command, s.output, code, got)
		}
	}
}

// looks matches commands that change nothing.
var looks = regexp.MustCompile(`^(sleep [0-9.]+; )?(curl|tail|sentinel-stack (status|validate))\b[^;|&]*$`)

type step struct {
	line    int
	command string
	output  string
}

// consoleSteps reads the ```console blocks. A line "$ command" begins a step, "> " goes on with it (as in a here-document), all else is its output.
func consoleSteps(t *testing.T, file string) []step {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var steps []step
	in := false
	for i, line := range strings.Split(string(raw), "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			in = line == "```console"
		case !in:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, step{line: i + 1, command: line[2:]})
		case len(steps) > 0 && strings.HasPrefix(line, "> ") || line == ">":
			steps[len(steps)-1].command += "\n" + strings.TrimPrefix(line[1:], " ")
		case len(steps) > 0:
			steps[len(steps)-1].output += line + "\n"
		}
	}
	return steps
}

// matchOutput compares what is shown with what was printed.
func matchOutput(want, got string) bool {
	var re strings.Builder
	re.WriteString(`(?s)^`)
	for _, line := range strings.SplitAfter(want, "\n") {
		if line == "...\n" {
			re.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		parts := strings.Split(line, "…")
		for i, p := range parts {
			if i > 0 {
				re.WriteString(`[^\n]*`)
			}
			re.WriteString(regexp.QuoteMeta(strings.TrimRight(p, " ")))
		}
	}
	re.WriteString(`$`)
	var trimmed []string
	for _, line := range strings.Split(strings.ReplaceAll(got, "\r\n", "\n"), "\n") {
		trimmed = append(trimmed, strings.TrimRight(line, " "))
	}
	return regexp.MustCompile(re.String()).MatchString(strings.Join(trimmed, "\n"))
}

func TestMatchOutput(t *testing.T) {
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"a\n", "a\n", true}, {"a\n", "b\n", false}, {"a…c\n", "abc\n", true}, {"a…c\n", "abd\n", false},
		{"...\nx\n", "1\n2\nx\n", true}, {"...\nx\n", "1\n2\n", false}, {"", "oops\n", false}, {"a\r\n", "a\r\n", false}, {"a\n", "a  \n", true},
	} {
		if got := matchOutput(c.want, c.got); got != c.ok {
			t.Errorf("matchOutput(%q, %q) = %v", c.want, c.got, got)
		}
	}
}

// shell is one bash that keeps its state between commands.
type shell struct {
	t     *testing.T
	in    *os.File
	count int
	dir   string
}

func newShell(t *testing.T, dir string, env []string) *shell {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "bash", "--norc", "--noprofile")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, env, r
	s := &shell{t: t, in: w, dir: dir}
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start bash: %v", err)
	}
	r.Close()
	t.Cleanup(func() {
		w.Close()
		time.AfterFunc(5*time.Second, cancel)
		cmd.Wait()
		cancel()
	})
	return s
}

// run executes one command and returns what it printed on both streams, and its exit code. Output goes through a file, so a daemon that keeps the
// stream open cannot hold up the test.
func (s *shell) run(command string) (string, int) {
	s.count++
	out := filepath.Join(s.dir, fmt.Sprintf(".out%d", s.count))
	done := filepath.Join(s.dir, fmt.Sprintf(".done%d", s.count))
	fmt.Fprintf(s.in, "{ %s\n} >%s 2>&1 </dev/null; echo $? >%s.tmp; mv %s.tmp %s\n", command, out, done, done, done)
	deadline := time.Now().Add(60 * time.Second)
	for {
		if raw, err := os.ReadFile(done); err == nil {
			text, _ := os.ReadFile(out)
			code := 0
			fmt.Sscan(string(bytes.TrimSpace(raw)), &code)
			return string(text), code
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(out)
			return string(text) + "\n(still running after 60 s)", -1
		}
		time.Sleep(5 * time.Millisecond) // waiting for another program's file: there is no event to wait for
	}
}
