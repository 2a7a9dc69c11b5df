package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// TestConfigurations loads every example, and what is shipped or written for people, without a warning and with nothing for fmt to do: what people
// copy is canonical.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*/sentinel.kdl")
	if err != nil || len(files) < 4 {
		t.Fatalf("files %q, %v", files, err)
	}
	files = append(files, "../packaging/etc/sentinel.kdl", "../packaging/docker/sentinel.kdl", "../proxy/config/starter.kdl", "../stack/cli/init.kdl")
	for _, file := range files {
		if _, err := os.Stat(filepath.Join(filepath.Dir(file), "certificates.sh")); err == nil {
			file = withCertificates(t, filepath.Dir(file))
		}
		loaded, err := config.Load(file, config.Options{})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for _, w := range loaded.Warnings {
			t.Errorf("%s: warning: %v", file, w)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if canonical, err := config.Format(file, text); err != nil || string(canonical) != string(text) {
			t.Errorf("%s: not as sentinel fmt writes it (%v)", file, err)
		}
	}
}

// withCertificates copies an example and makes what its configuration names.
func withCertificates(t *testing.T, folder string) string {
	t.Helper()
	need(t, "openssl", "openssl")
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "certificates.sh")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "sentinel.kdl")
}
