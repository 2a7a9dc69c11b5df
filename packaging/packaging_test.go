// Package packaging_test checks what the packages ship without building them: units, scripts, lists and the configuration file.
package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// root is a file system with our units, stubs for our programs and the host's targets.
func root(t *testing.T, edit func(name, text string) string) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	put := func(path, text string, mode os.FileMode) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range []string{"usr/bin/sentinel", "usr/bin/sentinel-stack", "bin/sh"} {
		put(program, "#!/bin/sh\n", 0o755)
	}
	for _, pattern := range []string{"/usr/lib/systemd/system/*.target", "/lib/systemd/system/*.target"} {
		hosts, _ := filepath.Glob(pattern)
		for _, f := range hosts {
			if text, err := os.ReadFile(f); err == nil {
				put("usr/lib/systemd/system/"+filepath.Base(f), string(text), 0o644)
			}
		}
	}
	for _, f := range units(t) {
		put("usr/lib/systemd/system/"+filepath.Base(f), edit(filepath.Base(f), read(t, f)), 0o644)
	}
	return dir
}

func units(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"systemd/*.service", "systemd/*.socket"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no unit matches %s", pattern)
		}
		all = append(all, files...)
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func verify(dir string) string {
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--root="+dir,
		"sentinel-stack.service", "sentinel-stack.socket", "sentinel.service").CombinedOutput()
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

func TestUnitsVerify(t *testing.T) {
	t.Parallel()
	if out := verify(root(t, func(_, text string) string { return text })); out != "" {
		t.Error(out)
	}
	broken := func(_, text string) string { return strings.Replace(text, "Type=notify", "Type=notiffy", 1) }
	if out := verify(root(t, broken)); !strings.Contains(out, "notiffy") {
		t.Errorf("a broken unit passes: %q", out)
	}
}

// The exposure level that systemd gives the units stays at most 1.7.
func TestUnitsAreHardened(t *testing.T) {
	t.Parallel()
	security := func(dir, unit string) error {
		return exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=17", "--root="+dir, unit).Run()
	}
	dir := root(t, func(_, text string) string { return text })
	for _, unit := range []string{"sentinel-stack.service", "sentinel.service"} {
		if err := security(dir, unit); err != nil {
			t.Errorf("%s: exposure above 1.7 (%v)", unit, err)
		}
	}
	soft := root(t, func(_, text string) string { return strings.ReplaceAll(text, "NoNewPrivileges=yes", "User=root") })
	if security(soft, "sentinel.service") == nil {
		t.Error("a soft unit passes")
	}
}

func TestScriptsParse(t *testing.T) {
	t.Parallel()
	var all []string
	for _, pattern := range []string{"scripts/*.sh", "scripts/deb/*", "scripts/rpm/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no script matches %s", pattern)
		}
		all = append(all, files...)
	}
	for _, f := range all {
		if out, err := exec.Command("sh", "-n", f).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", f, out)
		}
		if info, err := os.Stat(f); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s is not executable", f)
		}
	}
}

// The shipped configuration is sound and its listeners are the sockets the unit holds.
func TestShippedConfiguration(t *testing.T) {
	t.Parallel()
	loaded, err := config.Load("etc/sentinel.kdl", config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded.Warnings) > 0 {
		t.Errorf("warnings: %v", loaded.Warnings)
	}
	held := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ListenStream=(.*)$`).FindAllStringSubmatch(read(t, "systemd/sentinel-stack.socket"), -1) {
		held[m[1]] = true
	}
	if len(held) != len(loaded.Config.Listeners) {
		t.Errorf("%d sockets for %d listeners", len(held), len(loaded.Config.Listeners))
	}
	for _, l := range loaded.Config.Listeners {
		if !held[l.Address.String()] {
			t.Errorf("listener %s: no socket for %s", l.ID, l.Address)
		}
	}
}

// What is built for release is what is packaged.
func TestReleaseFoldersExist(t *testing.T) {
	t.Parallel()
	mains := regexp.MustCompile(`(?m)^ +main: (\S+)\n +binary: (\S+)$`).FindAllStringSubmatch(read(t, "../goreleaser.yaml"), -1)
	if len(mains) < 4 {
		t.Fatalf("only %d programs in goreleaser.yaml", len(mains))
	}
	stack := read(t, "nfpm/sentinel-stack.yaml")
	for _, m := range mains {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(m[1], "./agents/") && !strings.HasPrefix(m[1], "./protocol/") && !strings.Contains(stack, "dst: /usr/bin/"+m[2]+",") {
			t.Errorf("package sentinel-stack does not hold %s", m[2])
		}
	}
}

// Files named in the lists exist, unless the build makes them.
func TestListedFilesExist(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"nfpm/sentinel-stack.yaml", "nfpm/sentinel-agents.yaml"} {
		sources := regexp.MustCompile(`(?:src: |install: |remove: )(packaging/[^,}\s]+)`).FindAllStringSubmatch(read(t, list), -1)
		if len(sources) == 0 {
			t.Fatalf("%s: no sources found", list)
		}
		for _, m := range sources {
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s: %v", list, err)
			}
		}
	}
}
