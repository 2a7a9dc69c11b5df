package examples

import (
	"path/filepath"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// TestConfigurations loads every example without a warning: what people copy is canonical.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*/sentinel.kdl")
	if err != nil || len(files) < 4 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, file := range files {
		loaded, err := config.Load(file, config.Options{})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for _, w := range loaded.Warnings {
			t.Errorf("%s: warning: %v", file, w)
		}
	}
}
