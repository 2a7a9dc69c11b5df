package cli

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sentinel-stack/sentinel/stack/api"
	"github.com/sentinel-stack/sentinel/stack/daemon"
	"github.com/sentinel-stack/sentinel/stack/plan"
)

func TestHarmless(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain\ttext é":  "plain\ttext é",
		"\x1b[2Jgone":    `\x1b[2Jgone`,
		"a\rb\nc\u202Ed": `a\x0db\x0ac\x202ed`,
		"\u009b31m":      `\x9b31m`,
	} {
		if got := harmless(in); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func TestParseSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.Local)
	for in, want := range map[string]time.Time{
		"":                    {},
		"10m":                 now.Add(-10 * time.Minute),
		"2026-01-01 10:00:00": time.Date(2026, 1, 1, 10, 0, 0, 0, time.Local),
		"14:30:00":            time.Date(2026, 1, 2, 14, 30, 0, 0, time.Local),
	} {
		if got, err := parseSince(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
	for _, in := range []string{"yesterday", "-5m", "10"} {
		if _, err := parseSince(in, now); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}

func TestPrintStatus(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	printStatus(&b, &api.Status{
		Version: "1", PID: 7, Started: now.Add(-3 * time.Hour), RuntimeDir: "/run/x", Generation: 2,
		LastReload: &api.ReloadResult{At: now.Add(-time.Minute), Error: "a.kdl:1:2: \x1b[31mno"},
		Services: []api.Service{
			{Name: "waf", Kind: "agent", State: "quarantined", Reason: "exit 1", NextStart: now.Add(20 * time.Second), Restarts: 11},
			{Name: "proxy", Kind: "proxy", State: "ready", PID: 9, Started: now.Add(-26 * time.Hour), RSSBytes: 15 << 20, CPUPercent: 1.25, Limits: []api.Limit{
				{Name: "core", Text: "0", Layer: "rlimit"}, {Name: "memory", Text: "64MB", Layer: "sampled", Why: "no \x1b group"},
			}},
		},
		Listeners: []api.Listener{{Name: "web", Kind: "proxy", Address: "127.0.0.1:80"}},
	}, now)
	for _, want := range []string{"up 3h00m", "generation 2", "built-in status page", `last reload refused 1m00s ago, nothing changed: a.kdl:1:2: \x1b[31mno`,
		"exit 1 (next start in 20s)", "1d02h", "15.0M", "1.2%", "127.0.0.1:80", `proxy     memory  64MB   sampled      no \x1b group`} {
		if !strings.Contains(b.String(), want) || strings.Contains(b.String(), "core") {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// TestFindingTheSupervisor: it is found by its file, also while that is broken; and nobody else's is taken for it.
func TestFindingTheSupervisor(t *testing.T) {
	tmp := t.TempDir()
	for name, value := range map[string]string{"TMPDIR": tmp, "XDG_RUNTIME_DIR": "", "RUNTIME_DIRECTORY": "", "SENTINEL_RUNTIME_DIR": ""} {
		t.Setenv(name, value)
	}
	supervisor := func(name string) string {
		dir := filepath.Join(tmp, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("unix", daemon.ControlSocket(dir))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		return dir
	}
	mine, other := filepath.Join(tmp, "mine.kdl"), filepath.Join(tmp, "other.kdl")
	run := supervisor("run-mine")
	write := func(stack string) {
		text := "listeners { listener \"a\" { address \"127.0.0.1:1\" } }\nroutes { route \"a\" { builtin-handler \"status\" } }\n" + stack
		if err := os.WriteFile(mine, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	find := func(config, want string) {
		t.Helper()
		got, err := (&app{config: config}).findRuntimeDir()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: found %q, %v", filepath.Base(config), got, err)
		}
	}
	write("stack { runtime-dir \"" + run + "\" }\n")
	find(mine, run)
	remember(run, mine)
	write("stack { runtime-dir \"" + run + "\"\n") // broken while it runs
	find(mine, run)
	remember(supervisor("run-other"), other)
	find(mine, run)
	forget(mine)
	find(mine, "") // not the last one that was started: it runs another file
}

func TestEverySubcommandIsDocumented(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, c := range Root("x").Commands() {
		names[c.Name()] = true
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short description %q", c.Name(), c.Short)
		}
	}
	for _, want := range strings.Fields("up down status logs restart start stop reload diff validate events top init version completion") {
		if !names[want] {
			t.Errorf("no subcommand %s", want)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"nonsense"}, {"up", "extra"}, {"up", "--nonsense"}, {"restart"}, {"logs", "-n", "many"}, {"completion", "tcsh"}} {
		var out, err bytes.Buffer
		if code := Main("x", args, &out, &err, nil, nil); code != exitUsage || err.Len() == 0 {
			t.Errorf("%v: exit %d, %q", args, code, err.String())
		}
	}
}

func TestNotRunning(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{{"status"}, {"down"}, {"reload"}, {"diff"}, {"logs"}, {"events"}, {"restart", "x"}, {"top"}} {
		var out, err bytes.Buffer
		if code := Main("x", append([]string{"--runtime-dir", dir}, args...), &out, &err, nil, nil); code != exitNotRunning {
			t.Errorf("%v: exit %d, %q", args, code, err.String())
		}
	}
}

func TestInitialConfigurationIsValid(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sentinel.kdl")
	var out, errs bytes.Buffer
	if code := Main("x", []string{"init", file}, &out, &errs, nil, nil); code != 0 {
		t.Fatal(errs.String())
	}
	if _, err := plan.Load(file, plan.Host{Getenv: os.Getenv, RuntimeDir: "/run/x"}); err != nil {
		t.Error(err)
	}
	text, _ := os.ReadFile(file) // the part in comments must work too
	uncommented := strings.NewReplacer("    // route", "    route", "    //     matches", "        matches", "    //         path", "            path",
		"    //     }", "        }", "    //     upstream", "        upstream", "    // }", "    }",
		"// upstreams", "upstreams", "//     upstream", "    upstream", "//         target", "        target", "//     }", "    }", "// }", "}").Replace(string(text))
	os.WriteFile(file, []byte(uncommented), 0o644)
	p, err := plan.Load(file, plan.Host{Getenv: os.Getenv, RuntimeDir: "/run/x"})
	if err != nil {
		t.Errorf("%v in\n%s", err, uncommented)
	} else if p.Warnings != "" {
		t.Error(p.Warnings)
	}
}
