package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/protocol/conformance"
)

// build builds a program of this repository.
func build(t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if msg, err := exec.Command("go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
		t.Fatalf("cannot build %s: %v\n%s", pkg, err, msg)
	}
	return out
}

// Every agent of ours passes as a program, from its start to its drain.
func TestOurAgents(t *testing.T) {
	if testing.Short() {
		t.Skip("runs real programs; once, without the race detector")
	}
	for _, name := range []string{"echo", "denylist", "waf"} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run([]string{"--json", "--patience", "20s", "--", build(t, "../../../agents/"+name), "--socket", "{socket}"}, &out, &errs)
			var r conformance.Report
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatalf("report: %v\n%s%s", err, out.Bytes(), errs.Bytes())
			}
			if code != exitPassed || r.Passed != len(conformance.Checks()) || r.Failed+r.Skipped != 0 {
				t.Errorf("exit code %d\n%s", code, out.Bytes())
			}
		})
	}
}

// An agent that runs is asked over its socket and is not stopped; one that is none fails.
func TestSocket(t *testing.T) {
	p, err := conformance.Start([]string{build(t, "../../../agents/echo")}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	var out, errs bytes.Buffer
	if code := run([]string{"--socket", p.Socket}, &out, &errs); code != exitPassed || !strings.Contains(out.String(), "skipped §9   drain\n") {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
	out.Reset()
	if code := run([]string{"--socket", p.Socket + "-not", "--only", "ping"}, &out, &errs); code != exitFailed || !strings.Contains(out.String(), "failed  §9   ping\n") {
		t.Errorf("nobody listens: exit code %d\n%s", code, out.String())
	}
	if state := p.Ended(); state != "" {
		t.Errorf("the agent ended: %s", state)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", exitUsage, "either --socket or a command"}, {"--socket x -- y", exitUsage, "either --socket or a command"}, {"--no-such", exitUsage, "not defined"},
		{"--socket x --patience 1s", exitUsage, "three seconds"}, {"--socket x --only no-such-check", exitUsage, "no check is named"}, {"-- /no/such/program", exitUsage, "cannot start agent"},
		{"-- false", exitUsage, "ended before it listened: exit status 1"}, {"--help", exitPassed, "usage:"}, {"--version", exitPassed, "sentinel-conformance dev"},
		{"--list --only drain", exitPassed, "§9   drain "},
	} {
		var out bytes.Buffer
		if code := run(strings.Fields(c.args), &out, &out); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: exit code %d, %s, want %d and %q", c.args, code, out.String(), c.code, c.want)
		}
	}
}
