package plan

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sentinel-stack/sentinel/proxy/config"
)

// What an agent may read follows from the keys of its configuration that name files, never from something that only looks like a path, and never to the system's secrets.
func TestDerivedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for configured, want := range map[string][]string{
		`{"block-ips-file": "` + list + `"}`:                        {dir},
		`{"a": [{"rules-directory": "` + dir + `"}]}`:               {dir},
		`{"country-database": ["` + list + `", "/no/such/file"]}`:   {dir},
		`{"block-paths": ["` + list + `", "/etc/shadow", "/etc"]}`:  nil,
		`{"block-ips-file": "/etc/shadow"}`:                         nil,
		`{"rules-directory": "/etc/ssh", "x-directory": "/root/x"}`: nil,
		`{"rules-directory": "/etc"}`:                               nil,
		`{"rules-directory": "/"}`:                                  nil,
		`{"block-ips-file": "/etc/hosts"}`:                          {"/etc/hosts"},
		`{"audit-file": "` + dir + `/not-yet.log"}`:                 {dir},
		`{"audit-file": "/root/not-yet.log"}`:                       nil,
		`{`:                                                         nil,
	} {
		p := policy(nil, "", "", KindAgent, true, json.RawMessage(configured))
		if !slices.Equal(p.Read, want) {
			t.Errorf("%s: %v, want %v", configured, p.Read, want)
		}
	}
	named := policy(&config.Sandbox{Enabled: true, Filesystem: "restricted", Read: []string{"/etc/ssh/"}}, "", "", KindService, false, nil)
	if !slices.Equal(named.Read, []string{"/etc/ssh"}) {
		t.Errorf("what the operator names: %v", named.Read)
	}
	if p := policy(&config.Sandbox{}, "", "", KindAgent, true, nil); !p.Zero() {
		t.Errorf("switched off: %+v", p)
	}
	if p := policy(nil, "", "", KindService, false, nil); !p.Zero() {
		t.Errorf("a service that nobody boxed: %+v", p)
	}
	if p := policy(nil, "", "", KindAgent, false, nil); p.Files || !p.Seccomp || !p.DropCaps || p.Network != "host" {
		t.Errorf("a foreign agent: %+v", p)
	}
}

func TestPassedVariables(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		pass []string
		want bool
	}{
		{"LC_TIME", passed, true}, {"PATH", passed, true}, {"HTTPS_PROXY", passed, false}, {"AWS_SECRET_ACCESS_KEY", passed, false}, {"PATHS", passed, false},
		{"AWS_REGION", []string{"AWS_*"}, true}, {"XAWS_REGION", []string{"AWS_*"}, false}, {"ANY", []string{"*"}, true},
	} {
		if got := passes(tt.name, tt.pass); got != tt.want {
			t.Errorf("%s with %v: %v", tt.name, tt.pass, got)
		}
	}
}
