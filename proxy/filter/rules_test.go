package filter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/proxy/filter"
)

// TestReservedFieldsAreRefusedWithTheirPlace: what no rule may touch is found when the file is read, where its place is known, and not only when the rules
// are built. The twins may be edited.
func TestReservedFieldsAreRefusedWithTheirPlace(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "f.kdl")
	for _, name := range []string{
		"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings",
		"Content-Length", "Expect", "Host", "Via", "X-Request-Id", "Content-Type", "Authorization",
	} {
		text := fmt.Sprintf("listeners { listener \"h\" { address \"127.0.0.1:1\" } }\nroutes { route \"a\" { builtin-handler \"status\"; policies { request-headers { set { %s \"x\" } } } } }\n", name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, loading := config.Load(file, config.Options{})
		_, building := filter.CompileRules(config.HeaderRules{Set: []config.NameValue{{Name: name, Value: "x", HasValue: true}}})
		if (loading == nil) != (building == nil) {
			t.Errorf("%s: loading says %v, building %v", name, loading, building)
		}
	}
}
