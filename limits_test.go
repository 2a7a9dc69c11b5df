package sentinel

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/observe"
)

// Every limit that is counted stands in the table of limits with a key that exists, and nothing else does.
func TestLimitsPageIsTrue(t *testing.T) {
	page, err := os.ReadFile("docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\| (.+?) \\|").FindAllStringSubmatch(string(page), -1) {
		listed[row[1]] = true
		for _, path := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[2], -1) {
			if !exists(config.Schema(), strings.Fields(path[1])) {
				t.Errorf("%s: there is no key %s", row[1], path[1])
			}
		}
	}
	for _, name := range observe.Limits() {
		if !listed[name] {
			t.Errorf("%s is missing", name)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("%s is no limit", name)
	}
}

func exists(k *config.Key, path []string) bool {
	for _, child := range k.Keys {
		if len(path) > 0 && child.Name == path[0] {
			return len(path) == 1 || exists(child, path[1:])
		}
	}
	return len(path) == 0
}
