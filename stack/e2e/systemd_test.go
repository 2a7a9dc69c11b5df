package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestRealSystemd runs the units as shipped under the host's own systemd, booted as PID 1 of namespaces of its own.
func TestRealSystemd(t *testing.T) {
	if testing.Short() || os.Getenv("E2E_RACE") != "" {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	work, share := t.TempDir(), t.TempDir()
	link := func(dir string, files ...string) {
		if err := os.MkdirAll(filepath.Join(share, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(share, dir, filepath.Base(f)), raw, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	units, err := filepath.Glob("../../packaging/systemd/*")
	if err != nil || len(units) == 0 {
		t.Fatalf("no units: %v", err)
	}
	link("units", units...)
	link("bin", filepath.Join(bin, "sentinel"), filepath.Join(bin, "sentinel-stack"), filepath.Join(bin, "sentinel-denylist"))
	script, err := os.ReadFile("testdata/systemd-script.sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(share, "script.sh"), script, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("testdata/systemd.sh", work, share).CombinedOutput()
	said, _ := os.ReadFile(filepath.Join(share, "output"))
	if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == 77 {
		if os.Getenv("CI") == "true" && os.Getuid() == 0 {
			t.Fatalf("the real systemd cannot be tried in CI: %s", out)
		}
		t.Skipf("NOT TRIED under a real systemd: %s", out)
	}
	t.Logf("%s", said)
	if err != nil {
		console, _ := os.ReadFile(filepath.Join(share, "console"))
		t.Errorf("%v: %s\nconsole:\n%s", err, out, console[max(0, len(console)-4000):])
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/sentinel-systemd-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
